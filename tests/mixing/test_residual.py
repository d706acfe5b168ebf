"""A mix added to a spline through what its means lack, in one product, is what whole maps give."""

import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniup.mixing import Attention, Windows, cell_means, interpolate, residual, sums
from omniup.mixing.residual import drawn_from, write_residual_mix
from omniup.mixing.windows import within


def case(size, grid, finer, channels=3, memory=2**26):
    """An attention from a grid that is `finer` times as fine, its query, values and what is interpolated."""
    generator = torch.Generator().manual_seed(sum(size) + sum(grid))

    def random(*shape):
        return torch.randn(1, *shape, generator=generator, dtype=torch.float64)

    fine = grid[0] * finer, grid[1] * finer
    attention = Attention(random(4, *fine), Windows.disc(size, fine, 2), memory=memory)
    return attention, random(4, *size), random(channels, *fine), random(channels, *grid)


def whole(attention, query, value, base, amount, bounds):
    mixed = attention.mix(query, value)
    rest = base - amount * cell_means(mixed, base.shape[2:])
    return (interpolate(rest, mixed.shape[2:], "bicubic") + amount * mixed).clamp(*bounds)


def check(attention, query, value, base, amount=0.8, dtype=torch.float64, atol=1e-12):
    bounds = value.amin((2, 3), keepdim=True) / 2, value.amax((2, 3), keepdim=True) / 2
    out = query.new_empty(1, value.shape[1], *attention.windows.size, dtype=dtype)
    write_residual_mix(attention, query, value, base, amount, bounds, out)
    wanted = whole(attention, query, value, base, amount, bounds)
    torch.testing.assert_close(out.double(), wanted, rtol=0, atol=atol)


def draw_sizes(data, most_cells, most_pixels):
    """Draw (H, W), (h, w) and how many times as fine the mixed grid is; a cell of that has up to `most_pixels`."""
    finer = data.draw(st.sampled_from([1, 2, 4]))
    grid = data.draw(st.tuples(st.integers(1, most_cells), st.integers(1, most_cells)))
    size = tuple(data.draw(st.integers(finer * cells, most_pixels * finer * cells)) for cells in grid)
    return size, grid, finer


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_it_is_the_sum_of_the_two_maps(data):
    check(*case(*draw_sizes(data, 6, 10)))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_rectangle_is_that_of_the_whole(data):
    size, grid, finer = draw_sizes(data, 12, 6)
    attention, query, value, base = case(size, grid, finer)
    inside = []
    for side in size:
        start = data.draw(st.integers(0, side - 1))
        inside.append(slice(start, data.draw(st.integers(start + 1, side))))
    near = drawn_from(tuple(inside), attention.windows, grid)
    out = query.new_empty(1, value.shape[1], *(each.stop - each.start for each in near))
    bounds = value.amin((2, 3), keepdim=True) / 2, value.amax((2, 3), keepdim=True) / 2
    write_residual_mix(attention, query, value, base, 0.8, bounds, out, near)
    wanted = whole(attention, query, value, base, 0.8, bounds)[:, :, near[0], near[1]]
    rows, columns = within(inside, near)
    torch.testing.assert_close(out[:, :, rows, columns], wanted[:, :, rows, columns], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("memory", "several", "keeps"), [(2**17, False, False), (2**20, True, True), (2**24, False, True)]
)
@pytest.mark.parametrize("grid", [(40, 2), (37, 3)])
def test_bands_and_weights_that_are_not_kept_make_no_difference(monkeypatch, grid, memory, several, keeps):
    bands, found = residual._bands, []

    def recorded(*arguments):
        found.extend(bands(*arguments))
        return found

    monkeypatch.setattr(residual, "_bands", recorded)
    check(*case((320, 17), grid, 2, memory=memory))
    assert (len(found) > 1) == several
    assert [band.kept is not None for band in found] == [keeps] * len(found)


@pytest.mark.parametrize("cached", [1, 3000])
def test_parts_of_a_tile_make_no_difference(monkeypatch, cached):
    monkeypatch.setattr(sums, "CACHED", cached)
    check(*case((64, 96), (4, 6), 4))
    check(*case((61, 83), (4, 6), 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_results_are_rounded_once(dtype):
    check(*case((64, 96), (4, 6), 4), dtype=dtype, atol=4 * torch.finfo(dtype).eps)


def test_two_bands_are_held_at_a_time(monkeypatch):
    """Since each holds its weights."""
    bands, held, most = residual._bands, weakref.WeakSet(), []

    def counted(*arguments):
        for band in bands(*arguments):
            held.add(band)
            most.append(len(held))
            yield band

    monkeypatch.setattr(residual, "_bands", counted)
    check(*case((640, 17), (80, 2), 2, memory=2**20))
    assert len(most) > 4 and max(most) == 2
