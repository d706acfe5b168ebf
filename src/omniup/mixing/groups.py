"""Group pixels that share their candidates, as index tensors. The weights of a group are one dense matrix.

Where the windows of a group's pixels differ, its candidates are the union of all, and a pixel's own window says how
often each of them occurs in it, perhaps never. There are few different windows in a group, so this is a short sum,

    log(how often candidate k occurs for pixel p) = Σ_e window[e, p] log_occurrences[e, k],

whose terms are more coordinates of query and key: the matrix product that computes the logits adds it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

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
        first: [n], the flat index of a group's first pixel in the output.
        steps: [P], from there to each of its pixels.
        cells: [n, K], flat indices into the grid. Shorter lists are filled up with cells that occur 0 times.
        window: [E, n, P], 1 for the window that is a pixel's own, else 0; of relative windows one for its rows and one
            for its columns.
        count: [n], the length of each list.
        middle: [n], flat index of the cell in the middle.
        pixel_offset: [2, n, P], from the centre of that cell to the pixel's centre, (y, x) in pixels.
        lists: [E + 2, U, K], `log_occurrences` and `cell_offset`, of which there are fewer than groups.
        list_of: [n], which of them are a group's.
        blocks: if the groups are, in this order, the blocks of a rectangle: views serve instead of indices.
    """

    first: Tensor
    steps: Tensor
    cells: Tensor
    window: Tensor
    count: Integers
    middle: Tensor
    pixel_offset: Tensor
    lists: Tensor
    list_of: Tensor
    blocks: Blocks | None

    @functools.cached_property
    def pixels(self) -> Tensor:
        """Flat indices into the output: [n, P]. Where there are blocks, few need them."""
        return self.first.unsqueeze(1) + self.steps

    @property
    def log_occurrences(self) -> Tensor:
        """Logarithm of how often each cell occurs in each window: [E, n, K]."""
        return self._of_groups(self.lists[:-2])

    @property
    def cell_offset(self) -> Tensor:
        """Offset from the centre of the middle cell to the candidate's centre, (y, x) in pixels: [2, n, K]."""
        return self._of_groups(self.lists[-2:])

    def _of_groups(self, lists: Tensor) -> Tensor:
        if lists.shape[1] == 1:
            return lists.expand(-1, len(self.list_of), -1)
        return lists.index_select(1, self.list_of)


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
        high, wide = _fewest(len(tops), len(lefts), most)
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


def _fewest(rows: int, columns: int, most: int) -> tuple[int, int]:
    """Return the sides of equal rectangles of `most` groups at most, of which the fewest cover rows × columns."""
    least = -(-columns // most)
    sides = []
    for across in range(least, min(columns, 16 * least) + 1):
        wide = -(-columns // across)
        high = min(rows, most // wide)
        sides.append((across * -(-rows // high), high, wide))
    _, high, wide = min(sides, key=lambda each: each[0])  # of equals the widest: rows of memory are read as they lie
    return high, wide


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
    values = values.to(maps.dtype)  # a copy that converts as well takes several times as long
    if isinstance(where, Tensor):
        values = values.transpose(1, 2).flatten(2)
        if maps.dtype in (torch.float16, torch.bfloat16):  # of these `scatter_` copies the whole result (torch 2.15)
            maps, values = maps.view(torch.int16), values.view(torch.int16)
        maps.scatter_(2, _everywhere(where, maps), values)
    else:
        view = _view_blocks(maps, windows, where)
        view.copy_(values.view(view.shape))


def rectangles(where: Blocks | Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
    """Return the rows [..., height] and columns [..., width] of the groups' pixels, on the CPU.

    What comes before is [n] of both, or of blocks [rows, 1] and [1, columns].
    """
    if isinstance(where, Tensor):
        y, x = where.cpu() // windows.size[1], where.cpu() % windows.size[1]  # [n, P] each
        wide = int((y[0] == y[0, 0]).sum())
        return y[:, ::wide], x[:, :wide]
    top, left, rows, columns, height, width = where
    y, x = torch.arange(rows * height), torch.arange(columns * width)
    return top + y.view(rows, 1, height), left + x.view(1, columns, width)


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
    rows, columns = windows.rows, windows.columns
    y, x = top[:, None] + np.arange(shape[0]), left[:, None] + np.arange(shape[1])  # [n, height], [n, width]
    first_y, first_x = rows.first[row_run], columns.first[column_run]  # [n]
    mid_y, mid_x = rows.middle[row_run], columns.middle[column_run]  # [n]
    own_y, own_x = 0 * y, 0 * x
    if rows.together is not None and columns.together is not None:
        own_y, own_x = rows.own_interval[y] * columns.together, columns.own_interval[x]
    one_window = bool((own_y == own_y[:, :1]).all() and (own_x == own_x[:, :1]).all())

    # Groups of the same class, and of the same window if they have one, have the same list.
    classes = rows.membership_class[row_run] * len(columns.membership) + columns.membership_class[column_run]  # [n]
    known = windows.candidates
    logs = known.log_occurrences.reshape(-1, *known.log_occurrences.shape[2:])  # [classes, E, K]
    own = own_y[:, 0] + own_x[:, 0] if one_window else 0 * classes
    _, example, list_of = np.unique(classes * logs.shape[1] + own, return_index=True, return_inverse=True)  # [U], [n]
    count = known.count.reshape(-1)[classes]
    k, of_list = int(count.max()), classes[example]
    dy, dx = (offsets.reshape(len(logs), -1)[of_list, :k] for offsets in (known.dy, known.dx))  # [U, K]
    log = logs[of_list, own[example], :k][None] if one_window else logs[of_list, :, :k].swapaxes(0, 1)  # [E, U, K]
    offset = np.stack(
        [
            (dy + (first_y - mid_y)[example, None]) * rows.stride,
            (dx + (first_x - mid_x)[example, None]) * columns.stride,
        ]
    )  # [2, U, K]
    cells = (first_y * windows.grid[1] + first_x)[:, None] + (dy * windows.grid[1] + dx)[list_of]  # [n, K]
    window = np.ones((1, 1, 1))
    if rows.together is None:
        row_window, row_log = _own_intervals(rows, y, first_y[:, None] + dy[list_of])
        column_window, column_log = _own_intervals(columns, x, first_x[:, None] + dx[list_of])
        window = np.concatenate([np.repeat(row_window, shape[1], 2), np.tile(column_window, shape[0])])  # [E, n, P]
        log, offset = np.concatenate([row_log + log[:, list_of], column_log]), offset[:, list_of]
        list_of = np.arange(len(y))
    elif not one_window:
        pattern = _of_pixels(own_y, own_x)  # [n, P], mostly the same in all groups
        pattern = pattern[:1] if (pattern == pattern[:1]).all() else pattern
        window = (pattern == np.arange(len(log))[:, None, None]).astype(np.float64)  # [E, n or 1, P]

    def index(values: Integers) -> Tensor:
        return torch.from_numpy(values).to(like.device)

    def real(values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values).to(like.device, like.dtype)

    from_y, from_x = (
        places + axis.origin + 0.5 - (middle[:, None] + 0.5) * axis.stride
        for axis, places, middle in ((rows, y, mid_y), (columns, x, mid_x))
    )  # [n, height], [n, width]
    if (from_y == from_y[:1]).all() and (from_x == from_x[:1]).all():  # of whole ratios away from the borders
        from_y, from_x = from_y[:1], from_x[:1]
    offset_of_pixels = real(np.stack([_of_pixels(from_y, 0 * from_x), _of_pixels(0 * from_y, from_x)]))
    count_of_pixels = len(y), shape[0] * shape[1]
    return Groups(
        first=index(top * windows.size[1] + left),
        steps=index((np.arange(shape[0])[:, None] * windows.size[1] + np.arange(shape[1])).ravel()),
        cells=index(cells),
        window=real(window).expand(-1, *count_of_pixels),
        count=count,
        middle=index(mid_y * windows.grid[1] + mid_x),
        pixel_offset=offset_of_pixels.expand(-1, *count_of_pixels),
        lists=real(np.concatenate([log, offset])),
        list_of=index(list_of),
        blocks=blocks,
    )


def _of_pixels(rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[Any]:
    """Add what rows and columns of pixels have: [n, height] and [n, width] to [n, P]."""
    return (rows[:, :, None] + columns[:, None]).reshape(len(rows), -1)


def _own_intervals(axis: Axis, pixels: Integers, cells: Integers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Number the pixels' intervals along one axis, within each group: [n, length], [n, K] to [E, n, length], [E, n, K].

    Returns:
        1 for the interval that is a pixel's own, else 0; and the logarithm of 1 for the cells in it, of 0 for others.
    """
    starts = pixels[:, :1]
    which = axis.interval[pixels] - axis.interval[starts]  # [n, length], 0 for the first of a group
    e = np.arange(which.max() + 1)[:, None, None]
    last = axis.interval[pixels[:, -1:]]
    low, high = (bound[axis.example[np.minimum(axis.interval[starts] + e, last)]] for bound in (axis.low, axis.high))
    return (which == e).astype(np.float64), np.where((low <= cells) & (cells < high), 0.0, NEVER)
