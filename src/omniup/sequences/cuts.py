"""Detect cuts, where nothing of the frame before may be used."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

BINS = 16
"""Levels of each channel that are counted."""

LOW = 64
"""The longer side at which pixels are counted: noise and small motion make no difference there."""


def histogram(image: Tensor) -> NDArray[np.float32]:
    """Count the levels of an image: [1, G, H, W] in 0..1 to fractions [G, BINS] of the pixels.

    Each pixel counts for the two nearest levels, so that a little more light changes little.
    """
    scale = min(1.0, LOW / max(image.shape[2:]))
    size = [max(1, round(side * scale)) for side in image.shape[2:]]
    small = F.interpolate(image.float(), size, mode="area")[0].flatten(1).clamp(0, 1)  # [G, N]
    place = small * (BINS - 1)
    low = place.floor().clamp(max=BINS - 2).long()
    part = place - low
    counts = torch.zeros(len(small), BINS, device=small.device)
    counts.scatter_add_(1, low, 1 - part).scatter_add_(1, low + 1, part)
    return (counts / small.shape[1]).cpu().numpy()


def histogram_distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Measure what part of the pixels has changed its level: 0 to 1, over the channels the mean.

    Args:
        first: [G, BINS], of `histogram`.
        second: likewise.
    """
    return float(np.abs(first - second).sum(1).mean() / 2)
