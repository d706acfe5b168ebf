"""Average an image over the cells of a grid, weighted by area: that is what a low-resolution measurement is."""

from __future__ import annotations

import torch
from torch import Tensor

from omniup.mixing.dtypes import exact_products


def cell_means(image: Tensor, grid: tuple[int, int]) -> Tensor:
    """Area-average an image over the cells of a grid: each pixel counts by the area of it that a cell covers.

    Oracle: tests/oracles/averages.py, in rational numbers.

    Where the grid divides the image this is average pooling. Elsewhere it is not what torch calls adaptive pooling,
    whose cells overlap by whole pixels and so are not all of one size.

    Args:
        image: [B, C, H, W], floating point.
        grid: (h, w), no larger than the image.

    Returns:
        [B, C, h, w]; the cells' mean is the image's.
    """
    rows, columns = (_coverage(side, cells).to(image) for side, cells in zip(image.shape[2:], grid, strict=True))
    with exact_products(image.device):
        return rows @ image @ columns.T  # [h, H] [B, C, H, W] [W, w]


def _coverage(side: int, cells: int) -> Tensor:
    """Return the fraction of each cell that each pixel covers: [cells, side], rows of sum 1."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * side / cells
    pixels = torch.arange(side, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)  # [cells, side]
    return covered.clamp_(min=0) * cells / side
