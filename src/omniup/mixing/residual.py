"""Add to a cubic interpolation what a mix has beyond its own means, and write the result once.

    out = F (y - a D U v) + a U v

U mixes values v, D takes means over the cells of a coarser grid, F is bicubic interpolation from that grid, and y is
what is interpolated. Mix and means are linear, so D U v follows from weights averaged over the pixels of each cell, and
takes no map of the result's size. Then two products per group of pixels, one added to the other, give both terms.

Weights are computed once, a band of rows at a time: a band is written when the means around it are known.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from omniup.mixing.attention import Attention
from omniup.mixing.dtypes import compute_dtype, exact_products
from omniup.mixing.groups import Blocks, write_pixels
from omniup.mixing.interpolation import axis_taps
from omniup.mixing.kept import KeptTile

#: Bytes that one product reads and writes: more leave the cache of a CPU.
CACHED = 2**24

#: Rows of a band, in cells of the coarser grid, at least: bicubic interpolation reaches over two and a half.
LEAST_CELLS = 4


def write_residual_mix(
    attention: Attention,
    query: Tensor,
    value: Tensor,
    base: Tensor,
    amount: float,
    bounds: tuple[Tensor, Tensor],
    out: Tensor,
) -> None:
    """Write F (y - a D U v) + a U v, kept within bounds.

    Oracle: tests/oracles/pyramid_bilateral.py, `features`.

    Args:
        attention: the mix U of one image; its memory bounds the working memory.
        query: [1, D, H, W], as in `Attention.mix`.
        value: v, [1, C, h, w].
        base: y, [1, C, h', w'], on a grid no finer than that of the values.
        amount: a.
        bounds: least and largest value of each channel, [1, C, 1, 1] each.
        out: [1, C, H, W], floating point, its rows one after the other. Nothing is differentiable.
    """
    (height, width), grid = attention.windows.size, (base.shape[2], base.shape[3])
    dtype = compute_dtype(query, attention.key, value)
    values = (value[0].to(dtype) * amount).flatten(1).T.contiguous()  # a v, [h w, C]
    lacking = base[0].flatten(1).T.to(dtype, copy=True).contiguous()  # y - a D U v, less and less of y, [h' w', C]
    average = _Taps.area(height, grid[0]), _Taps.area(width, grid[1])
    spline = _Taps.cubic(height, grid[0]), _Taps.cubic(width, grid[1])
    low, high = (bound.flatten()[:, None].to(dtype) for bound in bounds)  # [C, 1]
    waiting: _Band | None = None
    with torch.no_grad(), exact_products(value.device):
        for band in (*_bands(attention, query, value, grid[0]), None):
            if band is not None:
                for tile in band.tiles():
                    covering, fractions = band.operator(tile.where, *average, values)  # [n, Q], [n, Q, P]
                    means_of = fractions @ tile.weights[0].mT  # [n, Q, K]
                    for groups, _ in _split(tile, value.shape[1]):
                        means = means_of[groups] @ _rows(values, tile.cells[groups])  # [m, Q, C]
                        lacking.index_add_(0, covering[groups].flatten(), means.flatten(0, 1), alpha=-1)
            if waiting is not None:
                pixels = out[:, :, waiting.top : waiting.bottom].flatten(2)
                for tile in waiting.tiles():
                    near, cubic = waiting.operator(tile.where, *spline, values)  # [n, R], [n, R, P]
                    for groups, where in _split(tile, value.shape[1]):
                        mixed = _rows(values, tile.cells[groups]).mT @ tile.weights[0, groups]  # [m, C, P]
                        mixed.baddbmm_(_rows(lacking, near[groups]).mT, cubic[groups])
                        torch.maximum(mixed, low, out=mixed)
                        torch.minimum(mixed, high, out=mixed)
                        write_pixels(pixels, mixed[None], waiting.attention.windows, where)
            waiting = band


@dataclasses.dataclass(frozen=True, eq=False)
class _Taps:
    """A linear map between cells and pixels of an axis: the cells of each pixel and their weights, [pixels, taps]."""

    cells: Tensor
    weights: Tensor
    count: int

    @classmethod
    def cubic(cls, pixels: int, cells: int) -> _Taps:
        """Return bicubic interpolation along an axis."""
        return cls(*axis_taps(torch.arange(pixels, dtype=torch.float64), cells, pixels, "bicubic"), cells)

    @classmethod
    def area(cls, pixels: int, cells: int) -> _Taps:
        """Return what part each pixel is of the cells that it lies in."""
        pixel = torch.arange(pixels)
        first = pixel * cells // pixels
        last = ((pixel + 1) * cells - 1) // pixels
        beyond = ((pixel + 1) * cells - last * pixels).double() / pixels  # what of it lies in the last one
        beyond = beyond.where(last > first, 0)
        return cls(torch.stack([first, last], 1), torch.stack([cells / pixels - beyond, beyond], 1), cells)

    def of(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Gather the taps of groups of pixels [n, P]: their cells [n, R], and the weights [n, R, P]."""
        cells = self.cells[places]  # [n, P, taps]
        first = cells.amin((1, 2))  # [n]
        steps = cells - first[:, None, None]
        weights = self.weights.new_zeros(*places.shape, int(steps.max()) + 1)
        weights.scatter_add_(2, steps, self.weights[places])
        listed = first[:, None] + torch.arange(weights.shape[2])
        return listed.clamp_(max=self.count - 1), weights.mT


@dataclasses.dataclass(frozen=True, eq=False)
class _Band:
    """Rows of the output, `top` up to `bottom`, and the weights of their pixels: kept, or made when asked for."""

    attention: Attention
    query: Tensor
    like: Tensor
    top: int
    kept: tuple[KeptTile, ...] | None

    @property
    def bottom(self) -> int:
        return self.top + self.query.shape[2]

    def tiles(self) -> Iterable[KeptTile]:
        """Return all groups with their weights."""
        return self.attention.tiles(self.query, self.like) if self.kept is None else self.kept

    def operator(self, where: Blocks | Tensor, rows: _Taps, columns: _Taps, like: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply the taps of both axes for the groups of a tile: their cells [n, R] and weights [n, R, P]."""
        if isinstance(where, Tensor):
            width = self.query.shape[3]
            (cell_y, down), (cell_x, across) = rows.of(self.top + where.cpu() // width), columns.of(where.cpu() % width)
            cells = cell_y[:, :, None] * columns.count + cell_x[:, None]  # [n, Ry, Rx]
            weights = down.to(like)[:, :, None] * across.to(like)[:, None]  # [n, Ry, Rx, P]
            return cells.flatten(1).to(like.device), weights.flatten(1, 2)
        y = self.top + where.top + torch.arange(where.rows * where.height).view(where.rows, where.height)
        x = where.left + torch.arange(where.columns * where.width).view(where.columns, where.width)
        (cell_y, down), (cell_x, across) = rows.of(y), columns.of(x)
        cells = cell_y[:, None, :, None] * columns.count + cell_x[:, None]  # [rows, columns, Ry, Rx]
        down = down.to(like)[:, None, :, None, :, None]
        weights = down * across.to(like)[:, None, :, None]  # [rows, columns, Ry, Rx, height, width]
        return cells.flatten(0, 1).flatten(1).to(like.device), weights.flatten(4).flatten(2, 3).flatten(0, 1)


def _split(tile: KeptTile, channels: int) -> Iterator[tuple[slice, Blocks | Tensor]]:
    """Cut the groups of a tile into parts that the cache holds, with their values and results."""
    where, (groups, _) = tile.where, tile.cells.shape
    each = channels * (2 * tile.cells.shape[1] + tile.weights.shape[3]) * tile.weights.itemsize
    most = max(1, CACHED // each)
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


def _bands(attention: Attention, query: Tensor, like: Tensor, cells: int) -> Iterator[_Band]:
    """Cut the output into bands of whole runs whose weights fit a half of the memory, two at a time."""
    height, width = attention.windows.size
    row = width * attention.windows.most_candidates * query.itemsize
    rows = attention.memory // (4 * row)
    if rows < min(height, math.ceil(LEAST_CELLS * height / cells)):
        yield _Band(attention, query, like, 0, None)
        return
    starts = [int(start) for start in attention.windows.rows.starts]
    top = 0
    while top < height:
        bottom = height if top + rows >= height else max(start for start in starts if start <= top + rows)
        band = attention if bottom - top == height else attention.band(top, bottom)
        pixels = query[:, :, top:bottom]
        kept = band.keep(pixels, like, attention.memory)
        yield _Band(band, pixels, like, top, None if kept is None else kept.tiles)
        top = bottom


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Gather rows of [cells, C] at [n, K]: [n, K, C]."""
    return table.index_select(0, index.flatten()).unflatten(0, index.shape)
