"""Mixing in stages: colours are compared with those of ever smaller cells, which are less often mixtures."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TypeAlias

import torch
from torch import Tensor

from omniup.mixing import cell_means
from omniup.upsamplers.base import Size

Render: TypeAlias = Callable[[Tensor], Tensor]
"""Brings a signal [B, C, h, w] to [B, C, H, W], linearly and each channel for itself."""

Renderer: TypeAlias = Callable[[Tensor, Size], Render]
"""Makes that of guidance [B, G, H, W] and a grid (h, w)."""

#: How many stages there are before the last one, each doubling the grid.
DOUBLINGS = 2


def in_stages(renderer: Renderer, guidance: Tensor, grid: Size) -> Render:
    """Mix several times, from a grid to ever finer ones and at last to the pixels.

    Args:
        renderer: makes the mix of one stage.
        guidance: [B, G, H, W].
        grid: (h, w), of the signals.

    Returns:
        A mix too: convex, linear, each channel for itself.
    """
    size = guidance.shape[2], guidance.shape[3]
    stages = []
    for _ in range(DOUBLINGS):
        if (finer := finer_grid(grid, size)) is None:
            break
        stages.append(renderer(coarse_guidance(guidance, finer), grid))
        grid = finer
    stages.append(renderer(guidance, grid))
    return lambda signal: reduce(lambda mixed, stage: stage(mixed), stages, signal)


def finer_grid(grid: Size, size: Size) -> Size | None:
    """The grid of cells half as large; None where they would be of less than two pixels: the last stage is near."""
    finer = 2 * grid[0], 2 * grid[1]
    return None if 2 * finer[0] > size[0] or 2 * finer[1] > size[1] else finer


def coarser_means(signal: Tensor) -> Tensor:
    """Means over cells twice as large: [B, C, h, w] to [B, C, ⌈h/2⌉, ⌈w/2⌉]."""
    return cell_means(signal, (-(-signal.shape[2] // 2), -(-signal.shape[3] // 2)))


def coarse_guidance(guidance: Tensor, grid: Size) -> Tensor:
    """The means of guidance over cells, kept in 0..1 against rounding: [B, G, H, W] to [B, G, h, w]."""
    return cell_means(guidance, grid).clamp_(0, 1)


def image_by_image(render: Callable[[Tensor, Tensor], Tensor], guidance: Tensor, signal: Tensor) -> Tensor:
    """Render each image of a batch for itself; one alone is not copied, since it may be as large as the memory."""
    results = [render(*each) for each in zip(guidance.split(1), signal.split(1), strict=True)]
    return torch.cat(results) if len(results) > 1 else results[0]
