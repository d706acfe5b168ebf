"""Write the sum of a mix and of interpolated maps: one product per group of pixels, and once.

    out(p) = Σ_q w(p, q) v(q) + Σ_q b(p, q) (y(q) + Σ_g I_g(p) a_g(q)) + …

w are the weights of an attention and v its values; b those of an interpolation, of maps y or of the coefficients of a
linear function of what each pixel has, such as its colour I. All of it is linear in v, y and a: they are the rows of a
table, and what a group of pixels takes of them is a matrix.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from omniup.mixing.groups import Blocks, read_pixels, write_pixels
from omniup.mixing.interruption import check_interruption
from omniup.mixing.kept import KeptTile
from omniup.mixing.kernels import Scratch
from omniup.mixing.taps import GroupTaps, Taps
from omniup.mixing.windows import Windows

#: Bytes that one product reads and writes: more leave the cache of a CPU.
CACHED = 2**24


@dataclasses.dataclass(frozen=True, eq=False)
class Interpolation:
    """Interpolation of maps, or of the coefficients of a function that is linear in what each pixel has.

    Attributes:
        taps: from the cells of a grid to the pixels.
        variables: [1, G, H, W], what that function is of: it has G slopes and, last, an offset. None for maps.
    """

    taps: Taps
    variables: Tensor | None = None

    @property
    def rows(self) -> int:
        """Rows of the table: the cells of each coefficient after those of the one before."""
        return self.taps.cells * (1 if self.variables is None else self.variables.shape[1] + 1)

    def rows_of(self, cells: Tensor) -> Tensor:
        """Return the rows of the table that groups draw from, of cells [n, R]: [n, (G + 1) R]."""
        first = torch.arange(0, self.rows, self.taps.cells, device=cells.device)  # [G + 1]
        return (first[:, None] + cells.unsqueeze(1)).flatten(1)

    def write_weights(self, taps: GroupTaps, where: Blocks | Tensor, windows: Windows, out: Tensor) -> None:
        """Write the weights of those rows at P pixels, [n, (G + 1) R, P]."""
        count = taps.cells.shape[1]
        weights = taps.multiply(out[:, -count:])  # [n, R, P]
        if self.variables is not None:
            pixels = read_pixels(self.variables.flatten(2), windows, where)[0].to(out)  # [n, G, P]
            slopes = out[:, :-count].unflatten(1, (-1, count))  # [n, G, R, P]
            torch.mul(pixels.unsqueeze(2), weights.unsqueeze(1), out=slopes)


def table_of(*maps: Tensor) -> Tensor:
    """Stack maps [C, ...] of cells, one after the other: [rows, C]."""
    return torch.cat([each.flatten(1) for each in maps], dim=1).T.contiguous()


def write_sum(
    tile: KeptTile,
    table: Tensor,
    interpolations: Sequence[Interpolation],
    windows: Windows,
    out: Tensor,
    scratch: Scratch,
    bounds: tuple[Tensor, Tensor] | None = None,
) -> None:
    """Write what the pixels of some groups take of the rows of a table.

    Args:
        tile: the groups and their weights, of one image.
        table: [rows, C], the values of the mix, and then what each interpolation draws from.
        interpolations: of the same image.
        windows: of all pixels that `out` has.
        out: [1, C, H, W], floating point, its rows one after the other.
        scratch: of the table's type.
        bounds: least and largest value of each channel, [C, 1] each; None for any.
    """
    check_interruption()
    pixels = out.flatten(2)
    rows, weights = _operator(tile, interpolations, windows, scratch)  # [n, R], [n, R, P]
    for groups, where in split(tile, table.shape[1]):
        result = gather_rows(table, rows[groups]).mT @ weights[groups]  # [m, C, P]
        if bounds is not None:
            torch.maximum(result, bounds[0], out=result)
            torch.minimum(result, bounds[1], out=result)
        write_pixels(pixels, result[None], windows, where)


def _operator(
    tile: KeptTile, interpolations: Sequence[Interpolation], windows: Windows, scratch: Scratch
) -> tuple[Tensor, Tensor]:
    """Return the rows of the table that the groups of a tile draw from, [n, R], and their weights, [n, R, P]."""
    taps = [each.taps.of(tile.where, windows, tile.weights) for each in interpolations]
    rows, first = [tile.cells], windows.grid[0] * windows.grid[1]
    for each, of_each in zip(interpolations, taps, strict=True):
        rows.append(first + each.rows_of(of_each.cells))
        first += each.rows
    n, k, p = tile.weights.shape[1:]
    weights = scratch.take("operator", n, sum(each.shape[1] for each in rows), p)
    mix, *parts = weights.split([each.shape[1] for each in rows], dim=1)
    mix.copy_(tile.weights[0])
    for each, of_each, part in zip(interpolations, taps, parts, strict=True):
        each.write_weights(of_each, tile.where, windows, part)
    return torch.cat(rows, dim=1), weights


def gather_rows(table: Tensor, index: Tensor) -> Tensor:
    """Gather rows of [rows, C] at [n, K]: [n, K, C]."""
    return table.index_select(0, index.flatten()).unflatten(0, index.shape)


def split(tile: KeptTile, channels: int) -> Iterator[tuple[slice, Blocks | Tensor]]:
    """Cut the groups of a tile into parts that the cache holds, with their values and results."""
    where, (groups, _) = tile.where, tile.cells.shape
    most = max(1, CACHED // (2 * channels * tile.weights.shape[3] * tile.weights.itemsize))
    if isinstance(where, Tensor):
        for start in range(0, groups, most):
            yield slice(start, start + most), where[start : start + most]
        return
    across = -(-where.columns // most)  # parts of a row of blocks
    high, wide = max(1, most // where.columns), -(-where.columns // across)
    for i, j in itertools.product(range(0, where.rows, high), range(0, where.columns, wide)):
        rows, columns = min(high, where.rows - i), min(wide, where.columns - j)
        top, left, first = where.top + i * where.height, where.left + j * where.width, i * where.columns + j
        yield slice(first, first + rows * columns), Blocks(top, left, rows, columns, where.height, where.width)
