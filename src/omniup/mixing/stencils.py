"""Map the cells of a grid to themselves by stencils: a few weights for each cell, on the cells around it.

An upsampler U that is linear and local, followed by means over cells D, is a stencil D U. With it the means over the
cells of what U makes of a signal are known without upsampling: back-projection takes place on the grid.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing.dtypes import least_weight
from omniup.mixing.groups import rectangles
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
    height, width = windows.grid
    axes = list(zip(windows.size, windows.grid, strict=True))
    ry, rx = (windows.radius + (side % cells > 0) for side, cells in axes)  # one more, where pixels lie in two cells
    planes = like.new_zeros((2 * ry + 1) * (2 * rx + 1), height * width)
    for tile in tiles:
        weights, cells = tile.weights[0], tile.cells.unsqueeze(2)  # [n, K, P], [n, K, 1]
        y, x = rectangles(tile.where, windows)  # [n, rows], [n, columns]
        if valid is not None:
            own_y, own_x = (_own(place, *axis).to(cells) for place, axis in zip((y, x), axes, strict=True))
            own = (own_y.unsqueeze(2) * width + own_x.unsqueeze(1)).flatten(1).unsqueeze(1)  # [n, 1, P]
            weights = _renormalised(weights, valid.flatten()[cells], cells == own)
        (to_y, down), (to_x, across) = (_fractions(place, *axis) for place, axis in zip((y, x), axes, strict=True))
        fractions = (down[:, :, None, :, None] * across[:, None, :, None]).to(weights)  # [n, ty, tx, rows, columns]
        averages = weights @ fractions.flatten(3).flatten(1, 2).mT  # [n, K, ty tx]
        to_y, to_x = to_y.to(cells).unsqueeze(1), to_x.to(cells).unsqueeze(1)  # [n, 1, ty], [n, 1, tx]
        dy, dx = (cells // width - to_y).clamp(-ry, ry) + ry, (cells % width - to_x).clamp(-rx, rx) + rx
        plane = dy.unsqueeze(3) * (2 * rx + 1) + dx.unsqueeze(2)  # [n, K, ty, tx]; farther cells have no weight
        to = to_y.clamp(max=height - 1).unsqueeze(3) * width + to_x.clamp(max=width - 1).unsqueeze(2)
        planes.view(-1).scatter_add_(0, (plane * (height * width) + to).flatten(), averages.flatten())
    offsets = itertools.product(range(-ry, ry + 1), range(-rx, rx + 1))
    near = {
        n: (dy, dx)
        for n, (dy, dx) in enumerate(offsets)
        if max(0, abs(dy) - (ry - windows.radius)) ** 2 + max(0, abs(dx) - (rx - windows.radius)) ** 2
        <= windows.radius**2
    }
    return Stencil(list(near.values()), planes[list(near)].unflatten(1, windows.grid))


def _renormalised(weights: Tensor, valid: Tensor, own: Tensor) -> Tensor:
    """Renormalise weights over valid cells, as `mix_valid` does.

    Args:
        weights: [n, K, P].
        valid: boolean [n, K, 1].
        own: boolean [n, K, P], the cell that has all the weight where no valid one has any.
    """
    masked = weights * valid
    total, least = masked.sum(1, keepdim=True), least_weight(weights.dtype)  # [n, 1, P]
    own = own & (own.cumsum(1) == 1)  # lists may be filled up with cells that they have already
    return torch.where(total > least, masked / total.clamp_min(least), own.to(weights))


def _own(place: Tensor, side: int, cells: int) -> Tensor:
    """Return the cell along an axis that a pixel's centre lies in."""
    return (2 * place + 1) * cells // (2 * side)


def _fractions(place: Tensor, side: int, cells: int) -> tuple[Tensor, Tensor]:
    """Return the cells along an axis that pixels [n, m] lie in, [n, t], and which part of each: float64 [n, t, m]."""
    first, end = place[:, :1] * cells // side, -(-(place[:, -1:] + 1) * cells // side)  # [n, 1]
    cell = first + torch.arange(int((end - first).max()))  # [n, t]
    lower, upper = cell.unsqueeze(2) * side, place.unsqueeze(1) * cells
    overlap = (lower + side).minimum(upper + cells) - lower.maximum(upper)
    return cell, overlap.clamp_min(0).double() / side
