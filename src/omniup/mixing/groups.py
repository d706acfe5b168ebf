"""Group pixels that share their candidates, as index tensors. The weights of a group are one dense matrix.

Where the windows of a group's pixels differ, its candidates are the union of all, and a pixel's own window says how
often each of them occurs in it, perhaps never. There are few different windows in a group, so this is a short sum,

    log(how often candidate k occurs for pixel p) = Σ_e window[e, p] log_occurrences[e, k],

whose terms are more coordinates of query and key: the matrix product that computes the logits adds it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omniup.mixing.windows import NEVER, Axis, Integers, Windows


class Blocks(NamedTuple):
    """A rectangle of the output in rows × columns blocks of height × width pixels; its first pixel is (top, left)."""

    top: int
    left: int
    rows: int
    columns: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True, eq=False)
class Groups:
    """n groups of P pixels each; the pixels of one draw from the same list of up to K cells.

    Oracle: tests/oracles/windows.py, pixel by pixel.

    Attributes:
        pixels: [n, P], flat indices into the output.
        cells: [n, K], flat indices into the grid. Shorter lists are filled up with cells that occur 0 times.
        window: [E, n, P], 1 for the window that is a pixel's own, else 0; of relative windows one for its rows and one
            for its columns.
        log_occurrences: [E, n, K], logarithm of how often each cell occurs in each window.
        count: [n], the length of each list.
        middle: [n], flat index of the cell in the middle.
        pixel_offset: [2, n, P], from the centre of that cell to the pixel's centre, (y, x) in pixels.
        cell_offset: [2, n, K], from the centre of that cell to the candidate's centre, (y, x) in pixels.
        blocks: if the groups are, in this order, the blocks of a rectangle: views serve instead of indices.
    """

    pixels: Tensor
    cells: Tensor
    window: Tensor
    log_occurrences: Tensor
    count: Integers
    middle: Tensor
    pixel_offset: Tensor
    cell_offset: Tensor
    blocks: Blocks | None


def groups(windows: Windows, *, longest: int, most: int, like: Tensor, by_count: bool = False) -> Iterator[Groups]:
    """Yield groups that hold every pixel of the output exactly once.

    Args:
        windows: which cells each pixel draws from.
        longest: no group is higher or wider than this many pixels.
        most: yield at most this many groups at a time.
        like: gives the device and the floating-point type.
        by_count: order the groups that are yielded together by the length of their lists, so that neighbours need
            little filling up; otherwise they run row by row.
    """
    pieces = itertools.product(windows.rows.pieces(longest).items(), windows.columns.pieces(longest).items())
    for (height, (tops, row_runs)), (width, (lefts, column_runs)) in pieces:
        wide = min(most, len(lefts))
        high = max(1, most // len(lefts))
        for i, j in itertools.product(range(0, len(tops), high), range(0, len(lefts), wide)):
            shape = len(tops[i : i + high]), len(lefts[j : j + wide])
            top, row_run = (np.repeat(a[i : i + high], shape[1]) for a in (tops, row_runs))
            left, column_run = (np.tile(a[j : j + wide], shape[0]) for a in (lefts, column_runs))
            if by_count:
                classes = windows.rows.membership_class[row_run], windows.columns.membership_class[column_run]
                count = windows.candidates.count[classes]
                order = np.argsort(count, kind="stable")
                top, row_run, left, column_run = top[order], row_run[order], left[order], column_run[order]
            adjoining = all(
                (np.diff(starts) == side).all()
                for starts, side in ((tops[i : i + high], height), (lefts[j : j + wide], width))
            )
            blocks = Blocks(tops[i], lefts[j], *shape, height, width) if adjoining and not by_count else None
            yield _build(windows, top, left, (height, width), row_run, column_run, like, blocks)


def groups_at(windows: Windows, points: Integers, *, like: Tensor) -> Groups:
    """Return one group for each of the pixels `points` [N, 2], (y, x); the other arguments are those of `groups`."""
    y, x = points.T
    return _build(windows, y, x, (1, 1), windows.rows.run_of[y], windows.columns.run_of[x], like, None)


def gather(maps: Tensor, index: Tensor) -> Tensor:
    """Gather places of flat maps: [B, F, places] at [n, m] to [B, F, n, m]."""
    # Not `index_select` or indexing: along the last dimension they are twenty times slower on a CPU (torch 2.15).
    return maps.gather(2, _everywhere(index, maps)).unflatten(2, index.shape)


def scatter_add(maps: Tensor, index: Tensor, values: Tensor) -> None:
    """Add [B, F, n, m] to the places that `gather` takes, in place."""
    maps.scatter_add_(2, _everywhere(index, maps), values.flatten(2))


def read_pixels(maps: Tensor, windows: Windows, where: Blocks | Tensor) -> Tensor:
    """Read the pixels of some groups, blocks or the places [n, P]: [B, C, pixels] to [B, n, C, P]."""
    if isinstance(where, Tensor):
        return gather(maps, where).transpose(1, 2)
    return _view_blocks(maps, windows, where).flatten(4, 5).flatten(1, 2)


def write_pixels(maps: Tensor, values: Tensor, windows: Windows, where: Blocks | Tensor) -> None:
    """Write [B, n, C, P] to the pixels that `read_pixels` takes, in place; rounds to the type of `maps`."""
    if isinstance(where, Tensor):
        maps.scatter_(2, _everywhere(where, maps), values.transpose(1, 2).flatten(2).to(maps.dtype))
    else:
        view = _view_blocks(maps, windows, where)
        view.copy_(values.to(maps.dtype).view(view.shape))  # a copy that converts as well takes five times as long


def rectangles(where: Blocks | Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
    """Return the rows [n, height] and columns [n, width] of the groups' pixels, on the CPU."""
    if isinstance(where, Tensor):
        y, x = where.cpu() // windows.size[1], where.cpu() % windows.size[1]  # [n, P] each
        wide = int((y[0] == y[0, 0]).sum())
        return y[:, ::wide], x[:, :wide]
    top, left, rows, columns, height, width = where
    y = torch.arange(top, top + rows * height).view(rows, height).repeat_interleave(columns, 0)
    x = torch.arange(left, left + columns * width).view(columns, width).repeat(rows, 1)
    return y, x


def _everywhere(index: Tensor, maps: Tensor) -> Tensor:
    return index.flatten().expand(*maps.shape[:2], -1)


def _view_blocks(maps: Tensor, windows: Windows, blocks: Blocks) -> Tensor:
    """View flat maps [B, C, H W] as blocks of pixels [B, rows, columns, C, height, width]."""
    top, left, rows, columns, height, width = blocks
    image = maps.unflatten(2, windows.size)[:, :, top : top + rows * height, left : left + columns * width]
    return image.unflatten(3, (columns, width)).unflatten(2, (rows, height)).permute(0, 2, 4, 1, 3, 5)


def _build(
    windows: Windows,
    top: Integers,  # [n], the first row of pixels
    left: Integers,  # [n], the first column
    shape: tuple[int, int],
    row_run: Integers,  # [n]
    column_run: Integers,  # [n]
    like: Tensor,
    blocks: Blocks | None,
) -> Groups:
    """Look up the pixels and candidates of groups."""
    rows, columns, candidates = windows.rows, windows.columns, windows.candidates
    classes = rows.membership_class[row_run], columns.membership_class[column_run]
    count = candidates.count[classes]
    k = slice(int(count.max()))
    dy, dx = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    y, x = top[:, None] + dy, left[:, None] + dx  # [n, P]
    cell_y = rows.first[row_run][:, None] + candidates.dy[classes][:, k]  # [n, K]
    cell_x = columns.first[column_run][:, None] + candidates.dx[classes][:, k]  # [n, K]
    mid_y, mid_x = rows.middle[row_run][:, None], columns.middle[column_run][:, None]  # [n, 1]
    window, log = np.ones((1, *y.shape)), candidates.log_occurrences[classes][..., k].swapaxes(0, 1)
    if rows.together is None:
        row_window, row_log = _own_intervals(rows, y, cell_y)
        column_window, column_log = _own_intervals(columns, x, cell_x)
        window, log = np.concatenate([row_window, column_window]), np.concatenate([row_log + log[0], column_log])
    else:
        own = windows.own(y, x)  # [n, P]
        if (own == own[:, :1]).all():
            log = log[own[:, 0], np.arange(len(own))][None]
        else:
            window = (own == np.arange(len(log))[:, None, None]).astype(np.float64)

    def index(y: Integers, x: Integers, width: int) -> Tensor:
        return torch.from_numpy(y * width + x).to(like.device)

    def real(values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values).to(like.device, like.dtype)

    return Groups(
        pixels=index(y, x, windows.size[1]),
        cells=index(cell_y, cell_x, windows.grid[1]),
        window=real(window),
        log_occurrences=real(log),
        count=count,
        middle=index(mid_y, mid_x, windows.grid[1])[:, 0],
        pixel_offset=real(
            np.stack(
                [
                    place + axis.origin + 0.5 - (middle + 0.5) * axis.stride
                    for axis, place, middle in ((rows, y, mid_y), (columns, x, mid_x))
                ]
            )
        ),
        cell_offset=real(np.stack([(cell_y - mid_y) * rows.stride, (cell_x - mid_x) * columns.stride])),
        blocks=blocks,
    )


def _own_intervals(axis: Axis, pixels: Integers, cells: Integers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Number the pixels' intervals along one axis, within each group: [n, P], [n, K] to [E, n, P], [E, n, K].

    Returns:
        1 for the interval that is a pixel's own, else 0; and the logarithm of 1 for the cells in it, of 0 for others.
    """
    starts = pixels.min(1, keepdims=True)
    which = axis.interval[pixels] - axis.interval[starts]  # [n, P], 0 for the first of a group
    e = np.arange(which.max() + 1)[:, None, None]
    last = axis.interval[pixels.max(1, keepdims=True)]
    low, high = (bound[axis.example[np.minimum(axis.interval[starts] + e, last)]] for bound in (axis.low, axis.high))
    return (which == e).astype(np.float64), np.where((low <= cells) & (cells < high), 0.0, NEVER)
