"""Build windows: the low-resolution (LR) cells that each output pixel draws from.

A window is an interval of rows times an interval of columns (`Axis`), perhaps cut to a disc. Along an axis neighbouring
pixels share their interval, so they form *runs*; a run of rows times a run of columns is a group of pixels with one
list of candidates. All of it is integer arithmetic, so any ratio of sizes is exact.

Where cells have few pixels, several successive intervals make a run, and its candidates are the union of theirs: the
keys of a group then serve more pixels (`runs_of`). The intervals of relative windows change every few pixels, and not
regularly. There the runs are of one length. Of a union each pixel leaves out what is not in its own window
(`groups.py`).

A window that reaches over the border of the grid is clamped to it, and a border cell counts as often as it then occurs
(spec, section 4.3; the authors' code likewise). A list holds such a cell once, with the logarithm of its count, which
is added to its logit: on a 16×16 grid with radius 8 that saves 38 % of the work.

Oracle: tests/oracles/windows.py, pixel by pixel.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: The logarithm of "occurs 0 times". Finite, since it is multiplied by zeros, and no logit comes near it.
NEVER = -1e30

#: The table of candidates has about (2 radius + 1)⁴ entries; a million of them is as far as it goes.
MAX_RADIUS = 16

#: Shorter pieces of pixels make products too small to be quick.
SHORTEST_PIECE = 7

#: The lengths that runs of relative intervals may have; in between, as many pixels as a cell has.
SHORTEST_UNION, LONGEST_UNION = 8, 32

#: So many intervals may make a run: few, as each is a coordinate of queries and keys, and such as often divide a grid,
#: since what is left over at its end makes groups of another size.
INTERVALS = 1, 2, 4

#: Cost of a group, in pairs of a pixel and a candidate: of one candidate's key, and of the group itself.
KEY_COST, GROUP_COST = 15, 300

Integers = NDArray[np.int64]

Rectangle: TypeAlias = tuple[slice, slice]
"""Rows and columns of pixels."""


def within(inside: Rectangle, near: Rectangle) -> Rectangle:
    """Return the rows and columns of a rectangle, counted from where one around it begins."""
    rows, columns = (
        slice(each.start - around.start, each.stop - around.start) for each, around in zip(inside, near, strict=True)
    )
    return rows, columns


@dataclasses.dataclass(frozen=True, eq=False)
class Axis:
    """The intervals of cells that pixels draw from along one axis, and the runs of pixels that share them.

    Made by `clamped` or `relative`. How clamping folds the places of an interval onto cells depends only on where it
    crosses the border; runs in which that is the same are of one membership class.

    Attributes:
        low: [pixels], the first cell of each pixel's own interval; may lie outside the grid.
        high: [pixels], one past its last cell.
        cells: how many there are.
        stride: pixels per cell.
        origin: where these pixels begin among those of the whole axis.
        together: how many successive intervals make a run; None for runs of equal lengths.
        run: about how many pixels a run of those has, as a cell: of this grid, or of another that shares its groups.
        starts: [runs], the first pixel of each run.
        lengths: [runs], how many pixels it has.
        middle: [runs], the cell in the middle of the union of its intervals, clamped.
        first: [runs], its first candidate, clamped.
        membership_class: [runs], which of the memberships is its own.
        membership: [classes, e, k, t], true where place t of the run's interval e, clamped, is the candidate first + k.
            Runs of equal lengths have one interval here, their union, which lies in the grid.
    """

    low: Integers
    high: Integers
    cells: int
    stride: float
    origin: int
    together: int | None
    run: float
    starts: Integers
    lengths: Integers
    middle: Integers
    first: Integers
    membership_class: Integers
    membership: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        low: Integers,
        high: Integers,
        cells: int,
        stride: float,
        together: int | None,
        origin: int = 0,
        run: float | None = None,
    ) -> Axis:
        """Cut pixels with known intervals, as the attributes have them, into runs."""
        interval, run = _number(low, high), stride if run is None else run  # [pixels]
        run_of = np.arange(len(low)) // _run_length(len(low), run) if together is None else interval // together
        starts = np.flatnonzero(np.diff(run_of, prepend=-1))
        first, end = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)  # [runs]
        lows, highs = first[:, None], end[:, None]  # [runs, e]
        if together is not None:
            last = interval[np.append(starts[1:], len(low)) - 1]
            own = np.minimum(interval[starts][:, None] + np.arange(together), last[:, None])
            example = np.flatnonzero(np.diff(interval, prepend=-1))  # [intervals], the first pixel of each
            lows, highs = low[example[own]], high[example[own]]
        # A membership depends on the intervals' lengths, and on how far they reach over either border.
        over = np.stack([first.clip(max=0), (end - cells).clip(min=0)], axis=1)  # [runs, 2]
        shape = np.concatenate([over, lows - first[:, None], highs - first[:, None]], axis=1)
        _, examples, membership_class = np.unique(shape, axis=0, return_index=True, return_inverse=True)

        cell = lows[examples][..., None] + np.arange((highs - lows).max())  # [classes, e, t]
        candidate = cell.clip(0, cells - 1) - first[examples, None, None].clip(0, cells - 1)
        k = np.arange((end - first).max())[:, None]
        member = (candidate[:, :, None] == k) & (cell < highs[examples][..., None])[:, :, None]  # [classes, e, k, t]
        return cls(
            low=low,
            high=high,
            cells=cells,
            stride=stride,
            origin=origin,
            together=together,
            run=run,
            starts=starts,
            lengths=np.diff(starts, append=len(low)),
            middle=((first + end - 1) // 2).clip(0, cells - 1),
            first=first.clip(0, cells - 1),
            membership_class=membership_class.reshape(-1),
            membership=member[:, :, member.any(axis=(0, 1, 3))],
        )

    @classmethod
    def clamped(
        cls, pixels: int, cells: int, radius: int, centre: Literal["floor", "nearest"], together: int = 1
    ) -> Axis:
        """Take intervals of 2 radius + 1 cells around floor(u) or round(u), u = (pixel + 0.5) cells / pixels - 0.5."""
        twice = (2 * np.arange(pixels) + 1) * cells  # 2 · pixels · (u + 0.5)
        middle = {"floor": (twice - pixels) // (2 * pixels), "nearest": twice // (2 * pixels)}[centre]
        return cls.of(middle - radius, middle + radius + 1, cells, pixels / cells, together)

    @classmethod
    def relative(cls, pixels: int, cells: int, ratio: float, run: float | None = None) -> Axis:
        """Take intervals floor(clamp(r - ratio) cells) to ceil(clamp(r + ratio) cells), r = (pixel + 0.5) / pixels."""
        # In float32, as the published weights were trained: a border on a cell's edge rounds as it did there.
        r = (np.arange(pixels, dtype=np.float32) + np.float32(0.5)) / np.float32(pixels)
        low = np.floor((r - np.float32(ratio)).clip(0, 1) * np.float32(cells)).astype(np.int64)
        high = np.ceil((r + np.float32(ratio)).clip(0, 1) * np.float32(cells)).astype(np.int64)
        return cls.of(low, high, cells, pixels / cells, together=None, run=run)

    def part(self, start: int, stop: int) -> Axis:
        """Return the intervals of pixels `start` up to `stop` alone."""
        if (start, stop) == (0, len(self.low)):
            return self
        low, high = self.low[start:stop], self.high[start:stop]
        return Axis.of(low, high, self.cells, self.stride, self.together, self.origin + start, self.run)

    @functools.cached_property
    def interval(self) -> Integers:
        """Index of each pixel's own interval, from the first pixel to the last: [pixels]."""
        return _number(self.low, self.high)

    @functools.cached_property
    def example(self) -> Integers:
        """First pixel of each interval: [intervals]."""
        return np.flatnonzero(np.diff(self.interval, prepend=-1))

    @functools.cached_property
    def most_intervals(self) -> int:
        """Largest number of different intervals among the pixels of one run."""
        return int((self.interval[self.starts + self.lengths - 1] - self.interval[self.starts]).max()) + 1

    @functools.cached_property
    def own_interval(self) -> Integers:
        """Number of each pixel's own interval among those of its run: [pixels]."""
        return self.interval - self.interval[self.starts][self.run_of]

    @functools.cached_property
    def spread(self) -> int:
        """Largest distance between the first cells of two intervals of one run."""
        return int((np.maximum.reduceat(self.low, self.starts) - np.minimum.reduceat(self.low, self.starts)).max())

    @functools.cached_property
    def run_of(self) -> Integers:
        """Run that each pixel belongs to: [pixels]."""
        return np.repeat(np.arange(len(self.starts)), self.lengths)

    def piece_length(self, longest: int) -> int:
        """Return the length of the longest piece that `pieces` makes.

        If windows are centred on floor(u), the runs at the border are half as long as the others. Then all are cut to
        that: pieces of one length make fewer and larger products.
        """
        common = int(np.gcd.reduce(self.lengths))
        return min(longest, common if common >= SHORTEST_PIECE else int(self.lengths.max()))

    def pieces(self, longest: int) -> dict[int, tuple[Integers, Integers]]:
        """Cut the runs into pieces of at most `longest` pixels: length -> (starts [n], runs [n])."""
        longest = self.piece_length(longest)
        count = -(-self.lengths // longest)  # [runs], pieces of each
        run = np.repeat(np.arange(len(count)), count)  # [n]
        offset = longest * (np.arange(len(run)) - np.repeat(np.cumsum(count) - count, count))  # [n]
        length, start = np.minimum(longest, self.lengths[run] - offset), self.starts[run] + offset  # [n] each
        known, first = np.unique(length, return_index=True)
        return {int(n): (start[length == n], run[length == n]) for n in known[np.argsort(first)]}  # as they come


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """The cells that a window may draw from: a list for each membership class of rows and of columns.

    Attributes:
        count: [row classes, column classes], the length of the list.
        dy, dx: [row classes, column classes, K], cells from the list's first row and column; past `count`, zeros.
        log_occurrences: [row classes, column classes, E, K], logarithm of how often each occurs in each of a group's
            windows: every interval of its rows with every interval of its columns.
    """

    count: Integers
    dy: Integers
    dx: Integers
    log_occurrences: NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """Windows of LR cells, one for each output pixel; made by `square`, `disc` or `relative`.

    Attributes:
        size: (H, W) of the output, in pixels.
        grid: (h, w) of the LR signal, in cells.
        rows, columns: the intervals along either axis.
        shape: [t, t], the places of an interval of rows times an interval of columns that belong to the window.
        radius: of a disc, in cells; None for other windows.

    Example:
        >>> windows = Windows.square(size=(224, 224), grid=(16, 16), radius=2)
        >>> windows.most_candidates
        25
    """

    size: tuple[int, int]
    grid: tuple[int, int]
    rows: Axis
    columns: Axis
    shape: NDArray[np.bool_]
    radius: int | None = None

    @classmethod
    def square(
        cls,
        size: tuple[int, int],
        grid: tuple[int, int],
        radius: int,
        *,
        centre: Literal["floor", "nearest"] = "floor",
    ) -> Windows:
        """Make squares of (2 radius + 1)² cells, clamped at the border (spec, section 4.3).

        Args:
            size: (H, W) of the output, in pixels.
            grid: (h, w), in cells.
            radius: 0 to 16, in cells.
            centre: the middle cell of the window: `"floor"` of u = (pixel + 0.5) / stride - 0.5, or the cell that the
                pixel lies in (`"nearest"`).

        Raises:
            ValueError: a side is empty or the radius is out of range.
        """
        _check(size, grid, radius)
        return cls._clamped(size, grid, radius, centre, square(radius))

    @classmethod
    def disc(cls, size: tuple[int, int], grid: tuple[int, int], radius: int) -> Windows:
        """Make discs dy² + dx² <= radius² of cells around the pixel's own cell, clamped at the border.

        This is the window of Upsample Anything's published code. Pixels may have smaller radii of their own: the
        `reach` of an `Attention`.

        Raises:
            ValueError: as `square`.
        """
        _check(size, grid, radius)
        return dataclasses.replace(cls._clamped(size, grid, radius, "nearest", disc(radius)), radius=radius)

    @classmethod
    def relative(
        cls,
        size: tuple[int, int],
        grid: tuple[int, int],
        ratio: float = 0.1,
        *,
        grouped: tuple[int, int] | None = None,
    ) -> Windows:
        """Make AnyUp's windows: every cell that lies within `ratio` of the image's side (arXiv 2510.12764, section 3).

        Args:
            size: (H, W) of the output, in pixels.
            grid: (h, w), in cells.
            ratio: above 0, up to 1.
            grouped: a grid whose windows have the same groups of pixels, so that both are mixed at once (`joint.py`);
                by default this one.

        Raises:
            ValueError: a side is empty or the ratio is out of range.
        """
        _check(size, grid, 0)
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio is {ratio}; accepted: numbers above 0 and up to 1")
        sides = zip(size, grid, grouped or grid, strict=True)
        rows, columns = (Axis.relative(pixels, cells, ratio, pixels / of) for pixels, cells, of in sides)
        return cls(size, grid, rows, columns, _all(rows, columns))

    @classmethod
    def _clamped(
        cls,
        size: tuple[int, int],
        grid: tuple[int, int],
        radius: int,
        centre: Literal["floor", "nearest"],
        shape: NDArray[np.bool_],
    ) -> Windows:
        sides = zip(size, grid, runs_of(size, grid, shape), strict=True)
        rows, columns = (Axis.clamped(side, cells, radius, centre, together) for side, cells, together in sides)
        return cls(size, grid, rows, columns, shape)

    def part(self, rows: slice, columns: slice) -> Windows:
        """Return the windows of a rectangle of the output alone."""
        down = self.rows.part(*rows.indices(self.size[0])[:2])
        across = self.columns.part(*columns.indices(self.size[1])[:2])
        shape = _all(down, across) if down.together is None else self.shape
        return dataclasses.replace(self, size=(len(down.low), len(across.low)), rows=down, columns=across, shape=shape)

    @functools.cached_property
    def candidates(self) -> Candidates:
        """Candidates of the windows of every class."""
        occurrences = self._occurrences(self.shape)
        used = (occurrences > 0).any(2)  # [row classes, column classes, places]
        count = used.sum(-1)
        order = np.argsort(~used, axis=-1, kind="stable")[..., : int(count.max())]  # those that occur come first
        occurrences = np.take_along_axis(occurrences, order[:, :, None], -1)
        listed = np.arange(order.shape[-1]) < count[..., None]
        dy, dx = np.divmod(np.where(listed, order, 0), self.columns.membership.shape[2])
        return Candidates(count, dy, dx, _log(occurrences))

    @functools.cached_property
    def squared_radii(self) -> Integers:
        """Squared radii at which a growing disc takes in new cells: sums of two squares up to radius²."""
        assert self.radius is not None
        distances = np.unique(_squared_distance(self.radius))
        return distances[distances <= self.radius**2]

    def log_occurrences_within(self, squared_radius: int) -> NDArray[np.float64]:
        """Return how often `candidates` occur in discs of a smaller radius: [row classes, column classes, E, K]."""
        if squared_radius not in self._within:
            assert self.radius is not None
            occurrences = self._occurrences(_squared_distance(self.radius) <= squared_radius)
            known = self.candidates
            places = known.dy * self.columns.membership.shape[2] + known.dx  # [row classes, column classes, K]
            occurrences = np.take_along_axis(occurrences, places[:, :, None], -1)
            occurrences[known.log_occurrences == NEVER] = 0  # what fills up a shorter list
            self._within[squared_radius] = _log(occurrences)
        return self._within[squared_radius]

    @functools.cached_property
    def _within(self) -> dict[int, NDArray[np.float64]]:
        return {}

    def _occurrences(self, shape: NDArray[np.bool_]) -> Integers:
        """Count how often a window of that shape has each cell, clamped: [row classes, column classes, E, places]."""
        rows, columns = (axis.membership.astype(np.float32) for axis in (self.rows, self.columns))  # BLAS: no integers
        with np.errstate(invalid="ignore"):  # some BLAS set the flag for what lies beside small matrices
            counts = np.tensordot(rows, shape.astype(np.float32), axes=1)  # [row classes, e, k, u]
            counts = np.tensordot(counts, columns, axes=(3, 3))  # [row classes, e, k, column classes, f, l]
        counts = counts.transpose(0, 3, 1, 4, 2, 5)  # [row classes, column classes, e, f, k, l]
        return counts.reshape(*counts.shape[:2], math.prod(counts.shape[2:4]), -1).astype(np.int64)

    def most_pixels(self, longest: int) -> int:
        """Return how many pixels the largest group has, if none is higher or wider than `longest`."""
        return self.rows.piece_length(longest) * self.columns.piece_length(longest)

    @property
    def most_candidates(self) -> int:
        """Length of the longest list of candidates."""
        return int(self.candidates.count.max())

    @property
    def most_coordinates(self) -> int:
        """Largest number of coordinates that say which of a group's windows is a pixel's own."""
        rows, columns = self.rows, self.columns
        if rows.together is None or columns.together is None:
            return rows.most_intervals + columns.most_intervals
        return rows.together * columns.together

    @functools.cached_property
    def lists(self) -> tuple[Integers, Integers]:
        """Parts of rows [H] and columns [W] in a pixel's place in a flat table of lists, as in `Candidates`."""
        _, classes, e, _ = self.candidates.log_occurrences.shape
        rows, columns = (axis.membership_class[axis.run_of] for axis in (self.rows, self.columns))
        zeros = np.zeros(1, np.int64)
        own_rows, own_columns = self.own(np.arange(self.size[0]), zeros), self.own(zeros, np.arange(self.size[1]))
        return rows * classes * e + own_rows, columns * e + own_columns

    def own(self, y: Integers, x: Integers) -> Integers:
        """Number the windows of pixels (y, x), [..] each, among those of their groups: as E of `Candidates`."""
        assert self.columns.together is not None
        return self.rows.own_interval[y] * self.columns.together + self.columns.own_interval[x]


def runs_of(size: tuple[int, int], grid: tuple[int, int], shape: NDArray[np.bool_]) -> tuple[int, int]:
    """Choose how many successive intervals of rows and of columns make a run, so that mixing costs least.

    Pixels of more cells share the keys of a group, and each visits the candidates of them all.

    Args:
        size: (H, W), in pixels.
        grid: (h, w), in cells.
        shape: [t, t], of a window.
    """
    stride = size[0] / grid[0], size[1] / grid[1]

    def cost(together: tuple[int, int]) -> float:
        """Count the pairs that a pixel costs."""
        candidates = union_size(shape, together)
        pixels = math.prod(max(1, number * length) for number, length in zip(together, stride, strict=True))
        return candidates + (KEY_COST * candidates + GROUP_COST) / pixels

    return min(itertools.product(INTERVALS, INTERVALS), key=cost)


def union_size(shape: NDArray[np.bool_], together: tuple[int, int]) -> int:
    """Count the cells of the union of so many windows [t, t] of rows and of columns, each a cell from the next."""
    rows, columns = (number - 1 for number in together)
    return int(shape.sum()) + rows * shape.shape[1] + columns * shape.shape[0] + rows * columns


def disc(radius: int) -> NDArray[np.bool_]:
    """Return the places of a disc: [2 radius + 1, 2 radius + 1]."""
    return _squared_distance(radius) <= radius**2


def square(radius: int) -> NDArray[np.bool_]:
    """Return the places of a square, all of them: [2 radius + 1, 2 radius + 1]."""
    return np.ones((2 * radius + 1, 2 * radius + 1), bool)


def _number(low: Integers, high: Integers) -> Integers:
    """Number the different intervals of successive pixels: [pixels], from 0."""
    return np.concatenate([[0], np.cumsum((np.diff(low) | np.diff(high)) != 0, dtype=np.int64)])


def _all(rows: Axis, columns: Axis) -> NDArray[np.bool_]:
    """Return the shape of whole windows: every place of an interval of rows times one of columns."""
    return np.ones((rows.membership.shape[3], columns.membership.shape[3]), bool)


def _run_length(pixels: int, stride: float) -> int:
    """Choose a length for runs of different intervals: about a cell's, so that their union is little more than one."""
    pieces = -(-pixels // min(max(round(stride), SHORTEST_UNION), LONGEST_UNION))
    return -(-pixels // pieces)  # as even as can be


def _squared_distance(radius: int) -> Integers:
    squares = np.arange(-radius, radius + 1) ** 2
    return squares[:, None] + squares


def _log(occurrences: Integers) -> NDArray[np.float64]:
    return np.log(occurrences, out=np.full(occurrences.shape, NEVER), where=occurrences > 0)


def _check(size: tuple[int, int], grid: tuple[int, int], radius: int) -> None:
    for name, sides in (("size", size), ("grid", grid)):
        if len(sides) != 2 or min(sides) < 1:
            raise ValueError(f"{name} is {tuple(sides)}; accepted: two sides of at least 1")
    if not 0 <= radius <= MAX_RADIUS:
        raise ValueError(f"radius is {radius}; accepted: whole numbers from 0 to {MAX_RADIUS}")
