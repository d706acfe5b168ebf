"""How much of the guidance's detail a measurement is given."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import omniup
from omniup.mixing import cell_means, interpolate
from omniup.upsamplers import PyramidBilateral
from omniup.upsamplers.pyramid_bilateral import measurements
from omniup.upsamplers.pyramid_bilateral.detail import (
    LEAST_TREND,
    PRIOR_CELLS,
    PRIOR_WEIGHT,
    RIDGE,
    detail_weights,
    fade,
    trend,
)
from omniup.upsamplers.pyramid_bilateral.measurements import _Scale, spline
from omniup.upsamplers.pyramid_bilateral.pyramid import Pyramid
from oracles import pyramid_bilateral as oracle
from support.kernels import random_signal, smooth_image


def rmse(found, wanted):
    return float((found - wanted).square().mean().sqrt())


def noise(size, *, channels=3, seed=0):
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(
    seed=st.integers(0, 1000),
    mixing=st.lists(st.floats(-2, 2), min_size=2, max_size=2),
    alike=st.floats(-1, 1),
    holes=st.booleans(),
)
def test_weights_agree_with_the_oracle(seed, mixing, alike, holes):
    first, second, other = random_signal((4, 6), channels=3, seed=seed)[0]
    second = alike * first + second  # which may be much the same, or the opposite
    residual = mixing[0] * first + mixing[1] * second + other
    counts = torch.ones(4, 6).double()
    if holes:
        counts[1:3, 2:5] = 0
    found = detail_weights(*(each[None, None] for each in (first, second, residual, counts)))
    wanted = oracle.detail_weights((first, second), residual, counts, RIDGE, PRIOR_WEIGHT, PRIOR_CELLS)
    torch.testing.assert_close(torch.stack(found).flatten(), torch.tensor(wanted), rtol=0, atol=1e-9)


def test_without_any_detail_weights_are_those_of_the_prior():
    nothing, counts = torch.zeros(1, 2, 4, 6), torch.ones(1, 1, 4, 6)
    for weight in detail_weights(nothing, nothing, nothing, counts):
        assert weight.isfinite().all()
    constant = torch.full((1, 1, 8, 8), 1000.0)
    for dtype in (torch.float32, torch.float64):
        flat = torch.full((1, 3, 32, 32), 0.5, dtype=dtype)
        found = omniup.upsample(flat, constant.to(dtype), signal_type="measurement")
        torch.testing.assert_close(found, torch.full_like(found, 1000))


@pytest.mark.parametrize(("needed", "kept"), [(0.5, 1.0), (1.0, 1.0), (2.0, 0.25), (100.0, LEAST_TREND**2)])
def test_detail_that_mattered_more_at_coarser_scales_fades(needed, kept):
    """Where residuals are spread: half as much of it from scale to scale, squared."""
    detail = random_signal((16, 16), channels=1)
    ones = torch.ones(1, 1, 16, 16).double()
    assert float(trend(detail, needed * detail, detail, detail, ones, ones)) == pytest.approx(kept)


def test_detail_at_edges_does_not_fade():
    edges = torch.zeros(1, 1, 16, 16).double()
    edges[..., 8] = 1
    ones = torch.ones(1, 1, 16, 16).double()
    assert float(trend(edges, 3 * edges, edges, edges, ones, ones)) == 1


@pytest.mark.parametrize(("left", "kept"), [(0.5, 0.25), (0.1, 0.25**0.05), (0.0, 1.0)])
def test_detail_that_explains_all_does_not_fade(left, kept):
    """In a part of the residual's amplitude, whose square is its energy."""
    detail, ones = random_signal((16, 16), channels=1), torch.ones(1, 1, 16, 16).double()
    assert float(trend(detail, 2 * detail, detail, left * detail, ones, ones)) == pytest.approx(kept)


def test_octaves_fade_one_after_the_other():
    rows = torch.arange(64).double()
    coarse = (2 * torch.pi * rows / 32).cos().expand(1, 1, 64, 64)  # resolved by 16 cells of 4 pixels
    fine = (torch.pi * rows).cos().expand(1, 1, 64, 64)  # from pixel to pixel: by no cells
    half = torch.full((1, 1, 1, 1), 0.5).double()
    assert rmse(fade(coarse, half, (16, 16)), 0 * coarse) < 0.05
    torch.testing.assert_close(fade(fine, half, (16, 16)), 0.25 * fine)
    torch.testing.assert_close(fade(fine, half, (4, 4)), 0.5**4 * fine)
    torch.testing.assert_close(fade(fine, torch.ones_like(half), (4, 4)), fine)


@pytest.mark.parametrize("grid", [(16, 16), (8, 12), (32, 32)])
def test_guidance_that_says_nothing_does_no_harm(grid):
    """Noise for an image, and something smooth for a signal: what is added to interpolation is next to nothing."""
    size = 4 * grid[0], 4 * grid[1]
    truth = smooth_image(size, channels=1, seed=1)
    signal = cell_means(truth, grid)
    plain = rmse(spline(signal, size, 5), truth)
    assert rmse(omniup.upsample(noise(size), signal), truth) < 1.02 * plain


@pytest.mark.parametrize("useless", [0, 1, 3])
def test_of_several_bands_those_that_say_something_are_used(useless):
    size, grid = (96, 96), (24, 24)
    truth = (smooth_image(size, channels=1, seed=2) > 0.5).double()
    bands = torch.cat([0.2 + 0.6 * truth, noise(size, channels=useless)], dim=1) if useless else 0.2 + 0.6 * truth
    signal = cell_means(truth, grid)
    assert rmse(omniup.upsample(bands, signal), truth) < 0.6 * rmse(spline(signal, size, 5), truth)


@pytest.mark.parametrize("grid", [(3, 9), (2, 2), (1, 1)])
def test_of_few_cells_measurements_are_interpolated(grid):
    signal = random_signal(grid)
    found = omniup.upsample(noise((27, 36)), signal, signal_type="measurement")
    torch.testing.assert_close(found, spline(signal, (27, 36), 5))


def test_channels_do_not_influence_each_other_s_weights():
    image, signal = smooth_image((48, 48)), random_signal((12, 12), channels=3)
    signal[:, 1] = cell_means(image, (12, 12))[:, 1]
    together = omniup.upsample(image, signal, signal_type="measurement", sigma_r_candidates=1)
    for n in range(3):
        alone = omniup.upsample(image, signal[:, n : n + 1], signal_type="measurement", sigma_r_candidates=1)
        torch.testing.assert_close(together[:, n : n + 1], alone)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_is_added_up_on_the_grid_is_what_whole_maps_give(data):
    """Of few channels and of many; whether octaves fade, all of the detail does, or nothing."""
    grid = data.draw(st.tuples(st.integers(4, 9), st.integers(4, 9)))
    size = tuple(data.draw(st.integers(cells, 9 * cells)) for cells in grid)
    seed, bands = data.draw(st.integers(0, 99)), data.draw(st.sampled_from([1, 3, 4]))
    signal, ratio = random_signal(grid, channels=3, seed=seed), torch.tensor([1.0, 0.5, 1.0]).double().view(1, 3, 1, 1)
    first, second = torch.tensor([[0.3, 0.7, 0.0], [0.5, 0.0, 1.0]]).double().view(2, 1, 3, 1, 1)
    second = second * data.draw(st.sampled_from([0, 1]))
    valid = None if data.draw(st.booleans()) else random_signal(grid, channels=1, seed=seed + 1) > 0
    memory = data.draw(st.sampled_from([2**17, 2**26]))  # of which the first is too little to keep weights
    method = PyramidBilateral()
    pyramid = Pyramid(smooth_image(size, channels=bands), method.radius, method.variance_weight, method.chroma, 0)
    scale = _Scale.of(pyramid, size, signal, valid, method, method.sigma_r, memory)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "FEW", data.draw(st.sampled_from([0, 24])))
        found = scale.render(signal, first, second, ratio)

    filled = signal if valid is None else torch.where(valid, signal, scale.mix.means(signal))
    cubic, (cells, *model) = scale.spline(filled), scale.blend(filled, first, second)
    detail = scale.mix(cells) - interpolate((first + second) * cubic, size, "bicubic")
    detail = sum((scale._model.apply(each) for each in model), detail)
    for n in range(3):
        one = slice(n, n + 1)
        wanted = fade(detail[:, one], ratio[:, one], grid, cubic[:, one])
        torch.testing.assert_close(found[:, one], wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [(64, 96), (61, 83)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_many_channels_are_rounded_once(size, dtype):
    image, signal = smooth_image(size), random_signal((8, 12), channels=30).to(dtype)
    exact = omniup.upsample(image, signal.double(), signal_type="measurement")
    for memory in ("64MB", "2MB"):
        found = omniup.upsample(image.float(), signal, signal_type="measurement", memory=memory)
        assert found.dtype == dtype
        atol = float(exact.abs().max()) * max(torch.finfo(dtype).eps, 1e-5)
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=atol)
