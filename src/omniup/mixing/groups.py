"""The units of work: groups of pixels that share their candidates, cut to size and laid out as index tensors.

Where the windows of a group's pixels differ, its candidates are the union of all, and a pixel's own window says how
often each of them occurs in it, perhaps never. There are few different windows in a group, so this is a short sum,

    log(how often candidate k occurs for pixel p) = Σ_e window[e, p] log_occurrences[e, k],

whose terms are more coordinates of query and key: the product that makes the logits sees to it (`tiles.py`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omniup.mixing.windows import NEVER, Axis, Integers, Windows


@dataclasses.dataclass(frozen=True, eq=False)
class Groups:
    """n groups of P pixels each; the pixels of one draw from the same list of up to K cells.

    Attributes:
        pixels: [n, P], flat indices into the output.
        cells: [n, K], flat indices into the grid. Shorter lists are filled up with cells that occur 0 times.
        window: [E, n, P], 1 for the window that is a pixel's own, else 0; one of the rows and one of the columns, where
            the pixels' windows differ.
        log_occurrences: [E, n, K], logarithm of how often each cell occurs in each window.
        count: [n], the length of each list.
        kinds: ([n], [n]), which of the windows' lists it is.
        middle: [n], flat index of the cell in the middle.
        pixel_offset: [2, n, P], from the centre of that cell to the pixel's centre, (y, x) in pixels.
        cell_offset: [2, n, K], from the centre of that cell to the candidate's centre, (y, x) in pixels.
        slab: if the groups tile a rectangle of the output row by row: its top and left, how many groups it has along
            rows and along columns, and the height and width of each; None otherwise.
    """

    pixels: Tensor
    cells: Tensor
    window: Tensor
    log_occurrences: Tensor
    count: Integers
    kinds: tuple[Integers, Integers]
    middle: Tensor
    pixel_offset: Tensor
    cell_offset: Tensor
    slab: tuple[int, int, int, int, int, int] | None


def groups(windows: Windows, *, longest: int, most: int, like: Tensor, by_count: bool = False) -> Iterator[Groups]:
    """Every pixel of the output in exactly one group.

    Args:
        windows: who may draw from where.
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
                count = windows.lists.count[windows.rows.kind[row_run], windows.columns.kind[column_run]]
                order = np.argsort(count, kind="stable")
                top, row_run, left, column_run = top[order], row_run[order], left[order], column_run[order]
            adjoining = all(
                (np.diff(starts) == side).all()
                for starts, side in ((tops[i : i + high], height), (lefts[j : j + wide], width))
            )
            slab = (tops[i], lefts[j], *shape, height, width) if adjoining and not by_count else None
            yield _lay_out(windows, top, left, (height, width), row_run, column_run, like, slab)


def groups_at(windows: Windows, points: Integers, *, like: Tensor) -> Groups:
    """One group for each of the pixels `points` [N, 2], (y, x); the other arguments are those of `groups`."""
    y, x = points.T
    return _lay_out(windows, y, x, (1, 1), windows.rows.run_of[y], windows.columns.run_of[x], like, None)


def gather(maps: Tensor, index: Tensor) -> Tensor:
    """Places of flat maps: [B, F, places] at [n, m] to [B, F, n, m]."""
    # Not `index_select` or indexing: along the last dimension they are twenty times slower on a CPU (torch 2.15).
    return maps.gather(2, _everywhere(index, maps)).unflatten(2, index.shape)


def scatter_add(maps: Tensor, index: Tensor, values: Tensor) -> None:
    """The reverse of `gather`, in place: add [B, F, n, m] where it came from."""
    maps.scatter_add_(2, _everywhere(index, maps), values.flatten(2))


def read(maps: Tensor, windows: Windows, group: Groups, places: Tensor) -> Tensor:
    """The pixels of some groups, which lie at `places` [n, P]: [B, C, pixels] to [B, n, C, P]."""
    if group.slab is None:
        return gather(maps, places).transpose(1, 2)
    return _blocks(maps, windows, group).flatten(4, 5).flatten(1, 2)


def write(maps: Tensor, values: Tensor, windows: Windows, group: Groups, places: Tensor) -> None:
    """The reverse of `read`, in place; rounds to the type of `maps`."""
    if group.slab is None:
        maps.scatter_(2, _everywhere(places, maps), values.transpose(1, 2).flatten(2).to(maps.dtype))
    else:
        blocks = _blocks(maps, windows, group)
        blocks.copy_(values.view(blocks.shape))


def interpolate(cells: Tensor, windows: Windows, pixels: Tensor) -> Tensor:
    """Bilinear interpolation, as torch's with `align_corners=False`: [B, F, h w] at pixels [n, P] to [B, F, n, P].

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


def _everywhere(index: Tensor, maps: Tensor) -> Tensor:
    return index.flatten().expand(*maps.shape[:2], -1)


def _blocks(maps: Tensor, windows: Windows, group: Groups) -> Tensor:
    """A view of flat maps [B, C, H W] as blocks of pixels [B, rows, columns, C, height, width]."""
    assert group.slab is not None
    top, left, rows, columns, height, width = group.slab
    image = maps.unflatten(2, windows.size)[:, :, top : top + rows * height, left : left + columns * width]
    return image.unflatten(3, (columns, width)).unflatten(2, (rows, height)).permute(0, 2, 4, 1, 3, 5)


def _lay_out(
    windows: Windows,
    top: Integers,  # [n], the first row of pixels
    left: Integers,  # [n], the first column
    shape: tuple[int, int],
    row_run: Integers,  # [n]
    column_run: Integers,  # [n]
    like: Tensor,
    slab: tuple[int, int, int, int, int, int] | None,
) -> Groups:
    rows, columns, lists = windows.rows, windows.columns, windows.lists
    kinds = rows.kind[row_run], columns.kind[column_run]
    count = lists.count[kinds]
    k = slice(int(count.max()))
    dy, dx = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    y, x = top[:, None] + dy, left[:, None] + dx  # [n, P]
    cell_y = rows.first[row_run][:, None] + lists.dy[kinds][:, k]  # [n, K]
    cell_x = columns.first[column_run][:, None] + lists.dx[kinds][:, k]  # [n, K]
    mid_y, mid_x = rows.middle[row_run][:, None], columns.middle[column_run][:, None]  # [n, 1]
    window, log = np.ones((1, *y.shape)), lists.log_occurrences[kinds][None, :, k]  # [1, n, P], [1, n, K]
    if rows.has_unions or columns.has_unions:
        row_window, row_log = _own_intervals(rows, y, cell_y)
        column_window, column_log = _own_intervals(columns, x, cell_x)
        window = np.concatenate([row_window, column_window])
        log = np.concatenate([row_log + log, column_log])

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
        kinds=kinds,
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
        slab=slab,
    )


def _own_intervals(axis: Axis, pixels: Integers, cells: Integers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Which cells each pixel of a group draws from along one axis: [n, P] and [n, K] to [E, n, P] and [E, n, K].

    Returns:
        1 for the interval that is a pixel's own, else 0; and the logarithm of 1 for the cells in it, of 0 for others.
    """
    starts = pixels.min(1, keepdims=True)
    which = axis.interval[pixels] - axis.interval[starts]  # [n, P], 0 for the first of a group
    e = np.arange(which.max() + 1)[:, None, None]
    last = axis.interval[pixels.max(1, keepdims=True)]
    low, high = (bound[axis.example[np.minimum(axis.interval[starts] + e, last)]] for bound in (axis.low, axis.high))
    return (which == e).astype(np.float64), np.where((low <= cells) & (cells < high), 0.0, NEVER)
