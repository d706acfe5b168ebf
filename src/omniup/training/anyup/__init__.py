"""Train AnyUp on the features of any backbones: `omniup train anyup`.

`read_configuration` reads what to train from a YAML file and refuses what cannot be, and `train` trains it.
"""

from omniup.training.anyup.configuration import Configuration, read_configuration
from omniup.training.anyup.trainer import train
from omniup.training.loop import Outcome, Progress

__all__ = ["Configuration", "Outcome", "Progress", "read_configuration", "train"]
