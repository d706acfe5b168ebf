"""Interpolate between cells by fixed kernels, which do not look at an image, as products with one matrix an axis."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing.dtypes import exact_products

#: Numbers of an interpolation matrix, at most: along longer axes it would be nearly all 0.
LARGEST_MATRIX = 2**21


def interpolate(maps: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Interpolate as `torch.nn.functional.interpolate` does, to rounding; two products are several times as fast.

    Args:
        maps: [B, C, h, w], floating point.
        size: (H, W).
        mode: `"nearest-exact"`, `"bilinear"` or `"bicubic"`.

    Returns:
        [B, C, H, W] in the maps' dtype.
    """
    if max(cells * side for cells, side in zip(maps.shape[2:], size, strict=True)) > LARGEST_MATRIX:
        return F.interpolate(maps, size, mode=mode)
    wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
    rows, columns = (interpolation_matrix(*sides, mode).to(wide) for sides in zip(maps.shape[2:], size, strict=True))
    with exact_products(maps.device):
        return (rows @ (wide @ columns.T)).to(maps.dtype)  # [B, C, h, W], [B, C, H, W]


def interpolation_matrix(cells: int, side: int, mode: str) -> Tensor:
    """Return the weight of each cell at each of `side` pixels along an axis: float64 [side, cells]."""
    unit = torch.eye(cells, dtype=torch.float64)[None, None]
    return F.interpolate(unit, (side, cells), mode=mode)[0, 0]
