"""Train the small restorer that comes with the package: `omniup train restorer`.

`read_configuration` reads what to train from a YAML file and refuses what cannot be, and `train` trains it.
"""

from omniup.training.loop import Outcome, Progress
from omniup.training.restorer.configuration import Configuration, read_configuration
from omniup.training.restorer.trainer import train

__all__ = ["Configuration", "Outcome", "Progress", "read_configuration", "train"]
