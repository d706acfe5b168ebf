"""Add to a cubic interpolation what a mix has beyond its own means, and write the result once.

    out = F (y - a D U v) + a U v

U mixes values v, D takes means over the cells of a coarser grid, F is bicubic interpolation from that grid, and y is
what is interpolated. Mix and means are linear, so D U v follows from weights averaged over the pixels of each cell, and
takes no map of the result's size. Then one product per group of pixels gives both terms (`sums.py`).

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
from omniup.mixing.kept import KeptTile
from omniup.mixing.sums import Interpolation, Sum, gather_rows, split, table_of
from omniup.mixing.taps import Taps
from omniup.mixing.windows import Rectangle, Windows

#: Rows of a band, in cells of the coarser grid, at least: bicubic interpolation reaches over two and a half.
LEAST_CELLS = 4

#: Cells to either side of a pixel's own that bicubic interpolation draws from, and the cell means of what it gives.
CUBIC = 2

ALL: Rectangle = (slice(None), slice(None))


@torch.no_grad()
def write_residual_mix(
    attention: Attention,
    query: Tensor,
    value: Tensor,
    base: Tensor,
    amount: float,
    bounds: tuple[Tensor, Tensor],
    out: Tensor,
    near: Rectangle = ALL,
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
        near: rows and columns that `out` has, of all pixels. It is right where F draws from cells within them.
    """
    size, grid = attention.windows.size, (base.shape[2], base.shape[3])
    attention, query = attention.part(*near), query[:, :, near[0], near[1]]
    dtype = compute_dtype(query, attention.key, value)
    spline = Interpolation(Taps.interpolation(size, grid, "bicubic"))
    table = table_of([value[0], base[0]], dtype)
    values, lacking = table.tensor_split([table.shape[0] - spline.rows])  # a v; y - a D U v, less and less of y
    values *= amount
    low, high = (bound.flatten()[:, None].to(dtype) for bound in bounds)  # [C, 1]
    total, average = Sum(table, [spline], (low, high)), Taps.area(size, grid)
    waiting: _Band | None = None
    bands = _bands(attention, query, value, math.ceil(LEAST_CELLS * size[0] / grid[0]))
    with exact_products(value.device):
        for band in itertools.chain(bands, [None]):  # two are held at a time
            if band is not None:
                for tile in band.tiles():
                    covering = average.of(tile.where, band.attention.windows, tile.weights)
                    means_of = covering.multiply() @ tile.weights[0].mT  # [n, Q, K]
                    for groups, _ in split(tile, value.shape[1]):
                        means = means_of[groups] @ gather_rows(values, tile.cells[groups])  # [m, Q, C]
                        lacking.index_add_(0, covering.cells[groups].flatten(), means.flatten(0, 1), alpha=-1)
            if waiting is not None:
                pixels = out[:, :, waiting.top : waiting.bottom]
                for tile in waiting.tiles():
                    total.write(tile, waiting.attention.windows, pixels)
            waiting = band


def drawn_from(inside: Rectangle, windows: Windows, grid: tuple[int, int]) -> Rectangle:
    """Return the rows and columns of pixels that a residual mix inside draws from, from the beginnings of runs on.

    Args:
        inside: rows and columns of pixels.
        windows: of the mix at all pixels.
        grid: (h, w) of what is interpolated.
    """
    near = []
    for each, axis, side, cells in zip(inside, (windows.rows, windows.columns), windows.size, grid, strict=True):
        first = max(0, each.start * cells // side - CUBIC)
        last = min(cells, -(-each.stop * cells // side) + CUBIC)
        start = axis.starts[axis.starts <= first * side // cells][-1]
        near.append(slice(int(start), -(-last * side // cells)))
    return near[0], near[1]


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


def _bands(attention: Attention, query: Tensor, like: Tensor, least: int) -> Iterator[_Band]:
    """Cut the output into bands of whole runs whose weights fit a half of the memory, two at a time.

    It is one band without weights where those of so many rows as are the `least` do not fit.
    """
    height, width = attention.windows.size
    row = width * attention.windows.most_candidates * query.itemsize
    rows = attention.memory // (4 * row)
    if rows < min(height, least):
        yield _Band(attention, query, like, 0, None)
        return
    starts = [int(start) for start in attention.windows.rows.starts]
    top = 0
    while top < height:
        bottom = height if top + rows >= height else max(start for start in starts if start <= top + rows)
        band = attention if bottom - top == height else attention.part(slice(top, bottom), slice(None))
        pixels = query[:, :, top:bottom]
        kept = band.keep(pixels, like, attention.memory)
        yield _Band(band, pixels, like, top, None if kept is None else kept.tiles)
        top = bottom
