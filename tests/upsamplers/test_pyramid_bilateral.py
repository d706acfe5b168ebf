"""Our own method: features, probabilities, measurements and values."""

import dataclasses
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import omniup
from omniup import InputError, PyramidBilateral
from omniup.mixing import cell_means
from omniup.upsamplers import Bilinear
from omniup.upsamplers.checks import resize
from omniup.upsamplers.consistency import LEAST_STEP, SHARPNESS, border_sharpness
from omniup.upsamplers.pyramid_bilateral.measurements import back_project, back_project_probabilities, spline
from omniup.upsamplers.pyramid_bilateral.pyramid import oklab
from omniup.upsamplers.signal_types import are_probabilities
from oracles import consistency, domain_transform
from oracles import pyramid_bilateral as oracle
from oracles.guided_filter import guided_filter
from support.kernels import random_signal, smooth_image
from support.methods import upsample
from support.scratch import Scratch

METHOD = PyramidBilateral()
ONE_STAGE = PyramidBilateral(halvings=0, filter_weight=0, geodesic_sigma=0)
#: Without averages over larger cells, with the same kernels at all stages, and not smoothed.
SHARP = PyramidBilateral(resolved_pixels=0.01, first_sigma=1.0, filter_weight=0, geodesic_sigma=0)

predict = partial(upsample, METHOD)
measure = partial(upsample, METHOD, signal_type="measurement")
both = pytest.mark.parametrize("run", [predict, measure], ids=["prediction", "measurement"])


def mix(image, signal):
    return upsample(ONE_STAGE, image, signal, signal_type="values")


def random_probabilities(grid, *, classes=3, batch=1, seed=0):
    return (3 * random_signal(grid, channels=classes, batch=batch, seed=seed)).softmax(1)


def close(found, wanted, atol=1e-9):
    torch.testing.assert_close(found, wanted, rtol=0, atol=atol)


sides = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=6, deadline=None)
@given(size=sides, channels=st.sampled_from([1, 3, 4]), data=st.data())
def test_values_and_probabilities_agree_with_the_oracle(size, channels, data):
    grid = data.draw(st.tuples(*(st.integers(1, min(side, 3)) for side in size)))
    image, signal, probabilities = (
        smooth_image(size, channels=channels),
        random_signal(grid),
        random_probabilities(grid),
    )
    one, power = partial(oracle.mix, settings=METHOD), partial(oracle.power_mean, settings=SHARP)
    close(mix(image, signal)[0], one(image[0], signal[0]))
    values = upsample(METHOD, image, signal, signal_type="values")
    close(values[0], oracle.coarse_to_fine(image[0], signal[0], one))
    close(upsample(SHARP, image, probabilities)[0], oracle.coarse_to_fine(image[0], probabilities[0], power))


@pytest.mark.parametrize("sure", [1, 4])
def test_probabilities_are_averaged_with_a_linear_model_of_their_logarithms(sure):
    """The surer, the sharper the borders, and the larger the step that the model is given."""
    image = smooth_image((16, 20))
    probabilities = (sure * random_probabilities((4, 5)).log()).softmax(1)
    logs = probabilities[0].clamp_min(1e-6).log()
    logs = logs - logs.mean(0)
    power = upsample(SHARP, image, probabilities)[0].clamp_min(1e-6).log()
    step = min(1.0, max(LEAST_STEP, LEAST_STEP + float(border_sharpness(probabilities)) - SHARPNESS))
    model = guided_filter(image[0], logs, SHARP.filter_radius, SHARP.filter_eps)
    wanted = 0.5 * (power - power.mean(0)) + 0.5 * consistency.steps(model[None], logs[None], step)[0]
    found = upsample(dataclasses.replace(SHARP, filter_weight=0.5), image, probabilities)
    close(found[0], wanted.softmax(0), atol=1e-8)
    smoothed = upsample(dataclasses.replace(SHARP, filter_weight=0.5, geodesic_sigma=2.0), image, probabilities)
    close(smoothed[0], domain_transform.smooth(wanted, image[0], (8, 8), SHARP.geodesic_sigma_r, 2).softmax(0))


def test_the_first_mix_of_probabilities_has_narrower_kernels():
    image, probabilities = smooth_image((12, 13)), random_probabilities((3, 4))
    narrow = dataclasses.replace(METHOD, sigma=METHOD.first_sigma * METHOD.sigma)
    close(upsample(ONE_STAGE, image, probabilities)[0], oracle.power_mean(image[0], probabilities[0], narrow))


def test_cells_are_counted_in_pixels_of_the_image_that_the_network_saw():
    image, probabilities = smooth_image((32, 48)), (0.3 * random_signal((2, 3), channels=3)).softmax(1)
    assert METHOD.prepare(image, (2, 3), (8, 12)).cell_side == 16

    def run(**changes):
        return upsample(dataclasses.replace(METHOD, **changes), image, probabilities, (8, 12))

    resized = resize(image, (8, 12))
    close(run(), run(resolved_pixels=0.01))  # 16 pixels are never finer than what a network tells apart
    assert (upsample(METHOD, resized, probabilities) - run()).abs().max() > 1e-3  # 4 pixels are


def test_averages_over_larger_cells_take_noise_away():
    """Where probabilities change slowly: neither a border nor what the network tells apart is as fine as a cell."""
    image, ramp = torch.full((1, 3, 64, 64), 0.5).double(), torch.linspace(0.3, 0.7, 32).double().expand(1, 1, 32, 32)
    noise = 0.1 * torch.rand(ramp.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.05
    noisy, truth = (torch.cat([each, 1 - each], dim=1) for each in (ramp + noise, ramp))
    unsmoothed = dataclasses.replace(METHOD, geodesic_sigma=0)
    averaged, plain = (
        float((cell_means(upsample(method, image, noisy), (32, 32)) - truth)[..., 4:-4].square().mean())
        for method in (unsmoothed, dataclasses.replace(unsmoothed, resolved_pixels=0.01))
    )
    assert averaged < 0.7 * plain


@given(cells=st.integers(1, 8), unsure=st.integers(1, 4))
def test_sharpness_tells_how_many_cells_a_border_takes_however_sure_the_network_is(cells, unsure):
    ramp = ((torch.arange(1000).double() - 500) / cells).clamp(0, 1)  # from 0 to 1 in so many of many cells
    probabilities = torch.stack([ramp, 1 - ramp]).repeat(unsure, 1).div(unsure).view(1, 2 * unsure, 1, 1000)
    assert float(border_sharpness(probabilities)) == pytest.approx(3 / cells**2, rel=0.05)


@pytest.mark.parametrize(("size", "grid"), [((12, 16), (3, 4)), ((11, 7), (4, 3))])
def test_back_projection_agrees_with_the_oracle(size, grid):
    image, signal, probabilities = smooth_image(size), random_signal(grid, channels=2), random_probabilities(grid)
    render = partial(mix, image)
    close(back_project(render, signal, render(signal), 2)[0], oracle.back_projected(image[0], signal[0], 2, METHOD))
    found = back_project_probabilities(render, probabilities, dataclasses.replace(METHOD, back_projections=2))
    close(found[0], oracle.back_projected_probabilities(image[0], probabilities[0], 2, METHOD))


def test_oklab_is_the_published_one():
    image = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]]).T.reshape(1, 3, 4, 1).double()
    wanted = torch.tensor([[1, 0, 0], [0.62796, 0.22486, 0.12585], [0.45201, -0.03246, -0.31153], [0, 0, 0]]).double()
    close(oklab(image)[0, :, :, 0].T, wanted, atol=1e-4)
    close(oklab(image, 3.0)[0, :, :, 0].T, wanted * torch.tensor([1.0, 3.0, 3.0]), atol=1e-4)


@both
@pytest.mark.parametrize(("size", "grid"), [((24, 32), (3, 4)), ((23, 31), (5, 4)), ((9, 7), (9, 7)), ((8, 9), (1, 1))])
@pytest.mark.parametrize("channels", [1, 3])
def test_constants_stay_constant(run, size, grid, channels):
    image = smooth_image(size, channels=channels)
    close(run(image, torch.full((1, 2, *grid), 7.25).double()), torch.full((1, 2, *size), 7.25).double())
    probabilities = torch.tensor([0.5, 0.375, 0.125]).double().view(1, 3, 1, 1)
    close(run(image, probabilities.expand(-1, -1, *grid)), probabilities.expand(-1, -1, *size))


@both
def test_probabilities_stay_probabilities(run):
    probabilities = random_probabilities((5, 6))
    probabilities[:, :, :2] = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    out = run(smooth_image((37, 40)), probabilities)
    assert are_probabilities(probabilities) == [True]
    assert out.min() >= 0
    close(out.sum(1), torch.ones(1, 37, 40).double())


def test_features_stay_within_the_signal_s_values():
    signal = random_signal((5, 6))
    out = predict(smooth_image((37, 40)), signal)
    assert out.min() >= signal.min() - 1e-12
    assert out.max() <= signal.max() + 1e-12


def test_measurements_have_the_means_that_they_were_given_nearly():
    image = smooth_image((48, 64))
    signal = cell_means(smooth_image((48, 64), channels=2, seed=1), (6, 8))
    off, plain = (float((cell_means(run(image, signal), (6, 8)) - signal).square().mean()) for run in (measure, mix))
    assert off < 0.05 * plain


def test_any_linear_method_can_be_back_projected():
    image, signal = smooth_image((24, 32)), random_signal((6, 8))
    render = partial(upsample, Bilinear(), image)
    off = [
        float((cell_means(back_project(render, signal, render(signal), steps), (6, 8)) - signal).square().mean())
        for steps in (0, 5, 50)
    ]
    assert off[0] > 5 * off[1] > 25 * off[2]


def test_what_is_linear_in_the_colours_is_found():
    image = smooth_image((96, 128))
    truth = (torch.tensor([0.5, -2.0, 1.0]).double().view(1, 3, 1, 1) * image).sum(1, keepdim=True) + 3
    signal = cell_means(truth, (12, 16))
    render = partial(mix, image)
    mixed = back_project(render, signal, render(signal), METHOD.back_projections)
    interpolated = spline(signal, (96, 128), METHOD.back_projections)
    errors = (float((out - truth).square().mean()) for out in (measure(image, signal), mixed, interpolated))
    missed, without, plain = errors
    assert missed < 0.7 * without
    assert missed < 0.3 * plain


@both
@pytest.mark.parametrize("make", [random_signal, random_probabilities])
def test_mirrored_inputs_give_mirrored_outputs(run, make):
    image, signal = smooth_image((32, 48)), make((4, 6))
    for sides in ([2], [3], [2, 3]):
        close(run(image.flip(sides), signal.flip(sides)), run(image, signal).flip(sides))


@both
def test_images_do_not_influence_each_other(run):
    images, signals = smooth_image((24, 32), batch=2), random_signal((3, 4), batch=2, channels=3)
    out = run(images, signals)
    for i in range(2):
        close(run(images[i : i + 1], signals[i : i + 1]), out[i : i + 1])


@both
@pytest.mark.parametrize("grid", [(3, 4), (12, 12)])
@pytest.mark.parametrize("probabilities", [False, True])
def test_differentiable_in_the_signal(run, probabilities, grid):
    image = smooth_image((12, 16))
    leaf = random_probabilities(grid).log() if probabilities else random_signal(grid, channels=2)

    def result(x):
        return run(image, x.softmax(1) if probabilities else x)

    assert torch.autograd.gradcheck(result, leaf.requires_grad_(), fast_mode=True)


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_results_have_the_signal_s_type_and_the_size_asked_for(run, dtype):
    image = smooth_image((24, 33), dtype=torch.float32)
    for signal in (random_signal((3, 4)).to(dtype), random_probabilities((3, 4)).to(dtype)):
        out = run(image, signal, (30, 40))
        assert out.dtype == dtype
        assert out.shape == (1, signal.shape[1], 30, 40)
        close(out.double(), run(image, signal.double(), (30, 40)), atol=0.03 if dtype.itemsize == 2 else 1e-3)


@both
@pytest.mark.parametrize("memory", [4_000_000, 1_000_000])  # of which the second is too little to keep weights
def test_results_do_not_depend_on_the_memory(run, memory):
    image, signal = smooth_image((64, 64)), random_signal((8, 8), channels=9)
    close(run(image, signal, memory=memory), run(image, signal))


@pytest.mark.parametrize("make", [random_signal, random_probabilities])
def test_measurements_are_the_same_with_a_gradient(make):
    """For which no weights are kept."""
    image, signal = smooth_image((24, 32)), make((3, 4))
    valid = torch.rand(1, 1, 3, 4, generator=torch.Generator().manual_seed(1)) < 0.7
    prepared = METHOD.prepare(image, (3, 4))
    for mask in (None, valid):
        plain = prepared.render(signal, "measurement", valid=mask)
        close(prepared.render(signal.clone().requires_grad_(), "measurement", valid=mask).detach(), plain)


def test_a_strip_costs_what_a_square_costs():
    """Bytes written for a measurement, at 16 × 16 pixels a cell; benchmarks/strips.py has the seconds of all types."""

    def written(size):
        image, grid = torch.rand(1, 3, *size), tuple(max(1, side // 16) for side in size)
        with Scratch() as scratch:
            measure(image, random_signal(grid, channels=8).float())
        return scratch.total()

    square = written((208, 208))
    assert max(written((1, 43_264)), written((43_264, 1))) < square


def test_labels_do_not_depend_on_the_memory():
    """Though the 0/1 maps of some labels alone are no probabilities, and those of all are."""
    image = smooth_image((40, 48))
    labels = random_probabilities((5, 6), classes=7).argmax(1, keepdim=True)
    whole, parted = (
        upsample(METHOD, image, labels, signal_type="labels", memory=memory) for memory in (2**30, 16 * 4 * 40 * 48)
    )
    assert torch.equal(parted, whole)
    assert len(whole.unique()) == 7


def test_confidence_is_that_of_a_single_mix():
    image = smooth_image((24, 32), batch=2)
    confidence = METHOD.prepare(image, (3, 4)).confidence()
    kernels = ONE_STAGE.prepare(image, (3, 4)).pyramids[1].kernels((24, 32), (3, 4), METHOD.sigma, METHOD.sigma_r)
    assert confidence.shape == (2, 1, 24, 32)
    close(confidence[1:], kernels.confidence())
    assert 0 <= confidence.min() < confidence.max() <= 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("radius", 17),
        ("sigma", 0.0),
        ("sigma_r", float("nan")),
        ("variance_weight", -1),
        ("chroma", "3"),
        ("halvings", 9),
        ("detail", -0.5),
        ("denoise", 1.5),
        ("denoise_radius", 0.5),
        ("denoise_sigma", 0),
        ("power", 3),
        ("power", 0),
        ("min_probability", 0),
        ("first_sigma", 0),
        ("resolved_pixels", 0),
        ("filter_weight", 1.5),
        ("back_projections", -1),
        ("back_projection_step", 2),
        ("sigma_r_candidates", 0),
        ("filter_radius", 0),
        ("filter_eps", 0.0),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(InputError, match=f"^{name} is .*; accepted: "):
        PyramidBilateral(**{name: value})


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])  # powers of two, by which every rounding scales exactly
def test_huge_and_tiny_measurements_are_scaled_ones(scale):
    image, depth = torch.rand(1, 3, 32, 32), torch.rand(1, 1, 8, 8)
    made = upsample(PyramidBilateral(), image, scale * depth, signal_type="measurement")
    assert torch.equal(made / scale, upsample(PyramidBilateral(), image, depth, signal_type="measurement"))


@pytest.mark.parametrize("without_gradients", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("signal_type", ["features", "probabilities", "measurement", "values"])
def test_gradients_flow_whatever_mode_the_first_render_had(without_gradients, signal_type):
    image, signal = torch.rand(1, 3, 32, 32), torch.rand(1, 2, 8, 8).softmax(1)

    def gradients(prepared):
        of = signal.clone().requires_grad_()
        prepared.render(of, signal_type).square().sum().backward()
        return of.grad

    prepared = PyramidBilateral().prepare(image, (8, 8))
    with without_gradients():
        prepared.render(signal, signal_type)
    assert torch.equal(gradients(prepared), gradients(PyramidBilateral().prepare(image, (8, 8))))


def test_splines_of_long_axes_are_those_of_short_ones(monkeypatch):
    image, signal = torch.rand(1, 3, 40, 60), torch.rand(1, 5, 5, 7)
    by_matrices = omniup.upsample(image, signal, signal_type="features")
    monkeypatch.setattr("omniup.mixing.interpolation.LARGEST_MATRIX", 0)
    torch.testing.assert_close(omniup.upsample(image, signal, signal_type="features"), by_matrices)
