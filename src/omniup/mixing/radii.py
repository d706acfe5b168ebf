"""Count candidates of discs whose radius differs from pixel to pixel: interpolated from the cells' (`reach`).

Between two sums of two squares a disc takes in no cell, so there are few different radii, and few different lists of
counts: a table with one row for each window and radius that occur.
Oracle: `Layout.counts` in tests/support/cases.py, pixel by pixel in fractions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing.dtypes import widest
from omniup.mixing.groups import gather
from omniup.mixing.windows import Windows


def may_be_smaller(reach: Tensor, windows: Windows) -> Tensor:
    """Return which cells may be the middle of groups with smaller discs: [B, 1, h, w] to booleans [B, h w]."""
    assert windows.radius is not None
    around = [1 + (axis.spread + 1) // 2 for axis in (windows.rows, windows.columns)]
    least = -F.max_pool2d(-reach, [2 * cells + 1 for cells in around], stride=1, padding=around)  # [B, 1, h, w]
    return least.flatten(1) < windows.radius


def radii_at(reach: Tensor, windows: Windows, pixels: Tensor) -> Tensor:
    """Interpolate the cells' radii at pixels [n, P]: [B, 1, h, w] to [B, n, P], of the `widest` type."""
    # In that type a radius on the edge of taking in a cell falls on the right side.
    return interpolate(reach.flatten(2).to(widest(reach.device)), windows, pixels)[:, 0]


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


def log_occurrences_at(windows: Windows, pixels: Tensor, radius: Tensor, k: int, like: Tensor) -> Tensor:
    """Return the logarithm of how often candidates occur in each pixel's disc, to be added to the logits.

    Args:
        windows: where the discs come from.
        pixels: [n, P].
        radius: [B, n, P].
        k: how many candidates.
        like: gives the floating-point type.

    Returns:
        [B, n, k, P].
    """
    rounding = max(1e-12, 4 * torch.finfo(radius.dtype).eps)
    squares = torch.from_numpy(windows.squared_radii).to(radius) * (1 - rounding)
    entry = torch.searchsorted(squares, radius.square(), right=True) - 1  # [B, n, P]
    rows, columns = (torch.from_numpy(part).to(pixels.device) for part in windows.lists)
    list_of = rows[pixels // windows.size[1]] + columns[pixels % windows.size[1]]  # [n, P]
    lists = windows.candidates.log_occurrences.shape[:3]
    found, which = (entry * int(np.prod(lists)) + list_of).unique(return_inverse=True)  # [R], [B, n, P]
    entries, places = np.divmod(found.cpu().numpy(), np.prod(lists))
    table = np.empty((len(places), k))  # [R, k]
    for i in np.unique(entries):
        within = windows.log_occurrences_within(int(windows.squared_radii[i]))
        table[entries == i] = within.reshape(-1, within.shape[-1])[places[entries == i], :k]
    shape = (*which.shape[:2], k)
    rows = torch.from_numpy(table.T.copy()).to(like).expand(*shape, -1)  # [B, n, k, R]
    return rows.gather(3, which.unsqueeze(2).expand(*shape, -1))
