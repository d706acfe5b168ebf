"""Training AnyUp on the features of any backbones, on Accelerate: `omniup train anyup`.

`read_configuration` reads what to train from a YAML file and refuses what cannot be, and `train` trains it.
"""

from omniup.training.configuration import Configuration, read_configuration
from omniup.training.trainer import Outcome, Progress, train

__all__ = ["Configuration", "Outcome", "Progress", "read_configuration", "train"]
