"""Steps of consistency, one after the other at the size of the result."""

import torch
from torch.nn import functional as F

from oracles.averages import cell_means


def steps(result, signal, count):
    """Add what the means of a result [C, H, W] lack of a signal [C, h, w], again and again; of the last step a part."""
    size = result.shape[1:]
    left = count
    while left > 0:
        lacking = signal - torch.stack([cell_means(channel, signal.shape[1:]) for channel in result])
        result = result + min(left, 1) * F.interpolate(lacking[None], size, mode="bicubic")[0]
        left -= 1
    return result
