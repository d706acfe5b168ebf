"""Cut a picture into blocks whose parts fit the memory, with as little computed twice as that allows.

A block is what is written; its part, with the cells around it that its results reach, is what is read and computed
(`omniup.upsamplers.parts`). Blocks are rectangles of whole chunks of the result's file, so that none is half-written.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from omniup.errors import InputError
from omniup.mixing.windows import Rectangle, within
from omniup.upsamplers.checks import Size
from omniup.upsamplers.parts import Part, part_around

#: Sides of a chunk, in pixels: the first whose numbers take no more than so many bytes.
CHUNK_SIDES, CHUNK_BYTES = (512, 256, 128, 64), 2**22

#: The memory holds a part of so many chunks at least, a pixel of which takes about so many bytes beside its results,
#: which are there about so many times.
PART_CHUNKS, PIXEL_BYTES, RESULTS = 9, 64, 5

#: Narrower parts may take so many times the pixels of the fewest: weights are kept for bands of whole rows of a part,
#: and made twice where those do not fit the memory, which takes a quarter more.
NARROW = 1.02


class Block(NamedTuple):
    """A block of the result, and the part that it is computed from.

    Attributes:
        rows: of pixels.
        columns: likewise.
        part: the pixels and cells around it.
    """

    rows: slice
    columns: slice
    part: Part

    @property
    def pixels(self) -> int:
        """Number of its pixels."""
        return (self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start)

    @property
    def inside(self) -> Rectangle:
        """Rows and columns of the block within its part."""
        return within((self.rows, self.columns), (self.part.rows, self.part.columns))


def chunk_side(bytes_per_pixel: int, memory: int) -> int:
    """Return the side of the result's chunks, in pixels."""
    part = PART_CHUNKS * (PIXEL_BYTES + RESULTS * bytes_per_pixel)  # bytes, times the square of a side
    fitting = (side for side in CHUNK_SIDES if side**2 * bytes_per_pixel <= CHUNK_BYTES and side**2 * part <= memory)
    return next(fitting, CHUNK_SIDES[-1])


def plan_blocks(
    size: Size, grid: Size, reach: int, chunk: int, most_pixels: int, memory_for: Callable[[int], int]
) -> list[Block]:
    """Cut a picture into blocks.

    Args:
        size: (H, W) of the picture.
        grid: (h, w), in cells.
        reach: how many cells around that of a pixel its result depends on.
        chunk: side of the result's chunks, in pixels.
        most_pixels: of a part, as the memory allows.
        memory_for: gives the bytes that a part of so many pixels takes.

    Raises:
        InputError: no part is that small.
    """
    rows, columns = (_cuts(side, cells, reach, chunk) for side, cells in zip(size, grid, strict=True))
    fitting = [
        (down.computed * across.computed, len(down.starts) * len(across.starts), down, across)
        for down, across in itertools.product(rows, columns)
        if down.longest * across.longest <= most_pixels
    ]
    if not fitting:
        height, width = min(down.longest for down in rows), min(across.longest for across in columns)
        raise InputError(
            "memory",
            "is enough for {most} pixels at a time, and the smallest part where pixels and cells begin together, with "
            "what its results reach, has {h} × {w}",
            "{need} bytes or more; where the sides are no whole multiples of those of the signal, a region that is",
            most=max(0, most_pixels),
            h=height,
            w=width,
            need=memory_for(height * width),
        )
    least_computed = min(each[0] for each in fitting)
    good = [each for each in fitting if each[0] <= NARROW * least_computed]
    *_, down, across = min(good, key=lambda each: (each[3].longest, each[0]))
    return [
        Block(top, left, part_around(top, left, size, grid, reach))
        for top, left in itertools.product(down.slices(size[0]), across.slices(size[1]))
    ]


class _Cut(NamedTuple):
    """One way to cut an axis.

    Attributes:
        starts: of the blocks.
        longest: of their parts, in pixels.
        computed: all of their parts together.
    """

    starts: Sequence[int]
    longest: int
    computed: int

    def slices(self, side: int) -> list[slice]:
        """Return the pixels of each block."""
        return (
            [slice(start, min(start + self.starts[1], side)) for start in self.starts]
            if len(self.starts) > 1
            else [slice(0, side)]
        )


def _cuts(side: int, cells: int, reach: int, chunk: int) -> list[_Cut]:
    """List the ways to cut an axis into blocks of equal lengths, but for the last."""
    chunks = -(-side // chunk)
    cuts = []
    for length in sorted({-(-chunks // count) for count in range(1, chunks + 1)}):
        starts = range(0, side, length * chunk)
        blocks = (slice(start, min(start + length * chunk, side)) for start in starts)
        parts = [part_around(each, slice(0, 1), (side, 1), (cells, 1), reach).rows for each in blocks]
        lengths = [part.stop - part.start for part in parts]
        cuts.append(_Cut(starts, max(lengths), sum(lengths)))
    return cuts
