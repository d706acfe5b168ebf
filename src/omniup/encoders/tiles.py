"""Encode an image in overlapping tiles: more cells than the network has at the size of images that it knows.

The tiles overlap by a quarter. Of each overlap the outer third is left out, and the middle third blended: so the joined
grid is that of the whole image wherever a cell depends on no more than a third of the overlap around it. Attention sees
a whole tile, so there cells of two tiles differ, and blending hides the seam.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from omniup.encoders.base import Encoder, Encoding
from omniup.encoders.preparation import check_request, to_grid, to_multiples
from omniup.errors import InputError

OVERLAP = 4
"""Tiles overlap by their side divided by this, rounded up to whole cells."""


class TiledEncoder:
    """An encoder that sees an image tile by tile.

    Args:
        encoder: sees the tiles, all of one size.
        tile: the longest side of a tile, in pixels; rounded down to the encoder's stride.

    Attributes:
        stride: that of the encoder.

    Raises:
        InputError: the tile is smaller than two strides of the encoder.
    """

    def __init__(self, encoder: Encoder, tile: int) -> None:
        self._encoder, self.stride = encoder, encoder.stride
        self._tile = tile // self.stride * self.stride
        if self._tile < 2 * self.stride:
            raise InputError("tile", "is {value}", "{least} or more", value=tile, least=2 * self.stride)

    @torch.no_grad()
    def __call__(self, image: Tensor, grid: tuple[int, int] | None = None) -> Encoding:
        """Compute the features of an image.

        Args:
            image: [B, 3, H, W], floating point in 0..1; resized to the nearest multiples of the stride.
            grid: the wanted (h, w), no larger than the image; None means the encoder's own.

        Returns:
            The encoding, with the joined grid; of an image that fits into a tile, the encoder's.

        Raises:
            InputError: the image or the grid cannot be accepted, or cells are no whole pixels.
        """
        check_request(image, grid)
        whole = to_multiples(image, self.stride)
        height, width = (min(self._tile, side) for side in whole.shape[2:])
        first = self._encoder(whole[:, :, :height, :width])
        if (height, width) == whole.shape[2:]:
            return Encoding(to_grid(first.features, grid), first.encoder, first.weights)
        cell = self._cell((height, width), whole, first.features)
        unit = math.lcm(cell, self.stride)
        rows, columns = (_starts(*sides, unit) for sides in ((whole.shape[2], height), (whole.shape[3], width)))
        down, across = (
            _weights([start // cell for start in starts], side // cell).to(image.device)  # [R, h'], [K, w']
            for starts, side in ((rows, height), (columns, width))
        )
        size = whole.shape[2] // cell, whole.shape[3] // cell
        joined = torch.zeros(*first.features.shape[:2], *size, device=image.device)  # [B, C, h, w]
        total = torch.zeros(size, device=image.device)
        for r, top in enumerate(rows):
            for c, left in enumerate(columns):
                is_first = top == left == 0
                seen = first if is_first else self._encoder(whole[:, :, top : top + height, left : left + width])
                weight = down[r, :, None] * across[c]  # [h', w']
                place = (slice(top // cell, (top + height) // cell), slice(left // cell, (left + width) // cell))
                joined[(..., *place)] += seen.features.float() * weight
                total[place] += weight
        features = (joined / total).to(first.features.dtype)
        return Encoding(to_grid(features, grid), first.encoder, first.weights)

    def _cell(self, tile: tuple[int, int], whole: Tensor, features: Tensor) -> int:
        """Return the side of a cell, in pixels, which must divide tile and image."""
        grid = features.shape[2], features.shape[3]
        cell = tile[0] // grid[0]
        if any(side != cell * count for side, count in zip(tile, grid, strict=True)) or any(
            side % cell for side in whole.shape[2:]
        ):
            raise InputError(
                "tile",
                "of {height} x {width} pixels has {rows} x {columns} cells",
                "a network whose stride is known and divides its tiles into cells; stride=N of a function",
                **dict(zip(("height", "width", "rows", "columns"), (*tile, *grid), strict=True)),
            )
        return cell


def _starts(side: int, tile: int, unit: int) -> list[int]:
    """Return where tiles begin along a side, in pixels: multiples of a unit, the last tile at the end."""
    overlap = -(-tile // OVERLAP // unit) * unit
    step = max(unit, (tile - overlap) // unit * unit)
    return [*range(0, side - tile, step), side - tile]


def _weights(starts: list[int], tile: int) -> Tensor:
    """Compute the weights of the cells of each tile along one axis, before they are divided by their sum.

    Args:
        starts: first cell of each tile.
        tile: cells of a tile.

    Returns:
        [n, tile] in 0..1: 0 in the outer third of an overlap with a neighbour, 1 in the inner third, a ramp between.
    """
    places = torch.arange(tile) + 0.5
    weights = torch.ones(len(starts), tile)
    for number, (before, after) in enumerate(itertools.pairwise(starts)):
        third = (before + tile - after) / 3
        weights[number] *= ((tile - places - third) / third).clamp(0, 1)
        weights[number + 1] *= ((places - third) / third).clamp(0, 1)
    return weights
