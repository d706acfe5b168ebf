import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniup import InputError
from omniup.restoration import tile_windows
from omniup.restoration.plan import plan_tiles


@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    overlap=st.integers(0, 20),
    beyond=st.integers(1, 40),
    room=st.floats(0, 1),
)
def test_every_plan_keeps_its_limits(height, width, overlap, beyond, room):
    smallest = overlap + beyond
    largest = 2 * smallest
    most = int(smallest**2 + room * (largest**2 - smallest**2))
    plan = plan_tiles(height, width, overlap=overlap, smallest=smallest, largest=largest, most=most)
    assert plan.batch * plan.size[0] * plan.size[1] <= most
    windows = tile_windows(height, width, size=plan.size, stride=plan.stride)
    assert len(windows) == plan.grid[0] * plan.grid[1]
    for axis, length in ((windows[:, :2], height), (windows[:, 2:], width)):
        tiles = axis.unique(dim=0).tolist()
        sizes = {stop - start for start, stop in tiles}
        assert all(min(smallest, length) <= size <= largest for size in sizes)
        assert all(before[1] - after[0] >= overlap for before, after in itertools.pairwise(tiles))


def test_no_more_pixels_than_the_overlap_demands():
    """What the authors' tiles (512, stride 256) compute of 1024 × 1024 pixels is 2.25 times the picture."""
    plan = plan_tiles(128, 128, overlap=16, smallest=32, largest=128, most=72**2)
    assert plan.grid == (2, 2)
    assert plan.cells == (128 + 16) ** 2
    whole = plan_tiles(128, 128, overlap=16, smallest=32, largest=128, most=128**2)
    assert (whole.grid, whole.cells) == ((1, 1), 128**2)


def test_more_memory_never_means_more_work():
    cells = [
        plan_tiles(200, 150, overlap=16, smallest=32, largest=128, most=most).cells
        for most in range(32**2, 128**2, 500)
    ]
    assert cells == sorted(cells, reverse=True)


def test_too_little_memory():
    with pytest.raises(InputError, match="most is 1000 cells, which hold no tile; accepted: 1024 or more"):
        plan_tiles(100, 100, overlap=16, smallest=32, largest=128, most=1000)
