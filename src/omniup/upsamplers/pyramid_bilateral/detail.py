"""Estimate how much of the detail that the guidance suggests a measurement has: one and two scales down.

Interpolation B knows nothing of the image, and guided mixing adds detail d to it. The signal is averaged over twice as
large cells and upsampled again: its residual r = s - B D s, which is known there, is fitted by the details d_k that
different upsamplers suggest,

    w = argmin |Σ_k w_k d_k - r|² + λ |w - w_0|²,    w ≥ 0,  Σ_k w_k ≤ 1

So what makes it worse has no weight. At finer scales the image may tell less: leaves and the texture of a lawn say
nothing about heights, while outlines of things do at every scale. Where the residual is spread evenly, as that of
textures, and not concentrated at edges, the trend from two scales down to one is continued: each octave of detail
between cell and pixel counts ρ times the one before.
"""

from __future__ import annotations

import torch
from torch import Tensor

from omniup.mixing import cell_means, interpolate
from omniup.upsamplers.checks import Size

#: λ, as a fraction of the mean energy of the details: keeps apart weights of details that are nearly the same.
RIDGE = 0.02

#: w_0, and how many cells it weighs as much as.
PRIOR_WEIGHT = 0.45
PRIOR_CELLS = 8

#: Smallest energy of details, of a signal within ±1: less is rounding, and nothing to divide by.
LEAST_ENERGY = 1e-15

#: Fewer cells show no trend.
TREND_CELLS = 32

#: Mean absolute over root-mean-square residual, above which it is spread (0.8 of Gaussian noise, 0.2 of a few edges);
#: and from where on the trend counts in full.
SPREAD = 0.6, 0.7

#: Part of the residual's energy that the details leave: of less, the trend counts as much less, as the image says all.
UNEXPLAINED = 0.2

#: Power of the trend: agreement between image and measurement is lost ever faster from octave to octave.
ACCELERATION = 2.0

#: Smallest ρ, before the power.
LEAST_TREND = 0.25


def detail_weights(first: Tensor, second: Tensor, residual: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a residual by two details with weights that are not negative, whose sum is 1 at most.

    Oracle: tests/oracles/pyramid_bilateral.py.

    Args:
        first: [1, C, h, w].
        second: likewise.
        residual: likewise.
        counts: [1, 1, h, w], 0 where the residual is unknown, else 1.

    Returns:
        The weight of each, [1, C, 1, 1], differentiable.
    """
    g11, g12, g22, r1, r2 = (
        _total(a * b * counts)
        for a, b in ((first, first), (first, second), (second, second), (first, residual), (second, residual))
    )
    cells = counts.sum()
    energy = ((g11 + g22) / 2).clamp_min(LEAST_ENERGY)
    prior = energy * PRIOR_CELLS / cells
    g11, g22 = (g + energy * RIDGE + prior for g in (g11, g22))
    r1, r2 = (r + PRIOR_WEIGHT * prior for r in (r1, r2))
    zero = torch.zeros_like(r1)
    determinant = g11 * g22 - g12 * g12  # above 0 by λ
    w1, w2 = (g22 * r1 - g12 * r2) / determinant, (g11 * r2 - g12 * r1) / determinant
    # On the border of the quadrant one of the two has no weight: the one that is negative; of two the worse.
    only_first = ((w2 < 0) & (w1 >= 0)) | ((w1 < 0) & (w2 < 0) & (r1.relu() ** 2 * g22 > r2.relu() ** 2 * g11))
    only_second = ~only_first & (w1 < 0)
    w1 = torch.where(only_first, (r1 / g11).relu(), torch.where(only_second, zero, w1))
    w2 = torch.where(only_second, (r2 / g22).relu(), torch.where(only_first, zero, w2))
    total = (w1 + w2).clamp_min(1)
    return w1 / total, w2 / total


def trend(
    detail: Tensor, residual: Tensor, finer: Tensor, rest: Tensor, counts: Tensor, finer_counts: Tensor
) -> Tensor:
    """Compute ρ, by how much less each octave of detail counts than the one before.

    Args:
        detail: [1, C, h, w], two scales down, with the weights that fit one scale down.
        residual: [1, C, h, w], two scales down.
        finer: [1, C, 2h, 2w], the residual one scale down.
        rest: likewise, what the details leave of it.
        counts: [1, 1, h, w], 0 where the residual is unknown, else 1.
        finer_counts: likewise, [1, 1, 2h, 2w].

    Returns:
        [1, C, 1, 1] in 0..1, differentiable.
    """
    energy = _total(detail.square() * counts).clamp_min(torch.finfo(detail.dtype).tiny)
    needed = _total(detail * residual * counts) / energy  # times as much detail as one scale down
    kept = (1 / needed.clamp_min(1)).clamp_min(LEAST_TREND)
    spread = 2 * _spread(finer, finer_counts) - _spread(residual, counts)  # as it will be one scale further
    low, high = SPREAD
    least = torch.finfo(detail.dtype).tiny
    left = _total(rest.square() * finer_counts) / _total(finer.square() * finer_counts).clamp_min(least)
    certainty = ((spread - low) / (high - low)).clamp(0, 1) * (left / UNEXPLAINED).clamp(0, 1)
    return kept ** (ACCELERATION * certainty)


def fade_by_octaves(ratio: Tensor, grid: Size, size: Size) -> Tensor:
    """Return which channels have octaves between cells and pixels that fade one by one: boolean [1, C, 1, 1]."""
    return (ratio < 1) & (len(_octaves(grid, size)) > 1)


def fade(detail: Tensor, ratio: Tensor, grid: Size, cubic: Tensor | None = None) -> Tensor:
    """Weight the octaves of a detail by ρ, ρ², … from the cells to the pixels; what is coarser than cells goes.

    Args:
        detail: [1, C, H, W].
        ratio: ρ, [1, C, 1, 1].
        grid: (h, w).
        cubic: [1, C, h, w], cells whose bicubic interpolation is added; none by default.

    Returns:
        [1, C, H, W].
    """
    size = detail.shape[2], detail.shape[3]
    grids = _octaves(grid, size)
    means, out = detail, None
    for octave, cells in reversed(list(enumerate(grids))):
        means = cell_means(means, cells)  # of means over smaller cells, if there are any
        kept = ratio**octave * (1 - ratio) * means if octave else (0 if cubic is None else cubic) - ratio * means
        smooth = interpolate(kept, size, "bicubic")
        out = smooth if out is None else out.add_(smooth)
    assert out is not None  # there is a grid
    return out.addcmul_(detail, ratio ** len(grids))


def _octaves(grid: Size, size: Size) -> list[Size]:
    """Return the grid of the cells, and those of ever smaller ones of two pixels at least: where octaves begin."""
    grids = [grid]
    while all(4 * cells <= side for cells, side in zip(grids[-1], size, strict=True)):
        grids.append((2 * grids[-1][0], 2 * grids[-1][1]))
    return grids


def _spread(residual: Tensor, counts: Tensor) -> Tensor:
    """Compute the mean absolute over the root-mean-square residual of [1, C, h, w]: [1, C, 1, 1]."""
    tiny = torch.finfo(residual.dtype).tiny
    square = _total(residual.square() * counts) * counts.sum()
    return _total(residual.abs() * counts) / square.clamp_min(tiny).sqrt()


def _total(maps: Tensor) -> Tensor:
    """Sum [1, C, h, w] over the cells: [1, C, 1, 1]."""
    return maps.sum((2, 3), keepdim=True)
