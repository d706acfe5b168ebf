"""Build windows: the low-resolution (LR) cells that each output pixel draws from.

A window is an interval of rows times an interval of columns (`Axis`), perhaps cut to a disc. Along an axis neighbouring
pixels share their interval, so they form *runs*; a run of rows times a run of columns is a group of pixels with one
list of candidates. All of it is integer arithmetic, so any ratio of sizes is exact.

The intervals of relative windows change every few pixels, and not regularly. There the runs are of one length, a run's
interval is the union of its pixels' own, and each pixel leaves out what is not in its own (`groups.py`).

A window that reaches over the border of the grid is clamped to it, and a border cell counts as often as it then occurs
(spec, section 4.3; the authors' code likewise). A list holds such a cell once, with the logarithm of its count, which
is added to its logit: on a 16×16 grid with radius 8 that saves 38 % of the work.

Oracle: tests/oracles/windows.py, pixel by pixel.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: The logarithm of "occurs 0 times". Finite, since it is multiplied by zeros, and no logit comes near it.
NEVER = -1e30

#: The table of candidates has about (2 radius + 1)⁴ entries; a million of them is as far as it goes.
MAX_RADIUS = 16

#: Shorter pieces of pixels make products too small to be quick.
SHORTEST_PIECE = 7

#: The lengths that runs of different intervals may have; in between, as many pixels as a cell has.
SHORTEST_UNION, LONGEST_UNION = 8, 32

Integers = NDArray[np.int64]


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
        starts: [runs], the first pixel of each run.
        lengths: [runs], how many pixels it has.
        middle: [runs], the cell in the middle of its interval, clamped.
        first: [runs], its first candidate, clamped.
        membership_class: [runs], which of the memberships is its own.
        membership: [classes, k, t], true where place t of an interval, clamped, is the candidate first + k.
    """

    low: Integers
    high: Integers
    cells: int
    stride: float
    origin: int
    starts: Integers
    lengths: Integers
    middle: Integers
    first: Integers
    membership_class: Integers
    membership: NDArray[np.bool_]

    @classmethod
    def of(
        cls, low: Integers, high: Integers, cells: int, stride: float, origin: int = 0, run: int | None = None
    ) -> Axis:
        """Cut pixels with known intervals into runs.

        Args:
            low: as the attribute.
            high: as the attribute.
            cells: as the attribute.
            stride: as the attribute.
            origin: as the attribute.
            run: length of the runs, whose intervals are the unions of their pixels' own, which then must lie in the
                grid. None for runs of pixels that share one interval.
        """
        changes = np.diff(low) | np.diff(high) if run is None else np.arange(1, len(low)) % run == 0
        starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
        first, end = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)  # [runs]
        # A membership depends on the length, and on how far the interval reaches over either border.
        shape = np.stack([first.clip(max=0), end - first, (end - cells).clip(min=0)], axis=1)  # [runs, 3]
        _, examples, membership_class = np.unique(shape, axis=0, return_index=True, return_inverse=True)

        place = np.arange((end - first).max())
        cell = first[examples, None] + place  # [classes, t]
        candidate = cell.clip(0, cells - 1) - first[examples, None].clip(0, cells - 1)
        member = (candidate[:, None] == place[:, None]) & (cell < end[examples, None])[:, None]  # [classes, k, t]
        return cls(
            low=low,
            high=high,
            cells=cells,
            stride=stride,
            origin=origin,
            starts=starts,
            lengths=np.diff(starts, append=len(low)),
            middle=((first + end - 1) // 2).clip(0, cells - 1),
            first=first.clip(0, cells - 1),
            membership_class=membership_class.reshape(-1),
            membership=member[:, member.any(axis=(0, 2))],
        )

    @classmethod
    def clamped(cls, pixels: int, cells: int, radius: int, centre: Literal["floor", "nearest"]) -> Axis:
        """Take intervals of 2 radius + 1 cells around floor(u) or round(u), u = (pixel + 0.5) cells / pixels - 0.5."""
        twice = (2 * np.arange(pixels) + 1) * cells  # 2 · pixels · (u + 0.5)
        middle = {"floor": (twice - pixels) // (2 * pixels), "nearest": twice // (2 * pixels)}[centre]
        return cls.of(middle - radius, middle + radius + 1, cells, pixels / cells)

    @classmethod
    def relative(cls, pixels: int, cells: int, ratio: float) -> Axis:
        """Take intervals floor(clamp(r - ratio) cells) to ceil(clamp(r + ratio) cells), r = (pixel + 0.5) / pixels."""
        # In float32, as the published weights were trained: a border on a cell's edge rounds as it did there.
        r = (np.arange(pixels, dtype=np.float32) + np.float32(0.5)) / np.float32(pixels)
        low = np.floor((r - np.float32(ratio)).clip(0, 1) * np.float32(cells)).astype(np.int64)
        high = np.ceil((r + np.float32(ratio)).clip(0, 1) * np.float32(cells)).astype(np.int64)
        return cls.of(low, high, cells, pixels / cells, run=_run_length(pixels, pixels / cells))

    def part(self, start: int, stop: int) -> Axis:
        """Return the intervals of pixels `start` up to `stop` alone."""
        run = _run_length(stop - start, self.stride) if self.has_unions else None
        return Axis.of(self.low[start:stop], self.high[start:stop], self.cells, self.stride, self.origin + start, run)

    @functools.cached_property
    def interval(self) -> Integers:
        """Index of each pixel's own interval, from the first pixel to the last: [pixels]."""
        return np.concatenate([[0], np.cumsum((np.diff(self.low) | np.diff(self.high)) != 0, dtype=np.int64)])

    @functools.cached_property
    def example(self) -> Integers:
        """First pixel of each interval: [intervals]."""
        return np.unique(self.interval, return_index=True)[1]

    @functools.cached_property
    def most_intervals(self) -> int:
        """Largest number of different intervals among the pixels of one run."""
        return int((self.interval[self.starts + self.lengths - 1] - self.interval[self.starts]).max()) + 1

    @property
    def has_unions(self) -> bool:
        """True if the pixels of some run have different intervals."""
        return self.most_intervals > 1

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
        dy, dx: [row classes, column classes, K], cells from the window's first row and column; past `count`, zeros.
        log_occurrences: [row classes, column classes, K], logarithm of how often each occurs in the window.
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
        rows, columns = (Axis.clamped(*sides, radius, centre) for sides in zip(size, grid, strict=True))
        return cls(size, grid, rows, columns, _all(rows, columns))

    @classmethod
    def disc(cls, size: tuple[int, int], grid: tuple[int, int], radius: int) -> Windows:
        """Make discs dy² + dx² <= radius² of cells around the pixel's own cell, clamped at the border.

        This is the window of Upsample Anything's published code. Pixels may have smaller radii of their own: the
        `reach` of an `Attention`.

        Raises:
            ValueError: as `square`.
        """
        _check(size, grid, radius)
        rows, columns = (Axis.clamped(*sides, radius, "nearest") for sides in zip(size, grid, strict=True))
        return cls(size, grid, rows, columns, _squared_distance(radius) <= radius**2, radius)

    @classmethod
    def relative(cls, size: tuple[int, int], grid: tuple[int, int], ratio: float = 0.1) -> Windows:
        """Make AnyUp's windows: every cell that lies within `ratio` of the image's side (arXiv 2510.12764, section 3).

        Args:
            size: (H, W) of the output, in pixels.
            grid: (h, w), in cells.
            ratio: above 0, up to 1.

        Raises:
            ValueError: a side is empty or the ratio is out of range.
        """
        _check(size, grid, 0)
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio is {ratio}; accepted: numbers above 0 and up to 1")
        rows, columns = (Axis.relative(*sides, ratio) for sides in zip(size, grid, strict=True))
        return cls(size, grid, rows, columns, _all(rows, columns))

    def band(self, top: int, bottom: int) -> Windows:
        """Return the windows of rows `top` up to `bottom` of the output alone."""
        rows = self.rows.part(top, bottom)
        shape = _all(rows, self.columns) if self.radius is None else self.shape
        return dataclasses.replace(self, size=(bottom - top, self.size[1]), rows=rows, shape=shape)

    @functools.cached_property
    def candidates(self) -> Candidates:
        """Candidates of the windows of every class."""
        occurrences = self._occurrences(self.shape)
        used = occurrences > 0
        order = np.argsort(~used, axis=-1, kind="stable")[..., : int(used.sum(-1).max())]  # those that occur come first
        occurrences = np.take_along_axis(occurrences, order, -1)
        dy, dx = np.divmod(np.where(occurrences > 0, order, 0), self.columns.membership.shape[1])
        return Candidates(used.sum(-1), dy, dx, _log(occurrences))

    @functools.cached_property
    def squared_radii(self) -> Integers:
        """Squared radii at which a growing disc takes in new cells: sums of two squares up to radius²."""
        assert self.radius is not None
        distances = np.unique(_squared_distance(self.radius))
        return distances[distances <= self.radius**2]

    def log_occurrences_within(self, squared_radius: int) -> NDArray[np.float64]:
        """Return how often `candidates` occur in discs of a smaller radius: [row classes, column classes, K]."""
        if squared_radius not in self._within:
            assert self.radius is not None
            occurrences = self._occurrences(_squared_distance(self.radius) <= squared_radius)
            known = self.candidates
            places = known.dy * self.columns.membership.shape[1] + known.dx  # [row classes, column classes, K]
            occurrences = np.take_along_axis(occurrences, places, -1)
            occurrences[known.log_occurrences == NEVER] = 0  # what fills up a shorter list
            self._within[squared_radius] = _log(occurrences)
        return self._within[squared_radius]

    @functools.cached_property
    def _within(self) -> dict[int, NDArray[np.float64]]:
        return {}

    def _occurrences(self, shape: NDArray[np.bool_]) -> Integers:
        """Count how often a window of that shape has each cell, clamped: [row classes, column classes, places]."""
        rows, columns = (axis.membership.astype(np.float32) for axis in (self.rows, self.columns))  # BLAS: no integers
        with np.errstate(invalid="ignore"):  # some BLAS set the flag for what lies beside small matrices
            counts = np.tensordot(rows, shape.astype(np.float32), axes=1)  # [row classes, k, u]
            counts = np.tensordot(counts, columns, axes=(2, 2)).transpose(0, 2, 1, 3)  # [row, column classes, k, l]
        return counts.reshape(*counts.shape[:2], -1).astype(np.int64)

    def most_pixels(self, longest: int) -> int:
        """Return how many pixels the largest group has, if none is higher or wider than `longest`."""
        return self.rows.piece_length(longest) * self.columns.piece_length(longest)

    @property
    def most_candidates(self) -> int:
        """Length of the longest list of candidates."""
        return int(self.candidates.count.max())


def _all(rows: Axis, columns: Axis) -> NDArray[np.bool_]:
    """Return the shape of whole windows: every place of an interval of rows times one of columns."""
    return np.ones((rows.membership.shape[2], columns.membership.shape[2]), bool)


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
