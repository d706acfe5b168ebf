"""Down again: the mean of an image over each cell of a grid, which is what a low-resolution measurement is."""

from __future__ import annotations

import torch
from torch import Tensor


def cell_means(image: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average an image over the cells of a grid, each pixel by the area of it that a cell covers.

    Where the grid divides the image this is average pooling. Elsewhere it is not what torch calls adaptive pooling,
    whose cells overlap by whole pixels and so are not all of one size.

    Args:
        image: [B, C, H, W], floating point.
        grid: (h, w), no larger than the image.

    Returns:
        [B, C, h, w]; the cells' mean is the image's.
    """
    rows, columns = (_shares(side, cells).to(image) for side, cells in zip(image.shape[2:], grid, strict=True))
    return rows @ image @ columns.T  # [h, H] [B, C, H, W] [W, w]


def _shares(side: int, cells: int) -> Tensor:
    """What part of each cell lies in each pixel: [cells, side], rows of sum 1."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * side / cells
    pixels = torch.arange(side, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)  # [cells, side]
    return covered.clamp_(min=0) * cells / side
