"""Process large pictures in overlapping tiles, blended so that no seam is seen.

Every tile is weighted with a Gaussian of its own width, highest in the middle of the tile and next to nothing at its
border, where a network knows least of what surrounds a pixel; a pixel is the weighted mean of the tiles over it. Tiles
lie on a grid and a Gaussian is a product of one along the rows and one along the columns, so the weights of the tiles
are such products too: they are worked out along each axis, sum to 1 there, and nothing has to be divided in the end.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import torch
from torch import Tensor

from omniup.errors import InputError

Sides: TypeAlias = int | tuple[int, int]
"""Height and width in pixels, or one number for both."""

Interval: TypeAlias = tuple[int, int]
"""Start of a tile along one axis, and its end, exclusive."""

Place: TypeAlias = tuple[int, int]
"""Row and column of a tile in its grid."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of finished tiles, and of all; may raise to stop the work."""

VARIANCE = 0.01
"""Variance of the Gaussian weights, in units of the tile's squared side."""


def tile_windows(height: int, width: int, *, size: Sides, stride: Sides) -> Tensor:
    """Cut a picture into overlapping tiles.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        size: of a tile; a picture's side that is shorter has one tile of its own length.
        stride: from one tile to the next, at most `size`. The last row and column of tiles end at the border.

    Returns:
        [N, 4] int64, a row per tile: top, bottom, left, right, the ends exclusive; row by row from the top left.

    Raises:
        InputError: a side or a stride is not positive, or a stride would leave gaps.

    Example:
        >>> from omniup.restoration import tile_windows
        >>> tile_windows(32, 75, size=32, stride=20).tolist()
        [[0, 32, 0, 32], [0, 32, 20, 52], [0, 32, 40, 72], [0, 32, 43, 75]]
    """
    grid = Grid.of(height, width, size=size, stride=stride)
    return torch.tensor([(*grid.rows[row], *grid.columns[column]) for row, column in grid.places])  # [N, 4]


def gaussian_weights(height: int, width: int) -> Tensor:
    """Compute the weights of a tile's pixels: a Gaussian of variance 0.01 of its squared sides.

    It is centred at (width - 1) / 2 across and height / 2 down, as in the authors' code.

    Args:
        height: of the tile, in pixels.
        width: of the tile, in pixels.

    Returns:
        [height, width] float64.
    """
    return _gaussian_down(height)[:, None] * _gaussian_across(width)  # [H, 1] · [W]


def tiled(
    function: Callable[[Tensor], Tensor],
    *,
    size: Sides,
    stride: Sides,
    scale: float = 1,
    batch: int = 4,
    progress: Progress | None = None,
) -> Callable[[Tensor], Tensor]:
    """Make a function of small pictures one of large pictures: tile by tile, blended.

    Args:
        function: takes [n, C, h, w], a batch of tiles that it must treat one by one, and returns
            [n, C', scale · h, scale · w].
        size: of a tile, in pixels of the input.
        stride: from one tile to the next.
        scale: how much larger the function makes what it is given: 2, 1, 1/8 …
        batch: how many tiles go through the function at a time, at most.
        progress: called with the number of finished tiles, and of all, after each batch. It may raise to stop the work.

    Returns:
        A function from [B, C, H, W] to [B, C', scale · H, scale · W], in the type that `function` returns. It raises
        InputError where a picture or its tiles do not come to whole pixels at this scale.

    Raises:
        InputError: size, stride, scale or batch is out of range.

    Example:
        >>> import torch
        >>> from omniup.restoration import tiled
        >>> brighten = tiled(lambda tiles: tiles + 0.1, size=16, stride=12)
        >>> brighten(torch.zeros(1, 3, 40, 56))[0, 0, 20:22, 20:22]
        tensor([[0.1000, 0.1000],
                [0.1000, 0.1000]])
    """
    if batch < 1:
        raise InputError("batch", "is {value}", "1 or more", value=batch)
    factor = Fraction(scale).limit_denominator(1024)
    if factor <= 0:
        raise InputError("scale", "is {value}", "numbers above 0", value=scale)
    _check_sides(size, stride)

    def run(image: Tensor) -> Tensor:
        if image.ndim != 4 or image.numel() == 0:
            raise InputError("image", "has the shape {shape}", "[B, C, H, W]", shape=list(image.shape))
        grid = Grid.of(*image.shape[2:], size=size, stride=stride)
        blend = Blend(grid.scaled(factor), image)
        for place, tile in each_tile(function, image, grid, scale=scale, batch=batch, progress=progress):
            blend.add(place, tile)
        return blend.result()

    return run


@dataclass(frozen=True)
class Grid:
    """The tiles of a picture.

    Attributes:
        rows: where the tiles of each row begin and end, down the picture.
        columns: likewise across.
    """

    rows: Sequence[Interval]
    columns: Sequence[Interval]

    @classmethod
    def of(cls, height: int, width: int, *, size: Sides, stride: Sides) -> Grid:
        """Cut a picture as `tile_windows` does."""
        (tile_height, tile_width), (down, across) = _check_sides(size, stride)
        if min(height, width) < 1:
            problem = "has {height} × {width} pixels"
            raise InputError("picture", problem, "1 or more each way", height=height, width=width)
        return cls(_intervals(height, tile_height, down), _intervals(width, tile_width, across))

    @property
    def places(self) -> list[Place]:
        """Rows and columns of the tiles, row by row."""
        return list(itertools.product(range(len(self.rows)), range(len(self.columns))))

    def scaled(self, factor: Fraction) -> Grid:
        """Enlarge the picture with its tiles.

        Raises:
            InputError: the tiles do not come to whole pixels.
        """
        return Grid(_scaled(self.rows, factor), _scaled(self.columns, factor))

    def cut(self, image: Tensor, place: Place) -> Tensor:
        """Return a tile of a picture [B, C, H, W], as a view: [B, C, h, w]."""
        row, column = place
        return image[:, :, slice(*self.rows[row]), slice(*self.columns[column])]


class Blend:
    """The weighted mean of tiles, as far as they have been added.

    Args:
        grid: of the tiles.
        image: a tensor on the device, and of the least precision, to add them up with.
    """

    def __init__(self, grid: Grid, image: Tensor) -> None:
        self.grid = grid
        dtype = torch.promote_types(image.dtype, torch.float32)  # weights are small, and many of them are summed
        self._down = _tile_weights(grid.rows, _gaussian_down).to(dtype).to(image.device)  # [R, h]
        self._across = _tile_weights(grid.columns, _gaussian_across).to(dtype).to(image.device)  # [K, w]
        self._sum: Tensor | None = None
        self._dtype = dtype

    def weight(self, place: Place) -> Tensor:
        """Return the weights of a tile's pixels [h, w], which sum to 1 over the tiles of a pixel."""
        row, column = place
        return self._down[row, :, None] * self._across[column]

    def add(self, place: Place, tile: Tensor) -> None:
        """Add a tile [B, C, h, w]."""
        if self._sum is None:
            sides = self.grid.rows[-1][1], self.grid.columns[-1][1]
            self._sum = tile.new_zeros((*tile.shape[:2], *sides), dtype=self._down.dtype)  # [B, C, H, W]
            self._dtype = tile.dtype
        self.grid.cut(self._sum, place).add_(tile * self.weight(place))

    def result(self) -> Tensor:
        """Return the picture [B, C, H, W], once all tiles have been added, in their type."""
        assert self._sum is not None  # there is at least one tile
        return self._sum.to(self._dtype)


def each_tile(
    function: Callable[[Tensor], Tensor],
    image: Tensor,
    grid: Grid,
    *,
    scale: float,
    batch: int,
    progress: Progress | None,
) -> Iterator[tuple[Place, Tensor]]:
    """Compute the tiles of a picture [B, C, H, W] with a function, as `tiled` has it: places and [B, C', h', w']."""
    places = grid.places
    for first in range(0, len(places), batch):
        some = places[first : first + batch]
        tiles = torch.cat([grid.cut(image, place) for place in some])  # [n·B, C, h, w]
        made = function(tiles)  # [n·B, C', h', w']
        _check_made(made, tiles, scale=scale)
        yield from zip(some, made.unflatten(0, (len(some), len(image))), strict=True)
        if progress is not None:
            progress(first + len(some), len(places))


def offset_progress(progress: Progress | None, done: int, total: int) -> Progress | None:
    """Count on from what is done already, of a larger total."""
    return None if progress is None else lambda now, of: progress(done + now, total + of)


def _intervals(length: int, size: int, stride: int) -> list[Interval]:
    size = min(size, length)
    starts = [*range(0, length - size, stride), length - size]
    return [(start, start + size) for start in starts]


def _scaled(intervals: Sequence[Interval], factor: Fraction) -> list[Interval]:
    ends = [[end * factor for end in interval] for interval in intervals]
    if any(end.denominator != 1 for interval in ends for end in interval):
        raise InputError(
            "scale",
            "is {factor}, at which the tiles {tiles} do not come to whole pixels",
            factor=factor,
            tiles=intervals,
        )
    return [(int(start), int(stop)) for start, stop in ends]


def _tile_weights(intervals: Sequence[Interval], gaussian: Callable[[int], Tensor]) -> Tensor:
    """Normalise the tiles' weights along one axis: [N, size] float64, with sums of 1 at every pixel."""
    weights = gaussian(intervals[0][1] - intervals[0][0])  # [size], the same for all tiles
    total = weights.new_zeros(intervals[-1][1])  # [length]
    for interval in intervals:
        total[slice(*interval)] += weights
    return torch.stack([weights / total[slice(*interval)] for interval in intervals])  # [N, size]


def _gaussian_down(length: int) -> Tensor:
    return _gaussian(length, centre=length / 2)


def _gaussian_across(length: int) -> Tensor:
    return _gaussian(length, centre=(length - 1) / 2)


def _gaussian(length: int, *, centre: float) -> Tensor:
    distance = (torch.arange(length, dtype=torch.float64) - centre) / length  # [length]
    return torch.exp(-(distance**2) / (2 * VARIANCE)) / math.sqrt(2 * math.pi * VARIANCE)


def _check_sides(size: Sides, stride: Sides) -> tuple[tuple[int, int], tuple[int, int]]:
    sizes = size if isinstance(size, tuple) else (size, size)
    strides = stride if isinstance(stride, tuple) else (stride, stride)
    if min(sizes) < 1:
        raise InputError("size", "is {value}", "1 or more", value=size)
    if not all(1 <= step <= side for step, side in zip(strides, sizes, strict=True)):
        raise InputError(
            "stride",
            "is {value}",
            "1 to the size of a tile, {size}, since more would leave gaps",
            value=stride,
            size=size,
        )
    return sizes, strides


def _check_made(made: Tensor, tiles: Tensor, *, scale: float) -> None:
    expected = tuple(round(side * scale) for side in tiles.shape[2:])
    if made.ndim != 4 or made.shape[0] != tiles.shape[0] or made.shape[2:] != expected:
        raise InputError(
            "function",
            "makes {made} of {tiles}",
            "[{count}, C, {height}, {width}], at scale {scale}",
            made=list(made.shape),
            tiles=list(tiles.shape),
            count=tiles.shape[0],
            height=expected[0],
            width=expected[1],
            scale=scale,
        )
