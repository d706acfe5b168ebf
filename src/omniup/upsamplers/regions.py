"""Cut images to the region that a signal covers: a crop, or a picture with the border that a network padded it with."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.mixing import cell_means
from omniup.upsamplers.checks import Size
from omniup.upsamplers.holes import check_valid

Region: TypeAlias = tuple[int, int, int, int]
"""(top, left, height, width) in pixels of the image; it may reach beyond the image."""

#: No side of a region is so many times longer than the image's longer side.
MOST_SIDES = 4


def check_region(region: Region | None, size: Size) -> Region:
    """Check a region against the size (H, W) of its image; None is the whole image.

    Raises:
        InputError: not four whole numbers, or no part of it lies in the image.
    """
    if region is None:
        return 0, 0, *size
    given = tuple(region) if isinstance(region, (tuple, list)) else ()
    is_whole = len(given) == 4 and all(isinstance(n, (int, np.integer)) for n in given)
    if not is_whole or not 1 <= min(given[2:]) <= max(given[2:]) <= MOST_SIDES * max(size):
        accepted = "four whole numbers, (top, left, height, width), of at most four times the image"
        raise InputError("region", "is {value!r}", accepted, value=given or region)
    top, left, height, width = map(int, given)
    if top >= size[0] or left >= size[1] or top + height <= 0 or left + width <= 0:
        problem = "of {h} × {w} pixels at top {top}, left {left} lies outside the image"
        accepted, place = (
            "regions that share pixels with {H} × {W}",
            {"top": top, "left": left, "h": height, "w": width},
        )
        raise InputError("region", problem, accepted, **place, H=size[0], W=size[1])
    return top, left, height, width


def cut(guidance: Tensor, region: Region) -> Tensor:
    """Cut a region out of images [B, G, H, W]: [B, G, height, width], with the nearest pixels beyond their border."""
    top, left, height, width = region
    if region == (0, 0, *guidance.shape[2:]):
        return guidance
    rows = torch.arange(top, top + height, device=guidance.device).clamp_(0, guidance.shape[2] - 1)
    columns = torch.arange(left, left + width, device=guidance.device).clamp_(0, guidance.shape[3] - 1)
    return guidance[:, :, rows][:, :, :, columns]


def inside(region: Region, size: Size) -> tuple[slice, slice]:
    """Return the rows and columns of a region that lie in an image of a size (H, W)."""
    top, left, height, width = region
    return slice(max(0, -top), min(height, size[0] - top)), slice(max(0, -left), min(width, size[1] - left))


def valid_inside(valid: Tensor | None, region: Region, size: Size, signal: Tensor) -> Tensor | None:
    """Leave out the cells of a region's signal that share no pixel with the image.

    Args:
        valid: boolean [B, 1, h, w], as `check_valid` returns it; None where all cells are valid.
        region: checked.
        size: (H, W) of the image.
        signal: [B, C, h, w].

    Returns:
        Boolean [B, 1, h, w], or None.

    Raises:
        InputError: no valid cell is left.
    """
    rows, columns = inside(region, size)
    down = _covered(region[2], rows, signal.shape[2])[:, None]
    covered = (down * _covered(region[3], columns, signal.shape[3]) > _LEAST)[None, None]  # [1, 1, h, w]
    if bool(covered.all()):
        return valid
    covered = covered.to(signal.device)
    return check_valid(covered if valid is None else covered & valid, signal)


_LEAST = 1e-6
"""The part of a cell, at least, that pixels of the image cover: less is rounding."""


def _covered(side: int, inside: slice, cells: int) -> Tensor:
    """Return which part of each cell along an axis some of its pixels cover: [cells]."""
    pixels = torch.zeros(1, 1, side, 1)
    pixels[:, :, inside] = 1
    return cell_means(pixels, (cells, 1)).flatten()
