"""The preset `best`: predictions and measurements."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import omniup
from omniup import InputError, UpsampleAnything
from omniup.mixing import cell_means
from omniup.upsamplers import Bilinear, back_project
from omniup.upsamplers.base import resize
from omniup.upsamplers.colour_spaces import oklab
from omniup.upsamplers.shares import are_shares, sharpness
from omniup.upsamplers.voting import for_labels, likeliest, votes
from oracles import best as oracle
from support.kernels import random_signal, smooth_image

PREDICTION = UpsampleAnything.preset("best")
MEASUREMENT = UpsampleAnything.preset("best", kind="measurement")
VALUES = UpsampleAnything.preset("best", kind="values")


def random_shares(grid, *, classes=3, batch=1, seed=0):
    return (3 * random_signal(grid, channels=classes, batch=batch, seed=seed)).softmax(1)


def close(found, wanted, atol=1e-9):
    torch.testing.assert_close(found, wanted, rtol=0, atol=atol)


sides = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=6, deadline=None)
@given(size=sides, channels=st.sampled_from([1, 3, 4]), data=st.data())
def test_mixes_agree_with_the_oracle(size, channels, data):
    grid = data.draw(st.tuples(*(st.integers(1, min(side, 3)) for side in size)))
    image, signal = smooth_image(size, channels=channels), random_signal(grid, channels=2)
    shares = random_shares(grid)
    close(VALUES(image, signal)[0], oracle.mix(image[0], signal[0]))
    close(PREDICTION(image, signal)[0], oracle.prediction_of_features(image[0], signal[0]))
    close(PREDICTION(image, shares)[0], oracle.prediction_of_shares(image[0], shares[0]))


@settings(max_examples=6, deadline=None)
@given(contrast=st.sampled_from([0.3, 1.0, 3.0, 30.0]), grid=st.sampled_from([(3, 4), (4, 3), (1, 6)]))
def test_smooth_and_sharp_shares_agree_with_the_oracle(contrast, grid):
    image, shares = smooth_image((12, 13)), (contrast * random_signal(grid, channels=3)).softmax(1)
    close(PREDICTION(image, shares)[0], oracle.prediction_of_shares(image[0], shares[0]))


def test_cells_are_counted_in_pixels_of_the_image_that_the_network_saw():
    image, shares = smooth_image((32, 48)), (0.3 * random_signal((2, 3), channels=3)).softmax(1)
    out = PREDICTION(image, shares, (8, 12))
    close(out[0], oracle.prediction_of_shares(resize(image, (8, 12))[0], shares[0], side=16))


@given(cells=st.integers(1, 8), unsure=st.integers(1, 4))
def test_sharpness_tells_how_many_cells_a_border_takes_however_sure_the_network_is(cells, unsure):
    ramp = ((torch.arange(1000).double() - 500) / cells).clamp(0, 1)  # from 0 to 1 in so many of many cells
    shares = torch.stack([ramp, 1 - ramp]).repeat(unsure, 1).div(unsure).view(1, 2 * unsure, 1, 1000)
    assert float(sharpness(shares)) == pytest.approx(3 / cells**2, rel=0.05)


@pytest.mark.parametrize(("size", "grid"), [((12, 16), (3, 4)), ((11, 7), (4, 3))])
def test_back_projection_agrees_with_the_oracle(size, grid):
    image, signal, shares = smooth_image(size), random_signal(grid, channels=2), random_shares(grid)
    render = VALUES.fit(image, grid).render
    close(back_project(render, signal, steps=2)[0], oracle.back_projected(image[0], signal[0], 0.025, 2))
    close(back_project(render, shares, steps=2)[0], oracle.back_projected_shares(image[0], shares[0], 0.025, 2))


def test_oklab_is_the_published_one():
    image = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]]).T.reshape(1, 3, 4, 1).double()
    wanted = torch.tensor([[1, 0, 0], [0.62796, 0.22486, 0.12585], [0.45201, -0.03246, -0.31153], [0, 0, 0]]).double()
    close(oklab(image)[0, :, :, 0].T, wanted * torch.tensor([1.0, 3.0, 3.0]), atol=1e-4)


@pytest.mark.parametrize("method", [PREDICTION, MEASUREMENT], ids=["prediction", "measurement"])
@pytest.mark.parametrize(("size", "grid"), [((24, 32), (3, 4)), ((23, 31), (5, 4)), ((9, 7), (9, 7)), ((8, 9), (1, 1))])
@pytest.mark.parametrize("channels", [1, 3])
def test_constants_stay_constant(method, size, grid, channels):
    image = smooth_image(size, channels=channels)
    close(method(image, torch.full((1, 2, *grid), 7.25).double()), torch.full((1, 2, *size), 7.25).double())
    shares = torch.tensor([0.5, 0.375, 0.125]).double().view(1, 3, 1, 1)
    close(method(image, shares.expand(-1, -1, *grid)), shares.expand(-1, -1, *size))


@pytest.mark.parametrize("method", [PREDICTION, MEASUREMENT], ids=["prediction", "measurement"])
def test_shares_stay_shares(method):
    shares = random_shares((5, 6))
    shares[:, :, :2] = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    out = method(smooth_image((37, 40)), shares)
    assert are_shares(shares)
    assert out.min() >= 0
    close(out.sum(1), torch.ones(1, 37, 40).double())


def test_predictions_stay_within_the_signal_s_values():
    signal = random_signal((5, 6))
    out = PREDICTION(smooth_image((37, 40)), signal)
    assert out.min() >= signal.min() - 1e-12
    assert out.max() <= signal.max() + 1e-12


def test_measurements_have_the_means_that_they_were_given_nearly():
    image = smooth_image((48, 64))
    signal = cell_means(smooth_image((48, 64), channels=2, seed=1), (6, 8))
    off, plain = (float((cell_means(f(image, signal), (6, 8)) - signal).square().mean()) for f in (MEASUREMENT, VALUES))
    assert off < 0.05 * plain


def test_any_linear_method_can_be_back_projected():
    image, signal = smooth_image((24, 32)), random_signal((6, 8))
    render = partial(Bilinear(), image)
    off = [
        float((cell_means(back_project(render, signal, steps=steps), (6, 8)) - signal).square().mean())
        for steps in (0, 5, 50)
    ]
    assert off[0] > 5 * off[1] > 25 * off[2]


def test_what_is_linear_in_the_colours_is_found():
    image = smooth_image((96, 128))
    truth = (torch.tensor([0.5, -2.0, 1.0]).double().view(1, 3, 1, 1) * image).sum(1, keepdim=True) + 3
    signal = cell_means(truth, (12, 16))
    mixed = back_project(VALUES.fit(image, (12, 16)).render, signal)
    missed, without = (float((out - truth).square().mean()) for out in (MEASUREMENT(image, signal), mixed))
    assert missed < 0.5 * without


@pytest.mark.parametrize("method", [PREDICTION, MEASUREMENT], ids=["prediction", "measurement"])
@pytest.mark.parametrize("shares", [False, True])
def test_mirrored_inputs_give_mirrored_outputs(method, shares):
    image = smooth_image((32, 48))
    signal = (random_shares if shares else random_signal)((4, 6))
    for sides in ([2], [3], [2, 3]):
        close(method(image.flip(sides), signal.flip(sides)), method(image, signal).flip(sides))


@pytest.mark.parametrize("method", [PREDICTION, MEASUREMENT], ids=["prediction", "measurement"])
def test_images_do_not_influence_each_other(method):
    images, signals = smooth_image((24, 32), batch=2), random_signal((3, 4), batch=2, channels=3)
    out = method(images, signals)
    for i in range(2):
        close(method(images[i : i + 1], signals[i : i + 1]), out[i : i + 1])


@pytest.mark.parametrize("method", [PREDICTION, MEASUREMENT], ids=["prediction", "measurement"])
@pytest.mark.parametrize("shares", [False, True])
def test_differentiable_in_the_signal(method, shares):
    image = smooth_image((12, 16))
    signal = (random_shares if shares else random_signal)((3, 4), **({} if shares else {"channels": 2}))
    logits = signal.log() if shares else signal

    def result(x):
        return method(image, x.softmax(1) if shares else x)

    assert torch.autograd.gradcheck(result, logits.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("method", [PREDICTION, MEASUREMENT], ids=["prediction", "measurement"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_results_have_the_signal_s_type_and_the_size_asked_for(method, dtype):
    image = smooth_image((24, 33), dtype=torch.float32)
    for signal in (random_signal((3, 4)), random_shares((3, 4))):
        out = method(image, signal.to(dtype), (30, 40))
        assert out.dtype == dtype
        assert out.shape == (1, signal.shape[1], 30, 40)
        close(
            out.double(), method(image, signal.to(dtype).double(), (30, 40)), atol=0.03 if dtype.itemsize == 2 else 1e-3
        )


@pytest.mark.parametrize("method", [PREDICTION, MEASUREMENT], ids=["prediction", "measurement"])
def test_results_do_not_depend_on_the_memory(method):
    image, signal = smooth_image((64, 64)), random_signal((8, 8), channels=9)
    close(method(image, signal, memory=4_000_000), method(image, signal))


def test_labels_do_not_depend_on_the_memory():
    """Though some labels' votes alone are no shares, which predictions would be taken for."""
    image = smooth_image((40, 48))
    labels = random_shares((5, 6), classes=7).argmax(1, keepdim=True)
    render = partial(for_labels(PREDICTION), image)
    whole, parted = (
        likeliest(render, 7, votes(labels), (40, 48), memory=memory) for memory in (2**30, 2 * 4 * 40 * 48)
    )
    assert torch.equal(parted, whole)
    assert len(whole.unique()) == 7


def test_one_call_says_all():
    image, depth = smooth_image((24, 32), dtype=torch.float32), torch.rand(1, 1, 3, 4)
    out = omniup.upsample(image, depth, preset="best", kind="measurement")
    assert torch.equal(out, MEASUREMENT(image, depth))
    with pytest.raises(InputError, match=r"^kind is 'depth': accepted are values, votes, prediction and measurement$"):
        omniup.upsample(image, depth, preset="best", kind="depth")


def test_kinds_are_for_fitted_kernels_too():
    image, shares = smooth_image((24, 32)), random_shares((3, 4))
    for kind in ("prediction", "measurement"):
        out = UpsampleAnything.preset("paper", iterations=2, kind=kind)(image, shares)
        assert are_shares(out)


def test_files_say_how_colours_are_compared(tmp_path):
    kernels = PREDICTION.fit(smooth_image((24, 32)), (3, 4))
    kernels.save(tmp_path / "kernels.safetensors")
    loaded = omniup.GaussianKernels.load(tmp_path / "kernels.safetensors")
    signal = random_signal((3, 4))
    assert loaded.colour_space == "oklab"
    assert torch.equal(loaded.render(signal), kernels.render(signal))
    points = torch.tensor([[0, 0], [5, 17]])
    close(loaded.render_at(signal, points)[0], kernels.render(signal)[0][:, points[:, 0], points[:, 1]].T)
