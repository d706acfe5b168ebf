"""Blocks cover a picture once, are whole chunks, and their parts fit the memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniup import InputError
from omniup.jobs.blocks import chunk_side, plan_blocks


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([4, 6.5, 16]), st.integers(0, 9), st.integers(1, 40))
def test_blocks_cover_a_picture_once(rows, columns, width, reach, most):
    size, grid = (int(2 * rows * width), int(2 * columns * width)), (2 * rows, 2 * columns)
    try:
        blocks = plan_blocks(size, grid, reach, 64, most * 10_000, int)
    except InputError:
        least = plan_blocks(size, grid, reach, 64, 10**9, int)
        assert max(map(pixels_of, least)) > most * 10_000
        return
    written = np.zeros(size, int)
    for block in blocks:
        written[block.rows, block.columns] += 1
        assert block.rows.start % 64 == block.columns.start % 64 == 0
        assert block.rows.stop % 64 == 0 or block.rows.stop == size[0]
        assert pixels_of(block) <= most * 10_000
        for pixels, part, cells, side, count in zip(
            (block.rows, block.columns), block.part[:2], block.part[2:], size, grid, strict=True
        ):
            assert part.start <= pixels.start and pixels.stop <= part.stop <= side
            assert part.start * count == cells.start * side and part.stop * count == cells.stop * side
            assert cells.start <= max(0, pixels.start * count // side - reach)
            assert cells.stop >= min(count, -(-pixels.stop * count // side) + reach)
        inside = block.inside
        assert inside[0].start + block.part.rows.start == block.rows.start
    assert (written == 1).all()


def pixels_of(block):
    rows, columns = block.part.rows, block.part.columns
    return (rows.stop - rows.start) * (columns.stop - columns.start)


def test_little_is_computed_twice():
    """With a gigabyte, less than a fifth of the satellite scene of docs/large_pictures.md."""
    blocks = plan_blocks((20_000, 20_000), (1250, 1250), 6, 256, 9_600_000, int)
    assert sum(map(pixels_of, blocks)) < 1.2 * 20_000**2


def test_parts_are_narrow_where_that_costs_little():
    """So that the weights of some whole rows fit the memory, and need not be made twice."""
    blocks = plan_blocks((20_000, 20_000), (1250, 1250), 7, 256, 11_000_000, int)
    heights, widths = ([each.part[axis].stop - each.part[axis].start for each in blocks] for axis in (0, 1))
    assert max(widths) < 0.7 * max(heights)


def test_too_little_memory_is_refused():
    with pytest.raises(
        InputError, match=r"memory is enough for 100 pixels at a time.*has 140 × 140.*196000 bytes or more"
    ):
        plan_blocks((640, 640), (64, 64), 2, 64, 100, lambda pixels: 10 * pixels)


def test_chunks_of_many_channels_are_small():
    sides = [chunk_side(bytes_per_pixel, 2**30) for bytes_per_pixel in (1, 16, 32, 256, 4096)]
    assert sides == [512, 512, 256, 128, 64]


def test_chunks_are_small_where_the_memory_is():
    assert [chunk_side(4, megabytes << 20) for megabytes in (512, 200, 60, 20, 1)] == [512, 512, 256, 128, 64]
