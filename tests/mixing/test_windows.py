import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.mixing import Windows
from omniup.mixing.groups import groups, groups_at
from omniup.mixing.windows import Axis
from oracles.windows import relative_interval
from support.cases import Layout, layouts

LIKE = torch.empty(0, dtype=torch.float64)
cuts = st.fixed_dictionaries({"longest": st.integers(1, 32), "most": st.integers(1, 50), "by_count": st.booleans()})


def occurrences(group, pixels, cells):
    """[N, cells]: how often the pixels of some groups draw from each cell; the others' rows are zeros."""
    table = torch.zeros(pixels, cells, dtype=torch.float64)
    n, p = group.pixels.shape
    rows, columns = (index.expand(n, p, -1) for index in (group.pixels.unsqueeze(2), group.cells.unsqueeze(1)))
    return table.index_put_((rows.expand(columns.shape), columns), multiplicities(group), accumulate=True)


def multiplicities(group):
    """[n, P, K]: how often each candidate occurs in each pixel's window."""
    return torch.einsum("enp,enk->npk", group.window, group.log_occurrences).exp()


@given(layouts(), cuts)
def test_every_pixel_is_in_exactly_one_group(layout, cut):
    found = torch.cat([group.pixels.flatten() for group in groups(layout.windows, like=LIKE, **cut)])
    assert found.sort().values.tolist() == list(range(math.prod(layout.size)))


@given(layouts(), cuts)
def test_lists_hold_the_cells_of_each_window_with_their_multiplicities(layout, cut):
    sides = math.prod(layout.size), math.prod(layout.grid)
    table = sum(occurrences(group, *sides) for group in groups(layout.windows, like=LIKE, **cut))
    torch.testing.assert_close(table, layout.counts(), rtol=1e-12, atol=0)


@given(layouts(), st.data())
def test_lists_of_chosen_pixels_are_theirs(layout, data):
    (H, W), (h, w) = layout.size, layout.grid
    points = data.draw(st.lists(st.tuples(st.integers(0, H - 1), st.integers(0, W - 1)), min_size=1, max_size=20))
    group = groups_at(layout.windows, np.array(points), like=LIKE)
    assert group.pixels.tolist() == [[y * W + x] for y, x in points]
    for n, (y, x) in enumerate(points):
        table = torch.zeros(h, w, dtype=torch.float64)
        for qy, qx in layout.window_of(y, x):
            table[qy, qx] += 1
        mine = torch.zeros(h * w, dtype=torch.float64).index_add(0, group.cells[n], multiplicities(group)[n, 0])
        torch.testing.assert_close(mine.view(h, w), table, rtol=1e-12, atol=0)


@given(layouts(), cuts)
def test_a_list_holds_each_cell_once_and_is_no_longer_than_stated(layout, cut):
    windows = layout.windows
    for group in groups(windows, like=LIKE, **cut):
        assert group.cells.shape[1] <= windows.most_candidates
        for cells, count in zip(group.cells, group.count, strict=True):
            assert len(cells[:count].unique()) == count


@given(layouts(), st.booleans())
def test_a_list_is_the_union_of_the_windows_of_its_pixels(layout, by_count):
    windows, occurs, longest = layout.windows, layout.counts() > 0, 0
    for group in groups(windows, longest=32, most=50, like=LIKE, by_count=by_count):
        for pixels, cells, count in zip(group.pixels, group.cells, group.count, strict=True):
            assert occurs[pixels].any(0).nonzero().flatten().tolist() == sorted(cells[:count].tolist())
            longest = max(longest, count)
    assert windows.most_candidates == longest


@given(layouts(), cuts)
def test_groups_keep_to_the_sizes_asked_for(layout, cut):
    windows = layout.windows
    for group in groups(windows, like=LIKE, **cut):
        assert len(group.pixels) <= cut["most"]
        y, x = group.pixels // layout.size[1], group.pixels % layout.size[1]
        assert max(int((axis.amax(1) - axis.amin(1)).max()) for axis in (y, x)) < cut["longest"]
        assert group.pixels.shape[1] <= windows.most_pixels(cut["longest"])


@given(layouts(), cuts)
def test_offsets_are_measured_between_centres_in_pixels(layout, cut):
    for group in groups(layout.windows, like=LIKE, **cut):
        for axis in (0, 1):
            pixels, cells = layout.size[axis], layout.grid[axis]

            def place(index, width, axis=axis):
                return (index // width if axis == 0 else index % width).double() + 0.5

            middle = place(group.middle, layout.grid[1]).unsqueeze(1) * pixels / cells
            pixel = place(group.pixels, layout.size[1]) - middle
            cell = place(group.cells, layout.grid[1]) * pixels / cells - middle
            torch.testing.assert_close(group.pixel_offset[axis], pixel, rtol=0, atol=1e-12)
            for mine, expected, count in zip(group.cell_offset[axis], cell, group.count, strict=True):
                torch.testing.assert_close(mine[:count], expected[:count], rtol=0, atol=1e-12)


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 8])
def test_a_growing_disc_takes_in_cells_at_its_squared_radii_and_nowhere_else(radius):
    found = {dy**2 + dx**2 for dy in range(radius + 1) for dx in range(radius + 1)}
    windows = Windows.disc((4, 4), (2, 2), radius)
    assert windows.squared_radii.tolist() == sorted(square for square in found if square <= radius**2)


def test_a_disc_of_radius_8_has_197_places():
    assert Windows.disc((1024, 1024), (64, 64), 8).most_candidates == 197


@pytest.mark.parametrize(
    ("stride", "together"), [((4, 4), (2, 2)), ((16, 16), (1, 1)), ((2, 2), (4, 4)), ((16, 2), (2, 2))]
)
def test_cells_of_few_pixels_form_groups_together(stride, together):
    windows = Windows.disc((40 * stride[0], 40 * stride[1]), (40, 40), 8)
    assert (windows.rows.together, windows.columns.together) == together
    extra_rows, extra_columns = together[0] - 1, together[1] - 1
    assert windows.most_candidates == 197 + 17 * (extra_rows + extra_columns) + extra_rows * extra_columns
    assert windows.most_coordinates == together[0] * together[1]


@given(st.integers(1, 700), st.integers(1, 70), st.sampled_from([0.01, 0.05, 0.1, 0.2, 1 / 3, 0.5, 1.0]))
def test_relative_intervals_are_those_of_float32(pixels, cells, ratio):
    axis = Axis.relative(pixels, cells, ratio)
    for pixel in {0, pixels // 3, pixels // 2, pixels - 1}:
        expected = relative_interval(pixel, pixels, cells, ratio)
        assert (axis.low[pixel], axis.high[pixel]) == (expected.start, expected.stop)


@given(layouts(), st.data())
def test_the_windows_of_a_part_are_those_of_its_pixels(layout, data):
    (H, W), (h, w) = layout.size, layout.grid
    (top, left) = (data.draw(st.integers(0, side - 1)) for side in (H, W))
    (bottom, right) = (data.draw(st.integers(start + 1, side)) for start, side in ((top, H), (left, W)))
    inside, width = (slice(top, bottom), slice(left, right)), right - left
    found = list(groups(layout.windows.part(*inside), longest=32, most=9, like=LIKE))
    table = sum(occurrences(group, (bottom - top) * width, h * w) for group in found)
    expected = layout.counts().unflatten(0, (H, W))[inside].flatten(0, 1)
    torch.testing.assert_close(table, expected, rtol=1e-12, atol=0)
    for group in found:
        y, x = (group.pixels // width + top).double(), (group.pixels % width + left).double()
        middle_y, middle_x = ((group.middle // w).double() + 0.5) * H / h, ((group.middle % w).double() + 0.5) * W / w
        expected = torch.stack([y + 0.5 - middle_y.unsqueeze(1), x + 0.5 - middle_x.unsqueeze(1)])
        torch.testing.assert_close(group.pixel_offset, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("radius", [-1, 17])
@pytest.mark.parametrize("make", [Windows.square, Windows.disc])
def test_a_radius_out_of_range_is_refused(make, radius):
    with pytest.raises(ValueError, match=rf"^radius is {radius}; accepted: whole numbers from 0 to 16"):
        make((8, 8), (2, 2), radius)


@pytest.mark.parametrize("ratio", [0, -0.1, 1.01, math.nan])
def test_a_ratio_out_of_range_is_refused(ratio):
    with pytest.raises(ValueError, match=r"^ratio is .*; accepted: numbers above 0 and up to 1$"):
        Windows.relative((8, 8), (2, 2), ratio)


@pytest.mark.parametrize(
    ("size", "grid", "name"), [((0, 8), (2, 2), "size"), ((8, 8), (2, 0), "grid"), ((8, 8, 8), (2, 2), "size")]
)
@pytest.mark.parametrize("make", [Windows.square, Windows.disc, Windows.relative])
def test_sides_that_are_none_are_refused(make, size, grid, name):
    with pytest.raises(ValueError, match=f"^{name} is .*; accepted: two sides"):
        make(size, grid, 1) if make != Windows.relative else make(size, grid)


def test_more_cells_than_pixels_are_fine():
    layout = Layout("square-nearest", (3, 2), (7, 5), (1,))
    table = sum(occurrences(group, 6, 35) for group in groups(layout.windows, longest=32, most=99, like=LIKE))
    torch.testing.assert_close(table, layout.counts())
