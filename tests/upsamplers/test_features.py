"""How `pyramid_bilateral` upsamples features of a network."""

import dataclasses
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from omniup import PyramidBilateral
from omniup.upsamplers.consistency import add_lacking
from omniup.upsamplers.pyramid_bilateral import features
from omniup.upsamplers.pyramid_bilateral.pyramid import Pixels
from oracles import pyramid_bilateral as oracle
from support.kernels import random_signal, smooth_image
from support.methods import upsample

METHOD = PyramidBilateral()
MEMORY = 2**29

run = partial(upsample, METHOD, signal_type="features")

#: Few channels are mixed first and added to the spline, more in one product.
few_and_many = pytest.mark.parametrize("channels", [5, features.FEW + 4])


def denoise(signal):
    return features.denoise(signal, METHOD, MEMORY)


def stages_of(image, grid):
    """The kernels to the pixels of one image."""
    return METHOD.prepare(image, grid).pyramids[0].coarse_to_fine(grid, METHOD.sigma, METHOD.sigma_r)


def close(found, wanted, atol=1e-9):
    torch.testing.assert_close(found, wanted, rtol=0, atol=atol)


@settings(max_examples=10, deadline=None)
@given(grid=st.tuples(st.integers(1, 9), st.integers(1, 9)), channels=st.integers(1, 4), seed=st.integers(0, 99))
def test_denoising_agrees_with_the_oracle(grid, channels, seed):
    signal = random_signal(grid, channels=channels, seed=seed) + 5
    wanted = oracle.denoise(signal[0], METHOD.denoise_radius, METHOD.denoise_sigma, METHOD.denoise)
    close(denoise(signal)[0], wanted)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_detail_agrees_with_the_oracle(data):
    size = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    grid = data.draw(st.tuples(*(st.integers(1, side) for side in size)))
    channels = data.draw(st.sampled_from([2, features.FEW + 1]))
    image, signal = smooth_image(size, channels=1), random_signal(grid, channels=channels)
    stages, calm = stages_of(image, grid), denoise(signal)
    wanted = oracle.features(Pixels(MEMORY).mix_through(stages, calm)[0], signal[0], calm[0], METHOD.detail)
    close(features.render_features(stages, signal, METHOD, Pixels(MEMORY))[0], wanted)
    points = data.draw(st.lists(st.tuples(*(st.integers(0, side - 1) for side in size)), min_size=1, max_size=5))
    there = features.render_features(stages, signal, METHOD, Pixels(MEMORY, torch.tensor([points])))
    close(there[0], torch.stack([wanted[:, y, x] for y, x in points], dim=1))


def test_the_unit_the_origin_and_the_axes_of_the_features_do_not_matter_to_denoising():
    signal = random_signal((6, 7), channels=5)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).double())[0]
    away = torch.arange(5.0).double().view(1, 5, 1, 1)

    def changed(maps):
        return 1e3 * torch.einsum("ij,bjhw->bihw", turn, maps) + away

    close(denoise(changed(signal)), changed(denoise(signal)), atol=1e-6)


def test_stretched_and_shifted_features_give_stretched_and_shifted_results():
    image, signal = smooth_image((37, 40)), random_signal((5, 6), channels=3)
    close(run(image, 50 * signal - 7), 50 * run(image, signal) - 7)


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_features_may_be_of_any_magnitude(scale):
    image, signal = smooth_image((37, 40), dtype=torch.float32), random_signal((5, 6), channels=3).float()
    close(run(image, scale * signal) / scale, run(image, signal), atol=1e-5)


def test_denoising_takes_noise_away_and_leaves_steps():
    step = torch.zeros(1, 8, 12, 12).double()
    step[:, :, :, 6:] = 1
    noise = 0.05 * torch.randn(step.shape, generator=torch.Generator().manual_seed(1)).double()
    calm = features.denoise(step + noise, dataclasses.replace(METHOD, denoise=0.5), MEMORY)
    assert (calm - step).square().mean() < 0.4 * noise.square().mean()  # half of it leaves a quarter of its square
    assert abs((calm[..., 6] - calm[..., 5]).mean() - 1) < 0.02


def test_it_is_a_mix_with_one_step_of_consistency():
    image, signal = smooth_image((96, 128)), random_signal((6, 8), channels=3)
    calm = denoise(signal)
    mix = upsample(METHOD, image, calm, signal_type="values")
    wanted = add_lacking(mix, calm, 1, MEMORY)
    close(run(image, signal), wanted.clamp(signal.amin((2, 3), keepdim=True), signal.amax((2, 3), keepdim=True)))


def test_a_few_points_are_those_of_the_whole_map():
    image, signal = smooth_image((96, 131)), random_signal((9, 12), channels=5)
    prepared, points = METHOD.prepare(image, (9, 12)), torch.tensor([[0, 0], [50, 60], [51, 61], [95, 130]])
    there = prepared.render_at(signal, points, "features")[0]
    close(there, prepared.render(signal, "features")[0, :, points[:, 0], points[:, 1]].T)


def test_where_the_image_has_edges_results_have_some():
    image = torch.zeros(1, 3, 64, 64).double()
    image[:, :, :, 28:] = 1  # within a cell
    signal = torch.zeros(1, 4, 4, 4).double()
    signal[:, :, :, 2:] = 1
    blank = torch.zeros_like(image)
    across, smooth = (run(each, signal)[0, 0, 32].diff()[27] for each in (image, blank))
    assert across > 3 * smooth


@few_and_many
@pytest.mark.parametrize("cached", [1, 20_000])
def test_pieces_make_no_difference(monkeypatch, cached, channels):
    image, signal = smooth_image((32, 48), batch=2), random_signal((4, 6), channels=channels, batch=2)
    whole = run(image, signal)
    monkeypatch.setattr(features, "CACHED", cached)
    close(run(image, signal), whole)


@few_and_many
@pytest.mark.parametrize("size", [(64, 96), (61, 90)])
def test_results_that_want_gradients_are_the_same(size, channels):
    image, signal = smooth_image(size), random_signal((4, 6), channels=channels)
    plain = run(image, signal)
    signal.requires_grad_()
    wanted = run(image, signal)
    assert wanted.requires_grad
    close(wanted.detach(), plain, atol=1e-12)


@few_and_many
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_computed_in_float32_and_rounded_once(dtype, channels):
    image, signal = smooth_image((61, 90), dtype=torch.float32), random_signal((4, 6), channels=channels).to(dtype)
    assert torch.equal(run(image, signal), run(image, signal.float()).to(dtype))


@few_and_many
def test_results_go_where_they_are_wanted(channels):
    image, signal = smooth_image((61, 90), batch=2), random_signal((4, 6), channels=channels, batch=2)
    prepared, out = METHOD.prepare(image, (4, 6)), torch.empty(2, channels, 61, 90, dtype=torch.float32)
    assert prepared.render(signal, "features", out=out) is out
    close(out.double(), prepared.render(signal, "features"), atol=1e-6)


def test_gradients_of_equal_features_are_finite():
    signal = torch.full((1, 2, 3, 4), 0.7, requires_grad=True)
    run(smooth_image((12, 16), dtype=torch.float32), signal).sum().backward()
    assert torch.isfinite(signal.grad).all()


def test_autocast_takes_no_digits():
    image, signal = smooth_image((32, 48), channels=1, dtype=torch.float32), random_signal((4, 6), channels=3).float()
    prepared = METHOD.prepare(image, (4, 6))
    plain = prepared.render(signal)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(prepared.render(signal), plain)


def test_without_detail_and_denoising_it_is_a_clamped_cubic_spline():
    image, signal = smooth_image((23, 31)), random_signal((5, 4), channels=3)
    out = upsample(dataclasses.replace(METHOD, detail=0.0, denoise=0.0), image, signal)
    spline = F.interpolate(signal, (23, 31), mode="bicubic")
    close(out, spline.clamp(signal.amin((2, 3), keepdim=True), signal.amax((2, 3), keepdim=True)))
