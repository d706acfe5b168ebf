"""Train HYPIR, a one-step restorer, on pictures that are degraded on the fly: `omniup train hypir`.

`read_configuration` reads what to train from a YAML file and refuses what cannot be, and `train` trains it.
"""

from omniup.training.hypir.configuration import Configuration, read_configuration
from omniup.training.hypir.trainer import train
from omniup.training.loop import Outcome, Progress

__all__ = ["Configuration", "Outcome", "Progress", "read_configuration", "train"]
