"""Count candidates of discs whose radius differs from pixel to pixel: interpolated from the cells' (`reach`).

Between two sums of two squares a disc takes in no cell, so there are few different radii. As in `groups.py`, how
often a candidate occurs in a pixel's disc is a sum of products, here with one coordinate for each radius that occurs.
Oracle: `Layout.counts` in tests/support/cases.py, pixel by pixel in fractions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing.dtypes import widest
from omniup.mixing.groups import Groups, gather
from omniup.mixing.windows import Integers, Windows


def may_be_smaller(reach: Tensor, windows: Windows, group: Groups) -> Tensor:
    """Return which groups may have smaller discs, by the cells around them: [B, 1, h, w] to [n] booleans."""
    assert windows.radius is not None
    least = -F.max_pool2d(-reach.amin(0), 3, stride=1, padding=1)  # [1, h, w]
    return least.flatten()[group.middle] < windows.radius


def radii_at(reach: Tensor, windows: Windows, pixels: Tensor) -> Tensor:
    """Interpolate the cells' radii at pixels [n, P]: [B, 1, h, w] to [B, 1, n, P], of the `widest` type."""
    # In that type a radius on the edge of taking in a cell falls on the right side.
    return interpolate(reach.flatten(2).to(widest(reach.device)), windows, pixels)


def interpolate(cells: Tensor, windows: Windows, pixels: Tensor) -> Tensor:
    """Interpolate bilinearly, as torch with `align_corners=False`: [B, F, h w] at pixels [n, P] to [B, F, n, P].

    Between equal cells the result is their value to the last digit.
    """
    (y, x), (height, width) = (pixels // windows.size[1], pixels % windows.size[1]), windows.grid
    v = ((y.to(cells.dtype) + 0.5) * (height / windows.size[0]) - 0.5).clamp(0, height - 1)  # [n, P]
    u = ((x.to(cells.dtype) + 0.5) * (width / windows.size[1]) - 0.5).clamp(0, width - 1)  # [n, P]
    top, left = v.long(), u.long()
    right = (left + 1).clamp(max=width - 1)
    upper, lower = (
        torch.lerp(gather(cells, row * width + left), gather(cells, row * width + right), u - left)
        for row in (top, (top + 1).clamp(max=height - 1))
    )  # [B, F, n, P]
    return torch.lerp(upper, lower, v - top)


def occurrence_coordinates(
    windows: Windows, classes: tuple[Integers, Integers], radius: Tensor, k: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the coordinates that add log m to the logit of a candidate that occurs m times in a pixel's disc.

    Args:
        windows: where the discs come from.
        classes: ([n], [n]), as in `Groups`.
        radius: [B, 1, n, P].
        k: how many candidates.
        like: gives the floating-point type.

    Returns:
        For the queries [B, E, n, P], 1 at the entry for the pixel's radius, else 0; for the keys [1, E, n, k], log m.
    """
    rounding = max(1e-12, 4 * torch.finfo(radius.dtype).eps)
    squares = torch.from_numpy(windows.squared_radii).to(radius) * (1 - rounding)
    entry = torch.searchsorted(squares, radius.square(), right=True) - 1
    found, which = entry.unique(return_inverse=True)  # [E], [B, 1, n, P]
    one_hot = which == torch.arange(len(found), device=radius.device).view(-1, 1, 1)  # [B, E, n, P]
    tables = [windows.log_occurrences_within(int(windows.squared_radii[i])) for i in found.tolist()]
    log = torch.from_numpy(np.stack([table[classes[0], classes[1], :k] for table in tables]))  # [E, n, k]
    return one_hot.to(like.dtype), log.to(like)[None]
