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

from omniup.mixing.kept import KeptTile
from omniup.mixing.taps import Taps
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
    area = Taps.area(windows.size, windows.grid)
    planes = like.new_zeros((2 * ry + 1) * (2 * rx + 1), height * width)
    for tile in tiles:
        weights, cells = tile.masked(valid, windows).weights[0], tile.cells.unsqueeze(2)  # [n, K, P], [n, K, 1]
        covering = area.of(tile.where, windows, weights)
        averages, to = weights @ covering.multiply().mT, covering.cells.unsqueeze(1)  # [n, K, Q], [n, 1, Q]
        dy, dx = cells // width - to // width, cells % width - to % width
        plane = (dy.clamp(-ry, ry) + ry) * (2 * rx + 1) + dx.clamp(-rx, rx) + rx  # farther cells have no weight
        planes.view(-1).scatter_add_(0, (plane * (height * width) + to).flatten(), averages.flatten())
    offsets = itertools.product(range(-ry, ry + 1), range(-rx, rx + 1))
    near = {
        n: (dy, dx)
        for n, (dy, dx) in enumerate(offsets)
        if max(0, abs(dy) - (ry - windows.radius)) ** 2 + max(0, abs(dx) - (rx - windows.radius)) ** 2
        <= windows.radius**2
    }
    return Stencil(list(near.values()), planes[list(near)].unflatten(1, windows.grid))
