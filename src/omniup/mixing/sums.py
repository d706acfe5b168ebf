"""Write the sum of a mix and of interpolated maps: one product per group of pixels, and once.

    out(p) = Σ_q w(p, q) v(q) + Σ_q b(p, q) (y(q) + Σ_g I_g(p) a_g(q)) + …

w are the weights of an attention and v its values; b those of an interpolation, of maps y or of the coefficients of a
linear function of what each pixel has, such as its colour I. All of it is linear in v, y and a: they are the rows of a
table, and what a group of pixels takes of them is a matrix.
"""

from __future__ import annotations

import dataclasses
import functools
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
        """Rows of the table that it draws from: the cells of each coefficient after those of the one before."""
        return self.taps.cells * (1 if self.variables is None else self.variables.shape[1] + 1)

    def rows_of(self, cells: Tensor) -> Tensor:
        """Return the rows of all coefficients of cells [n, R]: [n, (G + 1) R]."""
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


@dataclasses.dataclass(frozen=True, eq=False)
class Sum:
    """The sum of a mix and of what some interpolations draw from maps, of one image.

    Attributes:
        table: [rows, C], the values of the mix, and then the maps of each interpolation.
        interpolations: of the same pixels.
        bounds: least and largest value of each channel, [C, 1] each; None for any.
    """

    table: Tensor
    interpolations: Sequence[Interpolation]
    bounds: tuple[Tensor, Tensor] | None = None

    @functools.cached_property
    def _scratch(self) -> Scratch:
        return Scratch(self.table)

    def write(self, tile: KeptTile, windows: Windows, out: Tensor) -> None:
        """Write the sum at the pixels of some groups.

        Args:
            tile: the groups and their weights.
            windows: of all pixels that `out` has.
            out: [1, C, H, W], floating point, its rows one after the other.
        """
        check_interruption()
        pixels = out.flatten(2)
        rows, weights = self._operator(tile, windows)  # [n, R], [n, R, P]
        for groups, where in split(tile, self.table.shape[1]):
            result = gather_rows(self.table, rows[groups]).mT @ weights[groups]  # [m, C, P]
            if self.bounds is not None:
                torch.maximum(result, self.bounds[0], out=result)
                torch.minimum(result, self.bounds[1], out=result)
            write_pixels(pixels, result[None], windows, where)

    def _operator(self, tile: KeptTile, windows: Windows) -> tuple[Tensor, Tensor]:
        """Return the rows of the table that groups draw from, [n, R], and their weights, [n, R, P]."""
        taps = [each.taps.of(tile.where, windows, tile.weights) for each in self.interpolations]
        rows, first = [tile.cells], windows.grid[0] * windows.grid[1]
        for interpolation, near in zip(self.interpolations, taps, strict=True):
            rows.append(first + interpolation.rows_of(near.cells))
            first += interpolation.rows
        counts = [each.shape[1] for each in rows]
        weights = self._scratch.take("weights", len(tile.cells), sum(counts), tile.weights.shape[3])
        of_mix, *parts = weights.split(counts, dim=1)
        of_mix.copy_(tile.weights[0])
        for interpolation, near, part in zip(self.interpolations, taps, parts, strict=True):
            interpolation.write_weights(near, tile.where, windows, part)
        return torch.cat(rows, dim=1), weights


def table_of(maps: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Stack maps [C, ...] of cells, one after the other: [rows, C], a copy."""
    flat = [each.flatten(1).T for each in maps]
    table = flat[0].new_empty(sum(map(len, flat)), flat[0].shape[1], dtype=dtype)
    for part, rows in zip(table.split(list(map(len, flat))), flat, strict=True):
        part.copy_(rows)  # not `cat`: of transposed maps it takes four times as long (torch 2.15)
    return table


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
