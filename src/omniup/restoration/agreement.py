"""Compare neighbouring tiles in their overlap, and compute those anew that disagree with their neighbours.

    difference   root of the mean square by which two tiles differ in their overlap
    texture      standard deviation of their mean there
    agreement    difference / texture: 0 of tiles that show the same, about 1.4 of tiles that have nothing in common

Both are means with the product of the two tiles' weights in the blend, since what one of them shows at its border is
hardly seen. A tile is computed anew as a blend of tiles of the same size that are moved by half an overlap each way, so
that they see more of what surrounds it and the memory suffices; what agrees better with the neighbours is kept.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import torch
from torch import Tensor

from omniup.restoration.tiling import Blend, Grid, Interval, Place, Progress, each_tile, offset_progress, tiled

Pair: TypeAlias = tuple[Place, Place]

_FACTOR = 2  # of the median difference: from there on a pair of tiles disagrees
_INVISIBLE = 0.01  # difference, relative to the texture, below which no pair does
_FLAT = 2 / 255  # deviation that counts as texture at least: a grey level of pictures in -1..1
_MOST_ANEW = 1 / 4  # of all tiles: where more disagree, the median says nothing


@dataclass(frozen=True)
class Agreement:
    """Differences between the tiles of a picture.

    Attributes:
        tiles: how many there are.
        differences: of neighbouring tiles in their overlap, relative to the deviation of the texture there, as blended.
        anew: rows and columns of the tiles that disagreed and were computed anew.
    """

    tiles: int
    differences: tuple[float, ...]
    anew: tuple[Place, ...]

    @property
    def median(self) -> float:
        """Median of the differences, the lower of two in the middle; 0 of a single tile."""
        return statistics.median_low(self.differences) if self.differences else 0.0

    @property
    def largest(self) -> float:
        """The largest of the differences; 0 of a single tile."""
        return max(self.differences, default=0.0)

    def __str__(self) -> str:
        """Describe it in a line."""
        again = f", {len(self.anew)} computed anew" if self.anew else ""
        return f"{self.tiles} tiles differ by {self.median:.3f} of the texture, at most {self.largest:.3f}{again}"


def tiled_in_agreement(
    function: Callable[[Tensor], Tensor],
    *,
    size: tuple[int, int],
    stride: tuple[int, int],
    scale: int,
    batch: int,
    progress: Progress | None = None,
) -> Callable[[Tensor], tuple[Tensor, Agreement]]:
    """Make a function of small pictures one of large pictures, as `tiled` does, whose tiles are compared.

    Args:
        function: as for `tiled`; returns pictures in -1..1, more or less.
        size: as for `tiled`.
        stride: as for `tiled`.
        scale: as for `tiled`.
        batch: as for `tiled`.
        progress: as for `tiled`; the number of all tiles grows by those that are computed anew.

    Returns:
        A function from [1, C, H, W] to [1, C', scale · H, scale · W] and how well the tiles agree. All tiles are kept
        until the last is there.
    """

    def run(image: Tensor) -> tuple[Tensor, Agreement]:
        grid = Grid.of(*image.shape[2:], size=size, stride=stride)
        blend = Blend(grid.scaled(Fraction(scale)), image)
        tiles = dict(each_tile(function, image, grid, scale=scale, batch=batch, progress=progress))
        differences = {pair: _difference(tiles, pair, blend) for pair in _pairs(blend.grid)}
        anew = _disagreeing(differences, most=max(1, int(len(tiles) * _MOST_ANEW)))
        finished = len(tiles)
        for place in anew:
            region = _Region.around(grid, place)
            other = region.compute(
                function, image, scale=scale, batch=batch, progress=offset_progress(progress, finished, finished)
            )
            finished += region.tiles
            changed = {
                pair: _difference(tiles | {place: other}, pair, blend) for pair in differences if place in pair
            }  # of the pairs with this tile
            if sum(changed.values()) < sum(differences[pair] for pair in changed):
                tiles[place] = other
                differences |= changed
        for place, tile in tiles.items():
            blend.add(place, tile)
        return blend.result(), Agreement(len(tiles), tuple(differences.values()), tuple(anew))

    return run


@dataclass(frozen=True)
class _Region:
    """A tile with its surroundings, to compute it anew, in pixels of the input.

    Attributes:
        rows: where it begins and ends, down the picture.
        columns: likewise across.
        size: of the tiles that it is cut into.
        stride: from one to the next.
        offset: of the middle one, which is wanted.
    """

    rows: Interval
    columns: Interval
    size: tuple[int, int]
    stride: tuple[int, int]
    offset: tuple[int, int]

    @classmethod
    def around(cls, grid: Grid, place: Place) -> _Region:
        """Surround a tile by half an overlap each way, as far as the picture goes."""
        axes = [_around(intervals, index) for intervals, index in zip((grid.rows, grid.columns), place, strict=True)]
        (rows, columns), size, stride, offset = zip(*axes, strict=True)
        return cls(rows, columns, size, stride, offset)

    @property
    def tiles(self) -> int:
        """Number of tiles that it takes."""
        height, width = (stop - start for start, stop in (self.rows, self.columns))
        return len(Grid.of(height, width, size=self.size, stride=self.stride).places)

    def compute(
        self,
        function: Callable[[Tensor], Tensor],
        image: Tensor,
        *,
        scale: int,
        batch: int,
        progress: Progress | None,
    ) -> Tensor:
        """Compute the tile in its middle: [1, C', h, w]."""
        run = tiled(function, size=self.size, stride=self.stride, scale=scale, batch=batch, progress=progress)
        made = run(image[:, :, slice(*self.rows), slice(*self.columns)])
        (top, left), (height, width) = self.offset, self.size
        return made[:, :, top * scale : (top + height) * scale, left * scale : (left + width) * scale]


def _around(intervals: Sequence[Interval], index: int) -> tuple[Interval, int, int, int]:
    """Surround a tile along one axis: from where to where, its size, the stride of the moved tiles, and its offset."""
    start, stop = intervals[index]
    margin = (intervals[0][1] - intervals[1][0]) // 2 if len(intervals) > 1 else 0
    first, last = max(0, start - margin), min(intervals[-1][1], stop + margin)
    return (first, last), stop - start, max(1, 2 * margin), start - first


def _pairs(grid: Grid) -> list[Pair]:
    """List the neighbours, one above or beside the other, that overlap."""
    below = [((row, column), (row + 1, column)) for row, column in grid.places if row + 1 < len(grid.rows)]
    beside = [((row, column), (row, column + 1)) for row, column in grid.places if column + 1 < len(grid.columns)]
    return [pair for pair in below + beside if all(start < stop for start, stop in _overlap(grid, pair))]


def _overlap(grid: Grid, pair: Pair) -> tuple[Interval, Interval]:
    """Return where two tiles overlap, down and across."""
    rows, columns = ([grid.rows[row] for row, _ in pair], [grid.columns[column] for _, column in pair])
    down, across = ((max(start for start, _ in both), min(stop for _, stop in both)) for both in (rows, columns))
    return down, across


def _difference(tiles: Mapping[Place, Tensor], pair: Pair, blend: Blend) -> float:
    """Compare two neighbouring tiles in their overlap: their difference relative to the texture's deviation."""
    (top, bottom), (left, right) = _overlap(blend.grid, pair)

    def overlap(of: Tensor, place: Place) -> Tensor:
        above, before = blend.grid.rows[place[0]][0], blend.grid.columns[place[1]][0]
        return of[..., top - above : bottom - above, left - before : right - before]

    one, other = (overlap(tiles[place], place) for place in pair)  # [1, C, h, w]
    weight = torch.stack([overlap(blend.weight(place), place) for place in pair]).prod(0)  # [h, w]
    weight = weight / weight.sum()
    mean = (one + other) / 2
    texture = ((mean - _sum(mean * weight)).square() * weight).sum((2, 3)).mean().sqrt()
    difference = ((one - other).square() * weight).sum((2, 3)).mean().sqrt()
    return float(difference / texture.clamp(min=_FLAT))


def _sum(maps: Tensor) -> Tensor:
    return maps.sum((2, 3), keepdim=True)


def _disagreeing(differences: Mapping[Pair, float], *, most: int) -> list[Place]:
    """List the tiles that disagree: of each pair that does, the one that agrees less with all its neighbours."""
    if not differences:
        return []
    limit = max(_INVISIBLE, _FACTOR * statistics.median_low(differences.values()))
    found: dict[Place, list[float]] = {place: [] for pair in differences for place in pair}
    for pair, difference in differences.items():
        for place in pair:
            found[place].append(difference)
    means = {place: statistics.fmean(of_pairs) for place, of_pairs in found.items()}
    culprits = {max(pair, key=means.__getitem__) for pair, difference in differences.items() if difference > limit}
    return sorted(culprits, key=means.__getitem__, reverse=True)[:most]
