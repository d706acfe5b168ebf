"""Smooth maps along the paths of an image that cross no edge (domain transform, Gastal & Oliveira 2011).

Along a row, pixels move apart by how much colours change between them:

    t(x) = Σ_{u ≤ x} 1 + σ_s / σ_r Σ_c |I_c(u) - I_c(u - 1)|          (their eq. 11)

and each becomes the mean of those whose t is within √3 σ_k of its own (normalized convolution, eq. 15): distances are
geodesic, so nothing passes an edge, however near. The same along columns, and again with half the width,

    σ_k = σ_s √3 2^(N-k) / √(4^N - 1),    k = 1 … N                   (eq. 14)

Means over intervals are differences of cumulative sums, hence the time does not depend on the width.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing.dtypes import widest
from omniup.mixing.interruption import check_interruption

#: N, how often rows and columns are smoothed: a third time changes class probabilities by nothing that is seen.
ITERATIONS = 2

#: Bytes of rows that are smoothed at once: more leave the cache.
CACHED = 2**21


def smooth_along_edges(
    maps: Tensor, guidance: Tensor, sigma: tuple[float, float], sigma_r: float, memory: int
) -> Tensor:
    """Smooth maps within what the edges of an image enclose.

    Oracle: tests/oracles/domain_transform.py. Differentiable in the maps; intervals move by whole pixels, so that the
    gradient to the image is 0 wherever there is one.

    Args:
        maps: [B, C, H, W]; overwritten where no gradient is wanted.
        guidance: [B, G, H, W], of which differences are summed up over the channels.
        sigma: (σ_s of columns, of rows), in pixels: how far pixels are averaged where the image does not change.
        sigma_r: σ_r, in guidance units.
        memory: bytes of working memory.

    Returns:
        [B, C, H, W] in the maps' dtype.
    """
    for k, side in itertools.product(range(1, ITERATIONS + 1), (3, 2)):
        radius = 3 * sigma[side - 2] * 2 ** (ITERATIONS - k) / math.sqrt(4**ITERATIONS - 1)  # √3 σ_k
        stretch = sigma[side - 2] / sigma_r
        if side == 3:
            maps = _smooth_rows(maps, guidance, stretch, radius, memory)
        else:
            maps = _smooth_rows(maps.mT, guidance.mT, stretch, radius, memory).mT
    return maps


def smoothing_reach(sigma: float) -> float:
    """Return how far along an axis a pixel is smoothed from, at most, in the unit of σ_s."""
    return sum(3 * sigma * 2 ** (ITERATIONS - k) / math.sqrt(4**ITERATIONS - 1) for k in range(1, ITERATIONS + 1))


def _smooth_rows(maps: Tensor, guidance: Tensor, stretch: float, radius: float, memory: int) -> Tensor:
    """Smooth each row of maps [B, C, H, W], so many rows at a time as there is memory for."""
    wanted = torch.is_grad_enabled() and maps.requires_grad
    bytes_of_row = maps[:, :, 0].numel() * 24 + maps[:, 0, 0].numel() * (8 * guidance.shape[1] + 48)
    rows = max(1, min(memory, CACHED) // max(1, bytes_of_row))
    bands = []
    for band, colours in zip(maps.split(rows, dim=2), guidance.split(rows, dim=2), strict=True):
        check_interruption()
        means = _row_means(band, colours.detach(), stretch, radius)
        bands.append(means if wanted else band.copy_(means))
    return torch.cat(bands, dim=2) if wanted else maps


def _row_means(maps: Tensor, guidance: Tensor, stretch: float, radius: float) -> Tensor:
    """Average each pixel of maps [B, C, R, W] with those of its row within a geodesic radius."""
    wide, shape = widest(maps.device), maps.shape
    changes = guidance.diff(dim=3).abs_().sum(1).to(wide)  # [B, R, W-1]
    places = F.pad(changes.mul_(stretch).add_(1).cumsum_(2), (1, 0))  # [B, R, W], t
    first = torch.searchsorted(places, places - radius)[:, None]  # [B, 1, R, W]
    end = torch.searchsorted(places, places + radius, right=True)[:, None]
    sums = F.pad(maps.to(wide, memory_format=torch.contiguous_format), (1, 0)).cumsum(3)  # [B, C, R, W+1]
    totals = sums.gather(3, end.expand(shape)) - sums.gather(3, first.expand(shape))
    return (totals / (end - first)).to(maps.dtype)
