"""Map the cells of a grid to themselves by stencils: a few weights for each cell, on the cells around it.

An upsampler U that is linear and local, followed by means over cells D, is a stencil D U. With it the means over the
cells of what U makes of a signal are known without upsampling: back-projection takes place on the grid.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing.dtypes import least_weight
from omniup.mixing.groups import places_of
from omniup.mixing.kept import KeptTile
from omniup.mixing.windows import Windows


@dataclasses.dataclass(frozen=True, eq=False)
class Stencil:
    """A linear map of the cells of a grid to themselves, the same for all channels.

    Attributes:
        offsets: S pairs (dy, dx), from a cell to one that it draws from.
        weights: [S, h, w], of any value where that lies outside; h or w may be 1, for the same in all rows or columns.
    """

    offsets: Sequence[tuple[int, int]]
    weights: Tensor

    def __call__(self, maps: Tensor) -> Tensor:
        """Draw from the cells around each: [B, C, h, w] to the same shape. Differentiable."""
        height, width = maps.shape[2:]
        top, left = (max(map(abs, steps)) for steps in zip(*self.offsets, strict=True))
        padded, out = F.pad(maps, (left, left, top, top)), torch.zeros_like(maps)
        for (dy, dx), weights in zip(self.offsets, self.weights.to(maps), strict=True):
            out.addcmul_(padded[:, :, top + dy : top + dy + height, left + dx : left + dx + width], weights)
        return out

    @classmethod
    def of_responses(cls, responses: Tensor) -> Stencil:
        """Read the weights off the responses of a map to combs.

        Args:
            responses: [n, m, h, w]; number (i, j) to what is 1 in rows i, i + n, … of columns j, j + m, … and else 0.
                n and m are odd, and each cell draws from the n × m cells around it.
        """
        n, m, height, width = responses.shape
        y, x = torch.arange(height)[:, None], torch.arange(width)
        offsets = list(itertools.product(range(-(n // 2), n // 2 + 1), range(-(m // 2), m // 2 + 1)))
        return cls(offsets, torch.stack([responses[(y + dy) % n, (x + dx) % m, y, x] for dy, dx in offsets]))


def interpolated_combs(count: int, cells: int, side: int, mode: str) -> Tensor:
    """Interpolate the combs that are 1 in every `count`-th cell of an axis: float64 [count, side]."""
    combs = torch.arange(cells) % count == torch.arange(count)[:, None]  # [count, cells]
    return F.interpolate(combs.double()[None, :, None], (1, side), mode=mode)[0, :, 0]


def averaged_mix(tiles: Iterable[KeptTile], windows: Windows, like: Tensor, valid: Tensor | None = None) -> Stencil:
    """Average the weights of an attention over the cells of its own grid: the stencil of D U.

    Args:
        tiles: of all pixels of one image.
        windows: discs, around the cell that each pixel lies in.
        like: gives the device and the floating-point type.
        valid: boolean [1, 1, h, w]: weights are renormalised over these cells, and a pixel without any takes its own
            cell, as in `mix_valid`; None for all.
    """
    assert windows.radius is not None
    (rows, ry), (columns, rx) = (
        (shares.to(like), windows.radius + shares.shape[1] // 2)
        for shares in map(_shares, windows.size, windows.grid)
    )  # [H, ty], [W, tx]; how far a cell's stencil reaches
    planes, (height, width) = (2 * ry + 1, 2 * rx + 1), windows.grid
    flat = like.new_zeros(math.prod(planes) * height * width)
    for tile in tiles:
        weights, cells = tile.weights[0], tile.cells  # [n, K, P], [n, K]
        y, x = places_of(tile.where, windows)  # [n, P] each
        own_y, own_x = (_own(place[:, :1], *sides) for place, *sides in zip((y, x), windows.size, windows.grid))
        if valid is not None:
            masked = weights * valid.flatten()[cells].unsqueeze(-1)
            total, least = masked.sum(1, keepdim=True), least_weight(weights.dtype)  # [n, 1, P]
            known = total > least
            weights = torch.cat([masked * known / total.clamp_min(least), ~known], dim=1)  # [n, K + 1, P]
            cells = torch.cat([cells, own_y * width + own_x], dim=1)
        shares = rows[y].unsqueeze(-1) * columns[x].unsqueeze(-2)  # [n, P, ty, tx]
        to_y, to_x = (
            (own + torch.arange(side.shape[1], device=like.device) - side.shape[1] // 2).unsqueeze(1)
            for own, side in ((own_y, rows), (own_x, columns))
        )  # [n, 1, ty], [n, 1, tx]
        dy, dx = (cells // width).unsqueeze(-1) - to_y + ry, (cells % width).unsqueeze(-1) - to_x + rx
        down = dy * (planes[1] * height * width) + to_y.clamp(0, height - 1) * width  # [n, K, ty]
        across = dx * (height * width) + to_x.clamp(0, width - 1)  # [n, K, tx]; there are no shares outside
        index = down.unsqueeze(-1) + across.unsqueeze(-2)  # [n, K, ty, tx]
        flat.scatter_add_(0, index.flatten(), (weights @ shares.flatten(2)).flatten())
    offsets = itertools.product(range(-ry, ry + 1), range(-rx, rx + 1))
    ty, tx = ry - windows.radius, rx - windows.radius
    used = [
        (n, offset)
        for n, offset in enumerate(offsets)
        if max(0, abs(offset[0]) - ty) ** 2 + max(0, abs(offset[1]) - tx) ** 2 <= windows.radius**2
    ]
    return Stencil([offset for _, offset in used], flat.view(-1, height, width)[[n for n, _ in used]])


def _own(place: Tensor, side: int, cells: int) -> Tensor:
    """Return the cell along an axis that a pixel's centre lies in."""
    return (2 * place + 1) * cells // (2 * side)


def _shares(side: int, cells: int) -> Tensor:
    """Return what part pixels are of cells along an axis: of the one before their own, their own, and the one after.

    Where every pixel lies in one cell, of their own only: float64 [side, 3], or [side, 1].
    """
    pixel = torch.arange(side)[:, None]
    cell = _own(pixel, side, cells) + torch.arange(-1, 2)  # [side, 3]
    ends, begins = ((cell + 1) * side).minimum((pixel + 1) * cells), (cell * side).maximum(pixel * cells)
    shares = (ends - begins).clamp_min(0).double() / side
    return shares[:, 1:2] if side % cells == 0 else shares
