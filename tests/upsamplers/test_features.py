"""How the preset `best` brings up features of a network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from omniup import UpsampleAnything
from omniup.upsamplers import features
from omniup.upsamplers.features import calmed, render_features
from oracles import best as oracle
from support.kernels import random_signal, smooth_image

BEST = UpsampleAnything.preset("best")


def close(found, wanted, atol=1e-9):
    torch.testing.assert_close(found, wanted, rtol=0, atol=atol)


@settings(max_examples=10, deadline=None)
@given(grid=st.tuples(st.integers(1, 9), st.integers(1, 9)), channels=st.integers(1, 4), seed=st.integers(0, 99))
def test_calming_agrees_with_the_oracle(grid, channels, seed):
    signal = random_signal(grid, channels=channels, seed=seed) + 5
    close(calmed(signal)[0], oracle.calmed(signal[0]))


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_detail_agrees_with_the_oracle(data):
    size = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    grid = data.draw(st.tuples(*(st.integers(1, side) for side in size)))
    image, signal = smooth_image(size, channels=1), random_signal(grid, channels=2)
    mix = UpsampleAnything.preset("best", kind="values").fit(image, grid).render

    def staged(_, calm):
        return mix(calm[None])[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "staged", staged)
        wanted = oracle.prediction_of_features(image[0], signal[0])
    close(render_features(mix, signal)[0], wanted)


def test_the_unit_the_origin_and_the_axes_of_the_features_do_not_matter_to_calming():
    signal = random_signal((6, 7), channels=5)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).double())[0]
    away = torch.arange(5.0).double().view(1, 5, 1, 1)

    def changed(maps):
        return 1e3 * torch.einsum("ij,bjhw->bihw", turn, maps) + away

    close(calmed(changed(signal)), changed(calmed(signal)), atol=1e-6)


def test_stretched_and_shifted_features_give_stretched_and_shifted_results():
    image, signal = smooth_image((37, 40)), random_signal((5, 6), channels=3)
    close(BEST(image, 50 * signal - 7), 50 * BEST(image, signal) - 7)


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_features_may_be_of_any_magnitude(scale):
    image, signal = smooth_image((37, 40), dtype=torch.float32), random_signal((5, 6), channels=3).float()
    close(BEST(image, scale * signal) / scale, BEST(image, signal), atol=1e-5)


def test_calming_takes_noise_away_and_leaves_steps():
    step = torch.zeros(1, 8, 12, 12).double()
    step[:, :, :, 6:] = 1
    noise = 0.05 * torch.randn(step.shape, generator=torch.Generator().manual_seed(1)).double()
    calm = calmed(step + noise)
    assert (calm - step).square().mean() < 0.4 * noise.square().mean()  # half of it leaves a quarter of its square
    assert abs((calm[..., 6] - calm[..., 5]).mean() - 1) < 0.02


def test_at_the_cells_centres_results_are_nearer_to_the_signal_than_a_mix_is():
    image, signal = smooth_image((96, 128)), random_signal((6, 8), channels=3)
    mix = UpsampleAnything.preset("best", kind="values")(image, signal)
    off, before = (
        float((F.interpolate(out, (6, 8), mode="bilinear") - calmed(signal)).square().mean())
        for out in (BEST(image, signal), mix)
    )
    assert off < 0.1 * before


def test_where_the_image_has_edges_results_have_some():
    image = torch.zeros(1, 3, 64, 64).double()
    image[:, :, :, 28:] = 1  # within a cell
    signal = torch.zeros(1, 4, 4, 4).double()
    signal[:, :, :, 2:] = 1
    blank = torch.zeros_like(image)
    across, smooth = (BEST(each, signal)[0, 0, 32].diff()[27] for each in (image, blank))
    assert across > 3 * smooth


@pytest.mark.parametrize("cached", [1, 20_000])
def test_pieces_make_no_difference(monkeypatch, cached):
    image, signal = smooth_image((32, 48), batch=2), random_signal((4, 6), channels=5, batch=2)
    whole = BEST(image, signal)
    monkeypatch.setattr(features, "CACHED", cached)
    close(BEST(image, signal), whole)


def test_gradients_of_equal_features_are_finite():
    signal = torch.full((1, 2, 3, 4), 0.7, requires_grad=True)
    BEST(smooth_image((12, 16), dtype=torch.float32), signal).sum().backward()
    assert torch.isfinite(signal.grad).all()


def test_autocast_takes_no_digits():
    image, signal = smooth_image((32, 48), channels=1, dtype=torch.float32), random_signal((4, 6), channels=3).float()
    mix = UpsampleAnything.preset("best", kind="values").fit(image, (4, 6)).render
    plain = render_features(mix, signal)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(render_features(mix, signal), plain)
