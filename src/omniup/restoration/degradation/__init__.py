"""Degrade sharp images as those that people want restored, to train on (Real-ESRGAN's two stages).

    pair = degrade(images, Degradation.read("degradation.yaml"), generator)

Everything random is drawn first (`draws`); the operations, a file each, are functions of what was drawn, on a batch and
on its device.
"""

from omniup.restoration.degradation.config import Degradation
from omniup.restoration.degradation.draws import Draws, draw
from omniup.restoration.degradation.pool import PairPool
from omniup.restoration.degradation.process import Pair, apply, degrade

__all__ = ["Degradation", "Draws", "Pair", "PairPool", "apply", "degrade", "draw"]
