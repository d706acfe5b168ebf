"""Interpolate between cells by fixed kernels, which do not look at an image, as products with one matrix an axis."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing.dtypes import exact_products

#: Numbers of an interpolation matrix, at most: along longer axes it would be nearly all 0.
LARGEST_MATRIX = 2**21

#: Pixels along a block of whole cells, about: they draw from few cells, and all pixels of an axis from many.
BLOCK = 32

#: Cells to either side of its own that a pixel may draw from.
REACH = 2


def interpolate(maps: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Interpolate as `torch.nn.functional.interpolate` does, to rounding; two products are several times as fast.

    Args:
        maps: [B, C, h, w], floating point.
        size: (H, W).
        mode: `"nearest-exact"`, `"bilinear"` or `"bicubic"`.

    Returns:
        [B, C, H, W] in the maps' dtype.
    """
    axes = list(zip(maps.shape[2:], size, strict=True))
    if any(side % cells and cells * side > LARGEST_MATRIX for cells, side in axes):
        return F.interpolate(maps, size, mode=mode)
    wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
    (n, rows), (m, columns) = ((step, part.to(wide)) for step, part in (_block(*axis, mode) for axis in axes))
    with exact_products(maps.device):
        blocks = F.pad(wide, (REACH, REACH, 0, 0), mode="replicate").unfold(3, m + 2 * REACH, m).contiguous()
        lines = F.pad((blocks @ columns.T).flatten(3), (0, 0, REACH, REACH), mode="replicate")  # [B, C, …, W]
        return (rows @ lines.unfold(2, n + 2 * REACH, n).mT).flatten(2, 3).to(maps.dtype)


def _block(cells: int, side: int, mode: str) -> tuple[int, Tensor]:
    """Cut an axis into blocks of whole cells, all equal: return their cells n, and [pixels, n + 2 REACH] weights."""
    if side % cells:
        return cells, F.pad(interpolation_matrix(cells, side, mode), (REACH, REACH))
    stride = side // cells
    n = max(n for n in range(1, max(2 * REACH, BLOCK // stride) + 1) if cells % n == 0)
    around = n + 2 * REACH
    return n, interpolation_matrix(around, around * stride, mode)[REACH * stride : -REACH * stride]


def interpolation_matrix(cells: int, side: int, mode: str) -> Tensor:
    """Return the weight of each cell at each of `side` pixels along an axis: float64 [side, cells]."""
    unit = torch.eye(cells, dtype=torch.float64)[None, None]
    return F.interpolate(unit, (side, cells), mode=mode)[0, 0]


def axis_taps(places: Tensor, cells: int, side: int, mode: str) -> tuple[Tensor, Tensor]:
    """Return the cells that some pixels of an axis are interpolated from, and their weights.

    Computed as torch does, in the type of `places`, so that rounding is its own.

    Args:
        places: [...], the pixels, as floating-point numbers.
        cells: how many there are along the axis.
        side: how many pixels.
        mode: of `torch.nn.functional.interpolate`.

    Returns:
        [..., 1, 2 or 4] each.
    """
    scale = places.new_tensor(cells / side)
    if mode == "nearest-exact":
        own = ((places + 0.5) * scale).floor().clamp_(max=cells - 1).long().unsqueeze(-1)
        return own, torch.ones_like(own, dtype=places.dtype)
    place = scale * (places + 0.5) - 0.5
    if mode == "bilinear":
        place = place.clamp_(min=0)
    first = place.floor()
    part = place - first
    if mode == "bilinear":
        weights = [1 - part, part]
    else:
        a = -0.75  # of the cubic kernel (Keys 1981)
        outer = [((a * t - 5 * a) * t + 8 * a) * t - 4 * a for t in (1 + part, 2 - part)]
        inner = [((a + 2) * t - (a + 3)) * t * t + 1 for t in (part, 1 - part)]
        weights = [outer[0], *inner, outer[1]]
    steps = torch.arange(len(weights), device=places.device) - (len(weights) - 1) // 2
    return (first.long().unsqueeze(-1) + steps).clamp_(0, cells - 1), torch.stack(weights, -1)
