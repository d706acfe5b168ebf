"""Compute hand-made features, which need no weights and are unlike those of networks.

All take an image [B, 3, H, W] in 0..1 whose sides the cell divides, and give [B, C, H/cell, W/cell].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.encoders.projection import Projection

ORIENTATIONS = 18
"""Bins of the gradients' orientations, of 20°, all the way round."""

SCALES, DIRECTIONS, WAVELENGTH = 3, 8, 4.0
"""Gabor filters: wavelengths of 4, 8 and 16 pixels, every 22.5°."""

COLOURS = 32


def hog(image: Tensor, cell: int) -> Tensor:
    """Compute histograms of oriented gradients (Dalal and Triggs, 2005), C = 18.

    Each pixel's gradient, that of the colour channel where it is steepest, counts with its length for the two nearest
    bins. Cells are divided by the length of the vector of their 3×3 neighbours' mean energy.
    """
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2  # [B, 3, H, W]
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    steepest = (across.square() + down.square()).argmax(dim=1, keepdim=True)  # [B, 1, H, W]
    across, down = across.gather(1, steepest), down.gather(1, steepest)
    place = torch.atan2(down, across).remainder(2 * math.pi) / (2 * math.pi) * ORIENTATIONS  # in bins, 0..18
    bins = torch.arange(ORIENTATIONS, device=image.device).view(-1, 1, 1)
    away = (place - bins).remainder(ORIENTATIONS)  # [B, 18, H, W]
    weight = (1 - torch.minimum(away, ORIENTATIONS - away)).clamp(min=0)
    histograms = F.avg_pool2d(weight * torch.hypot(across, down), cell)  # [B, 18, h, w]
    energy = F.avg_pool2d(histograms.square().sum(1, keepdim=True), 3, 1, 1, count_include_pad=False)
    return histograms / (energy + 1e-4).sqrt()


def gabor(image: Tensor, cell: int) -> Tensor:
    """Average the responses of Gabor filters (Jain and Farrokhnia, 1991), C = 24: square roots of amplitudes.

    The coarser filters are the finest ones, on the image reduced.
    """
    height, width = image.shape[2:]
    grey = image.mean(1, keepdim=True)  # [B, 1, H, W]
    even, odd = _gabor_filters(image)  # [8, 1, k, k] each
    responses = []
    for scale in range(SCALES):
        level = F.adaptive_avg_pool2d(grey, (-(-height // 2**scale), -(-width // 2**scale)))
        padded = F.pad(level, [even.shape[-1] // 2] * 4, mode="replicate")
        amplitude = torch.hypot(F.conv2d(padded, even), F.conv2d(padded, odd))  # [B, 8, H / 2^scale, W / 2^scale]
        responses.append(F.adaptive_avg_pool2d(amplitude, (height // cell, width // cell)))
    return torch.cat(responses, dim=1).sqrt()


def _gabor_filters(like: Tensor) -> tuple[Tensor, Tensor]:
    """Make the cosine and sine parts of the finest filters, each of mean 0: [8, 1, 11, 11] each."""
    radius, sigma = 5, WAVELENGTH / 2
    steps = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    envelope = torch.exp(-(x.square() + y.square()) / (2 * sigma**2))
    angles = torch.arange(DIRECTIONS, device=like.device, dtype=like.dtype).view(-1, 1, 1) * (math.pi / DIRECTIONS)
    phase = (x * angles.cos() + y * angles.sin()) * (2 * math.pi / WAVELENGTH)  # [8, k, k]
    even, odd = (envelope * wave for wave in (phase.cos(), phase.sin()))
    even = even - envelope * (even.sum((1, 2), keepdim=True) / envelope.sum())
    scale = envelope.sum()
    return even.unsqueeze(1) / scale, odd.unsqueeze(1) / scale


def colours(image: Tensor, cell: int) -> Tensor:
    """Compute mean colours, projected to 32 channels by a fixed random matrix."""
    return Projection(channels=COLOURS, stride=1)(F.avg_pool2d(image, cell)).features
