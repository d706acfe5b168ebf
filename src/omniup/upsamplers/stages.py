"""Mixing in stages: colours are compared with those of ever smaller cells, which are less often mixtures."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TypeAlias

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
        finer = 2 * grid[0], 2 * grid[1]
        if 2 * finer[0] > size[0] or 2 * finer[1] > size[1]:  # cells of less than two pixels: the last stage is near
            break
        stages.append(renderer(cell_means(guidance, finer).clamp_(0, 1), grid))  # clamped against rounding
        grid = finer
    stages.append(renderer(guidance, grid))
    return lambda signal: reduce(lambda mixed, stage: stage(mixed), stages, signal)
