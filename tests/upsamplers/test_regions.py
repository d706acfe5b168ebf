"""Which cells of a region share pixels with the image."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup import InputError
from omniup.mixing import cell_means
from omniup.upsamplers.regions import check_region, valid_inside
from support.scratch import peak_bytes


@given(
    region=st.tuples(*2 * [st.integers(-12, 12)], *2 * [st.integers(1, 24)]),
    size=st.tuples(*2 * [st.integers(6, 16)]),
    grid=st.tuples(*2 * [st.integers(1, 6)]),
    seed=st.none() | st.integers(0, 9),
)
def test_cells_count_that_have_pixels_in_the_image(region, size, grid, seed):
    grid = tuple(min(pair) for pair in zip(grid, region[2:], strict=True))
    valid = None if seed is None else torch.rand(1, 1, *grid, generator=torch.Generator().manual_seed(seed)) < 0.7
    try:
        check_region(region, size)
    except InputError:
        return
    pixels = torch.zeros(1, 1, *region[2:])
    for row in range(region[2]):
        for column in range(region[3]):
            pixels[0, 0, row, column] = 0 <= region[0] + row < size[0] and 0 <= region[1] + column < size[1]
    expected = (cell_means(pixels, grid) > 1e-6) & (True if valid is None else valid)
    try:
        found = valid_inside(valid, region, size, torch.zeros(1, 1, *grid))
    except InputError:
        assert not expected.any()
        return
    assert torch.equal(torch.ones(1, 1, *grid, dtype=torch.bool) if found is None else found, expected)


def test_it_takes_no_memory_for_the_picture():
    signal = torch.zeros(1, 1, 50, 50)
    for top in (0, -30_000):
        region, size = (top, 0, 40_000, 40_000), (40_000, 40_000)
        assert peak_bytes(lambda region=region, size=size: valid_inside(None, region, size, signal)) < 2**24
