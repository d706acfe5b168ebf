"""Cut images to the region that a signal covers: a crop, or a picture with the border that a network padded it with."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.mixing import cell_means
from omniup.upsamplers.checks import Size

Region: TypeAlias = tuple[int, int, int, int]
"""(top, left, height, width) in pixels of the image; it may reach beyond the image."""

#: No side of a region is so many times longer than the image's longer side.
MOST_SIDES = 4


def check_region(region: Region, size: Size) -> Region:
    """Check a region against the size (H, W) of its image.

    Raises:
        InputError: not four whole numbers, or no part of it lies in the image.
    """
    given = tuple(region) if isinstance(region, (tuple, list)) else ()
    is_whole = len(given) == 4 and all(isinstance(n, (int, np.integer)) for n in given)
    if not is_whole or not 1 <= min(given[2:]) <= max(given[2:]) <= MOST_SIDES * max(size):
        accepted = "four whole numbers, (top, left, height, width), of at most four times the image"
        raise InputError("region", "is {value!r}", accepted, value=region)
    top, left, height, width = map(int, given)
    if top >= size[0] or left >= size[1] or top + height <= 0 or left + width <= 0:
        problem, accepted = "is {value!r}, outside the image", "regions that share pixels with {H} × {W}"
        raise InputError("region", problem, accepted, value=region, H=size[0], W=size[1])
    return top, left, height, width


def cut(guidance: Tensor, region: Region) -> Tensor:
    """Cut a region out of images [B, G, H, W]: [B, G, height, width], with the nearest pixels beyond their border."""
    top, left, height, width = region
    rows = torch.arange(top, top + height, device=guidance.device).clamp_(0, guidance.shape[2] - 1)
    columns = torch.arange(left, left + width, device=guidance.device).clamp_(0, guidance.shape[3] - 1)
    return guidance[:, :, rows][:, :, :, columns]


def inside(region: Region, size: Size) -> tuple[slice, slice]:
    """Return the rows and columns of a region that lie in an image of a size (H, W)."""
    top, left, height, width = region
    return slice(max(0, -top), min(height, size[0] - top)), slice(max(0, -left), min(width, size[1] - left))


def covered_cells(region: Region, size: Size, grid: Size) -> Tensor:
    """Tell which cells of a region's grid (h, w) share pixels with the image: boolean [1, 1, h, w]."""
    pixels = torch.zeros(1, 1, *region[2:])
    rows, columns = inside(region, size)
    pixels[:, :, rows, columns] = 1
    return cell_means(pixels, grid) > 1e-6
