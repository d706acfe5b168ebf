"""A mix and what is interpolated, added up in one product, is what whole maps give."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniup.mixing import Attention, Windows, interpolate, sums
from omniup.mixing.sums import Interpolation, Sum, table_of
from omniup.mixing.taps import Taps
from omniup.upsamplers.holes import mix_valid


def random(*shape, seed=0):
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def check(size, grid, coarse, variables=3, channels=4, valid=None, bounds=None, dtype=torch.float64, atol=1e-12):
    """Compare a mix, a spline of a coarser grid and a function that is linear in what pixels have with whole maps."""
    attention = Attention(random(4, *grid), Windows.disc(size, grid, 2))
    query, value, base = random(4, *size, seed=1), random(channels, *grid, seed=2), random(channels, *coarse, seed=3)
    pixels, coefficients = random(variables, *size, seed=4), random(channels, variables + 1, *coarse, seed=5)
    terms = [
        Interpolation(Taps.interpolation(size, coarse, "bicubic")),
        Interpolation(Taps.interpolation(size, coarse, "bilinear"), pixels),
    ]
    table = table_of([value[0], base[0], coefficients[0]], torch.float64)
    limits = None if bounds is None else tuple(torch.full((channels, 1), bound).double() for bound in bounds)
    total, out = Sum(table, terms, limits), query.new_empty(1, channels, *size, dtype=dtype)
    for tile in attention.tiles(query, value):
        total.write(tile.masked(valid, attention.windows), attention.windows, out)

    wanted = mix_valid(lambda maps: attention.mix(query, maps), value, valid) + interpolate(base, size, "bicubic")
    *slopes, offset = (interpolate(each, size, "bilinear") for each in coefficients.unbind(2))
    wanted = sum((slope * pixel for slope, pixel in zip(slopes, pixels.split(1, dim=1), strict=True)), wanted + offset)
    torch.testing.assert_close(out.double(), wanted.clamp(*(bounds or (-math.inf, math.inf))), rtol=0, atol=atol)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_it_is_the_sum_of_whole_maps(data):
    coarse = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    finer = data.draw(st.sampled_from([1, 2]))
    grid = coarse[0] * finer, coarse[1] * finer
    size = tuple(data.draw(st.integers(cells, 9 * cells)) for cells in grid)
    valid = random(*grid, seed=6).unsqueeze(0) > data.draw(st.sampled_from([-0.5, 1.0, 9.0]))
    check(size, grid, coarse, data.draw(st.sampled_from([1, 4])), valid=data.draw(st.sampled_from([None, valid])))


@pytest.mark.parametrize("cached", [1, 3000])
@pytest.mark.parametrize("size", [(64, 96), (61, 83)])
def test_parts_of_a_tile_make_no_difference(monkeypatch, cached, size):
    monkeypatch.setattr(sums, "CACHED", cached)
    check(size, (8, 12), (8, 12))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_results_are_kept_within_bounds_and_rounded_once(dtype):
    check((64, 96), (8, 12), (4, 6), bounds=(-1.0, 1.5), dtype=dtype, atol=torch.finfo(dtype).eps)
