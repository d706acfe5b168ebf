"""Process large pictures in overlapping tiles, blended so that no seam is seen.

Every tile is weighted with a Gaussian of its own width, highest in the middle of the tile and next to nothing at its
border, where a network knows least of what surrounds a pixel; a pixel is the weighted mean of the tiles over it. Tiles
lie on a grid and a Gaussian is a product of one along the rows and one along the columns, so the weights of the tiles
are such products too: they are worked out along each axis, sum to 1 there, and nothing has to be divided in the end.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeAlias

import torch
from torch import Tensor

from omniup.errors import InputError

Sides: TypeAlias = int | tuple[int, int]
"""Height and width in pixels, or one number for both."""

Interval: TypeAlias = tuple[int, int]
"""Start of a tile along one axis, and its end, exclusive."""

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
    rows, columns = _grid(height, width, size=size, stride=stride)
    return torch.tensor([(*row, *column) for row in rows for column in columns])  # [N, 4]


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
    progress: Callable[[int, int], None] | None = None,
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
        count, _, height, width = image.shape
        rows, columns = _grid(height, width, size=size, stride=stride)
        made_rows, made_columns = _scaled(rows, factor), _scaled(columns, factor)
        dtype = torch.promote_types(image.dtype, torch.float32)  # weights are small, and many of them are summed
        down = _tile_weights(made_rows, _gaussian_down).to(dtype).to(image.device)  # [R, h']
        across = _tile_weights(made_columns, _gaussian_across).to(dtype).to(image.device)  # [K, w']
        places = list(itertools.product(range(len(rows)), range(len(columns))))
        result: Tensor | None = None
        for first in range(0, len(places), batch):
            some = places[first : first + batch]
            tiles = torch.cat([image[:, :, slice(*rows[r]), slice(*columns[c])] for r, c in some])  # [n·B, C, h, w]
            made = function(tiles)  # [n·B, C', h', w']
            _check_made(made, tiles, expected=(down.shape[1], across.shape[1]), scale=scale)
            if result is None:
                sides = made_rows[-1][1], made_columns[-1][1]
                result = made.new_zeros((count, made.shape[1], *sides), dtype=dtype)
            for (r, c), tile in zip(some, made.unflatten(0, (len(some), count)), strict=True):  # [B, C', h', w']
                weight = down[r, :, None] * across[c]  # [h', w']
                result[:, :, slice(*made_rows[r]), slice(*made_columns[c])] += tile * weight
            if progress is not None:
                progress(first + len(some), len(places))
        assert result is not None  # there is at least one tile
        return result.to(made.dtype)

    return run


def _grid(height: int, width: int, *, size: Sides, stride: Sides) -> tuple[list[Interval], list[Interval]]:
    (tile_height, tile_width), (down, across) = _check_sides(size, stride)
    if min(height, width) < 1:
        raise InputError("picture", "has {height} × {width} pixels", "1 or more each way", height=height, width=width)
    return _intervals(height, tile_height, down), _intervals(width, tile_width, across)


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


def _check_made(made: Tensor, tiles: Tensor, *, expected: tuple[int, int], scale: float) -> None:
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
