"""Train the refiner of upsampled features on any backbones: `omniup train refiner`.

`read_configuration` reads what to train from a YAML file and refuses what cannot be, and `train` trains it.
"""

from omniup.training.loop import Outcome, Progress
from omniup.training.refiner.configuration import Configuration, read_configuration
from omniup.training.refiner.trainer import train

__all__ = ["Configuration", "Outcome", "Progress", "read_configuration", "train"]
