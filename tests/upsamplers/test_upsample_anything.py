import dataclasses
import logging
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from omniup import InputError, UpsampleAnything
from omniup.mixing import Attention
from omniup.mixing.objective import L1Objective
from omniup.upsamplers import PRESETS
from omniup.upsamplers.gaussian_kernels import GaussianEmbedding, precision_matrix
from oracles.fitting import paper_fit, spec_fit
from support.kernels import PAPER, SPEC, equal, parameters, random_kernels, random_signal, smooth_image

IMAGE = smooth_image((23, 30))
GRID = 4, 5


def check_against_the_oracle(kernels, losses, maps):
    """The losses to 1e-8, and what was fitted."""
    np.testing.assert_allclose(kernels.history.losses, losses, rtol=0, atol=1e-8)
    for mine, expected in zip(parameters(kernels), maps, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        pytest.param({}, {}, id="the preset"),
        pytest.param({"radius": 1}, {"R": 1}, id="a smaller window"),
        pytest.param({"radius": 3}, {"R": 3}, id="a larger window"),
        pytest.param({"sigma": 5.0, "sigma_r": 0.3}, {}, id="another start"),
        pytest.param(
            {"lr": 0.2, "sigma": 2.0, "sigma_limits": (1.8, 2.1), "sigma_r_limits": (0.1, 0.14)},
            {},
            id="clamps that bite",
        ),
        pytest.param({"sigma_weight": 0.3}, {"lambda1": 0.3}, id="widths held"),
        pytest.param({"sigma_r_weight": 0.5}, {"lambda3": 0.5}, id="range held"),
    ],
)
def test_a_fit_of_the_spec_is_that_of_autograd_and_torchs_adam(changes, names):
    settings = {"lr": 0.05, **changes}
    same = {name: value for name, value in settings.items() if name in ("lr", "sigma", "sigma_r")}
    same |= {name: value for name, value in settings.items() if name.endswith("limits")}
    losses, maps = spec_fit(IMAGE, GRID, steps=8, **same, **names)
    kernels = UpsampleAnything.preset("spec", iterations=8, **settings).fit(IMAGE, GRID)
    check_against_the_oracle(kernels, losses, maps)


@pytest.mark.parametrize("grid", [(4, 5), (1, 3), (1, 1)])
def test_regularisers_are_those_of_the_spec(grid):
    # Not by a fit: kernels start isotropic, where the angle has no gradient and rounding decides its first step.
    h, w = grid
    sx, sy, th, sr = maps = parameters(random_kernels((20, 20), grid, SPEC, batch=2))
    start = [torch.full_like(map_, value) for map_, value in zip(maps, (7.0, 7.0, 0.0, 0.3), strict=True)]
    settings = UpsampleAnything(sigma=7.0, sigma_r=0.3, sigma_weight=0.3, theta_weight=0.2, sigma_r_weight=0.5)
    held = 0.3 * ((sx - 7).abs() + (sy - 7).abs()).mean((1, 2, 3)) + 0.5 * (sr - 0.3).abs().mean((1, 2, 3))
    torch.testing.assert_close(settings._regulariser(maps, start), held + 0.2 * th.abs().mean((1, 2, 3)))
    variation = [
        sum(abs(t[i + 1, j] - t[i, j]) for i in range(h - 1) for j in range(w))
        + sum(abs(t[i, j + 1] - t[i, j]) for i in range(h) for j in range(w - 1))
        for t in th[:, 0].numpy()
    ]
    smooth = dataclasses.replace(settings, theta_penalty="variation")
    torch.testing.assert_close(
        smooth._regulariser(maps, start), held + 0.2 * torch.tensor(variation).double() / (h * w)
    )
    assert UpsampleAnything()._regulariser(maps, start).eq(0).all()


@pytest.mark.parametrize("penalty", ["absolute", "variation"])
def test_heavy_regularisers_keep_the_kernels_near_their_start(penalty):
    settings = UpsampleAnything.preset("spec", lr=0.05, iterations=20)
    weights = {"sigma_weight": 10.0, "theta_weight": 10.0, "sigma_r_weight": 10.0}
    free = settings.fit(IMAGE, GRID)
    held = dataclasses.replace(settings, **weights, theta_penalty=penalty).fit(IMAGE, GRID)

    def away(kernels):
        theta = kernels.theta if penalty == "absolute" else kernels.theta.diff(dim=3)
        maps = (kernels.sigma_x - 16, kernels.sigma_y - 16, theta, kernels.sigma_r - 0.12)
        return [map_.abs().mean().item() for map_ in maps]

    assert all(near < far / 2 for near, far in zip(away(held), away(free), strict=True))


def test_a_fit_of_the_specs_own_step_size_is_that_of_autograd_and_torchs_adam():
    kernels = UpsampleAnything.preset("spec", iterations=8).fit(IMAGE, GRID)
    check_against_the_oracle(kernels, *spec_fit(IMAGE, GRID, steps=8))


@pytest.mark.parametrize("sigma", [16.0, 3.8], ids=["wide", "narrow enough for smaller discs"])
@pytest.mark.parametrize(
    ("size", "grid"), [((23, 30), (4, 5)), ((24, 24), (6, 6)), ((21, 9), (7, 1)), ((10, 11), (10, 11))]
)
def test_a_fit_of_the_paper_is_that_of_autograd_and_torchs_adam(size, grid, sigma):
    image = smooth_image(size, seed=1)
    losses, maps = paper_fit(image, grid, steps=5, sigma=sigma)
    kernels = UpsampleAnything.preset("paper", iterations=5, sigma=sigma).fit(image, grid)
    check_against_the_oracle(kernels, losses, maps)
    if sigma < 4:
        assert torch.maximum(kernels.sigma_x, kernels.sigma_y).min() < 3.5


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
@pytest.mark.parametrize(("preset", "fit"), [("spec", spec_fit), ("paper", paper_fit)])
def test_guidance_may_have_any_number_of_channels(preset, fit, channels):
    image = smooth_image((19, 16), channels=channels)
    kernels = UpsampleAnything.preset(preset, iterations=3).fit(image, (4, 3))
    check_against_the_oracle(kernels, *fit(image, (4, 3), steps=3))
    assert kernels.render(random_signal((4, 3))).shape == (1, 4, 19, 16)


@pytest.mark.parametrize("window", [SPEC, PAPER], ids=["spec", "paper"])
def test_the_gradients_of_the_loss_are_those_of_finite_differences(window):
    kernels = random_kernels((11, 9), (3, 2), window, sigma=(1.0, 6.0), batch=2)
    objective = L1Objective(
        kernels.guidance,
        random_signal((3, 2), channels=3, batch=2),
        kernels.guidance,
        window.windows((11, 9), (3, 2)),
        GaussianEmbedding(kernels.cell_guidance),
    )
    reach = window.reach(kernels.sigma_x, kernels.sigma_y)
    maps = [map_.clone().requires_grad_() for map_ in parameters(kernels)]
    assert torch.autograd.gradcheck(lambda *maps: objective(precision_matrix(*maps), reach), maps)


@pytest.mark.parametrize("preset", ["spec", "paper"])
def test_the_first_loss_is_that_of_what_the_start_renders(preset):
    settings = UpsampleAnything.preset(preset, iterations=1)
    start = dataclasses.replace(settings, iterations=0).fit(IMAGE, GRID)
    loss = (start.render(settings.cell_image(IMAGE, GRID)) - IMAGE).abs().mean()
    assert settings.fit(IMAGE, GRID).history.losses == [pytest.approx(loss.item(), abs=1e-12)]


@pytest.mark.parametrize("preset", ["spec", "paper"])
def test_a_fit_lowers_the_loss_and_float32_follows_float64(preset):
    settings = UpsampleAnything.preset(preset, lr=0.05, iterations=15)
    double, single = (settings.fit(IMAGE.to(dtype), GRID).history for dtype in (torch.float64, torch.float32))
    assert double.losses[-1] < 0.99 * double.losses[0]
    np.testing.assert_allclose(single.losses, double.losses, rtol=1e-3)
    assert (single.dtype, double.dtype) == ("float32", "float64")


@pytest.mark.parametrize("preset", ["spec", "paper"])
def test_no_iterations_leave_the_kernels_as_they_start(preset):
    kernels = UpsampleAnything.preset(preset, iterations=0, sigma=7.0, sigma_r=0.25).fit(IMAGE, GRID)
    for map_, start in zip(parameters(kernels), (7.0, 7.0, 0.0, 0.25), strict=True):
        torch.testing.assert_close(map_, torch.full((1, 1, *GRID), start, dtype=torch.float64))
    assert kernels.history.losses == []
    torch.testing.assert_close(kernels.cell_guidance, F.interpolate(IMAGE, GRID, mode="bilinear", align_corners=False))
    assert torch.equal(kernels.guidance, IMAGE)


@pytest.mark.parametrize("preset", ["spec", "paper"])
def test_images_fitted_together_are_fitted_each_on_its_own(preset):
    # Starting where discs grow smaller, and with a regulariser, which must not be averaged over the batch.
    settings = UpsampleAnything.preset(preset, iterations=6, lr=0.1, sigma=3.8, theta_weight=0.02, sigma_limits=None)
    images = torch.cat([smooth_image((23, 30), seed=seed) for seed in range(3)])
    together = settings.fit(images, GRID)
    alone = [settings.fit(image[None], GRID) for image in images]
    for map_, maps in zip(parameters(together), zip(*map(parameters, alone), strict=True), strict=True):
        torch.testing.assert_close(map_, torch.cat(maps), rtol=1e-9, atol=1e-9)
    means = np.mean([kernels.history.losses for kernels in alone], axis=0)
    np.testing.assert_allclose(together.history.losses, means, rtol=1e-10)


def test_neither_the_memory_nor_the_call_before_changes_a_fit():
    settings = UpsampleAnything.preset("paper", iterations=5, sigma=4.0)
    first = settings.fit(IMAGE, GRID)
    assert equal(first, settings.fit(IMAGE, GRID))
    for map_, cut in zip(parameters(first), parameters(settings.fit(IMAGE, GRID, memory="200KB")), strict=True):
        torch.testing.assert_close(cut, map_, rtol=1e-8, atol=1e-8)


def test_progress_is_reported_after_each_step():
    told = []
    kernels = UpsampleAnything.preset("spec", iterations=7).fit(IMAGE, GRID, progress=told.append)
    assert [(step.iteration, step.iterations) for step in told] == [(i + 1, 7) for i in range(7)]
    assert [step.loss for step in told] == kernels.history.losses
    assert all(step.seconds_left >= 0 for step in told)
    assert told[-1].seconds_left == 0


def test_a_fit_ends_with_what_the_callback_raises():
    class CancelledError(Exception):
        pass

    told = []

    def cancel(step):
        told.append(step)
        if step.iteration == 3:
            raise CancelledError

    with pytest.raises(CancelledError):
        UpsampleAnything.preset("spec", iterations=10).fit(IMAGE, GRID, progress=cancel)
    assert len(told) == 3


def test_a_fit_stops_early_once_the_loss_settles():
    settled = UpsampleAnything.preset("spec", lr=0.0, tolerance=0.001, iterations=40).fit(IMAGE, GRID)
    assert len(settled.history.losses) == 11
    patient = UpsampleAnything.preset("spec", lr=0.05, tolerance=1e-9, iterations=20).fit(IMAGE, GRID)
    assert len(patient.history.losses) == 20
    losses = UpsampleAnything.preset("paper", iterations=40).fit(IMAGE, GRID).history.losses
    few = UpsampleAnything.preset("paper", tolerance=0.02, iterations=40).fit(IMAGE, GRID).history.losses
    stop = next(i for i in range(10, 40) if losses[i] > 0.98 * losses[i - 10])
    assert few == losses[: stop + 1]


def test_the_history_tells_what_happened():
    history = UpsampleAnything.preset("paper", iterations=4).fit(IMAGE.float(), GRID).history
    assert len(history.losses) == 4
    assert set(history.seconds) == {"prepare", "fit"}
    assert all(seconds > 0 for seconds in history.seconds.values())
    assert (history.device, history.dtype) == ("cpu", "float32")


def test_the_loss_is_logged_every_ten_iterations_with_device_type_and_times(caplog):
    with caplog.at_level(logging.INFO, logger="omniup"):
        UpsampleAnything.preset("spec", iterations=22).fit(IMAGE, GRID)
    logged = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in logged if line.startswith("iteration")] == [
        f"iteration {i}" for i in (0, 10, 20, 21)
    ]
    assert "on cpu in float64: 22 iterations" in logged[0]
    assert "prepared in" in logged[-1]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_fit_works_where_gradients_are_switched_off(mode):
    settings = UpsampleAnything.preset("spec", iterations=3, lr=0.05)
    expected = settings.fit(IMAGE, GRID)
    with mode():
        assert equal(settings.fit(IMAGE, GRID), expected)


def test_a_fit_leaves_the_image_as_it_was_and_takes_no_gradient_to_it():
    image = IMAGE.clone().requires_grad_()
    kernels = UpsampleAnything.preset("spec", iterations=2).fit(image, GRID)
    assert torch.equal(image, IMAGE)
    assert image.grad is None
    assert not any(tensor.requires_grad for tensor in (*parameters(kernels), kernels.guidance, kernels.cell_guidance))


def test_fitting_is_preparing_at_any_size():
    settings, signal = UpsampleAnything.preset("paper", iterations=4), random_signal(GRID, dtype=torch.float32)
    image = IMAGE.float()
    assert equal(settings.fit(image, GRID), settings.prepare(image, GRID))
    assert settings.fit(image, GRID, (46, 50)).render(signal).shape == (1, 4, 46, 50)


def test_the_cost_is_that_of_all_steps():
    assert UpsampleAnything.preset("spec").cost((20, 30), (4, 5)) == 20 * 30 * 25 * 50
    assert UpsampleAnything.preset("paper", iterations=0).cost((20, 30), (4, 5)) == 0
    assert UpsampleAnything.preset("paper").cost((20, 30), (4, 5)) == 20 * 30 * 197 * 51


def test_the_presets_are_those_of_the_facts():
    assert set(PRESETS) == {"spec", "paper"}
    spec, paper = UpsampleAnything.preset("spec"), UpsampleAnything.preset("paper")
    assert spec == UpsampleAnything()
    assert (spec.window, spec.radius, spec.window_sigmas, spec.positive) == ("square", 2, None, "softplus")
    assert (spec.sigma, spec.sigma_r, spec.sigma_limits, spec.sigma_r_limits) == (16, 0.12, (1, 64), (0.01, 1))
    assert (spec.downsample, spec.lr, spec.lr_decay, spec.iterations) == ("bilinear", 1e-3, 1, 50)
    assert spec.sigma_weight == spec.theta_weight == spec.sigma_r_weight == 0
    assert (paper.window, paper.radius, paper.window_sigmas, paper.positive) == ("disc", 8, 2, "exp")
    assert (paper.sigma, paper.sigma_r, paper.sigma_limits, paper.sigma_r_limits) == (16, 0.12, None, None)
    assert (paper.downsample, paper.lr, paper.iterations) == ("bicubic", 0.1, 51)
    assert paper.lr_decay == pytest.approx(1e-8 ** (1 / 5100), rel=1e-15)
    assert paper.sigma_weight == paper.theta_weight == paper.sigma_r_weight == 0


def test_unknown_names_are_refused_with_the_list():
    with pytest.raises(InputError, match=r"^preset is 'finest'; accepted: spec, paper$"):
        UpsampleAnything.preset("finest")
    with pytest.raises(InputError, match=r"^colour is no setting of upsample_anything; accepted: window, radius, "):
        UpsampleAnything.preset("spec", steps=3, colour=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", "triangle"),
        ("radius", -1),
        ("radius", 17),
        ("radius", 1.5),
        ("window_sigmas", 2.0),  # of a square
        ("positive", "square"),
        ("downsample", "lanczos"),
        ("theta_penalty", "squared"),
        ("sigma", 0.0),
        ("sigma", math.nan),
        ("sigma", math.inf),
        ("sigma", "16"),
        ("sigma_r", 0),
        ("lr", -0.1),
        ("lr", math.nan),
        ("lr_decay", 1.1),
        ("iterations", -1),
        ("iterations", 2.5),
        ("iterations", True),
        ("sigma_weight", -1),
        ("theta_weight", -1),
        ("sigma_r_weight", math.inf),
        ("tolerance", -0.1),
        ("tolerance", 2),
        ("sigma_limits", (0, 1)),
        ("sigma_limits", (2, 1)),
        ("sigma_limits", (1,)),
        ("sigma_limits", (1, math.nan)),
        ("sigma_r_limits", (-1, 1)),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(InputError, match=rf"^(window_)?{name.removeprefix('window_')} is .*; accepted: "):
        UpsampleAnything.preset("spec", **{name: value})


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ((0, 5), r"^grid is \(0, 5\); accepted: two whole numbers of at least 1"),
        ((4, 5, 6), r"^grid is \(4, 5, 6\)"),
        ((4.0, 5.0), r"^grid is \(4.0, 5.0\)"),
        ((24, 5), r"24 × 5, larger than the image"),
        ((4, 31), r"4 × 31, larger than the image"),
        (4, r"^grid is 4"),
    ],
)
def test_a_grid_that_is_none_is_refused(grid, message):
    with pytest.raises(InputError, match=message):
        UpsampleAnything.preset("spec", iterations=1).fit(IMAGE, grid)


def test_too_little_memory_is_the_callers_mistake():
    with pytest.raises(InputError, match=r"^memory is 1000 bytes: .*; accepted: more$"):
        UpsampleAnything.preset("spec", iterations=1).fit(IMAGE, GRID, memory=1000)


def test_a_fit_that_diverges_says_so():
    with pytest.raises(InputError, match=r"^lr is 10\.0, with which the fit diverged; accepted: a smaller one$"):
        UpsampleAnything.preset("paper", lr=10.0).fit(IMAGE.float(), GRID)


def test_a_large_step_leaves_finite_kernels():
    kernels = UpsampleAnything.preset("paper", lr=1.0).fit(IMAGE.float(), GRID)
    assert all(map_.isfinite().all() for map_ in parameters(kernels))


def test_one_cell_for_each_pixel_can_be_fitted():
    image = smooth_image((9, 8))
    kernels = UpsampleAnything.preset("paper", iterations=3).fit(image, (9, 8))
    assert all(map_.isfinite().all() for map_ in parameters(kernels))


def test_a_fit_is_a_minimisation_over_the_engine():
    # The loss that the history tells is that of `mix`, whatever way the objective takes to it.
    settings = UpsampleAnything.preset("paper", iterations=3, sigma=4.0)
    kernels = settings.fit(IMAGE, GRID)
    after = (kernels.render(settings.cell_image(IMAGE, GRID)) - IMAGE).abs().mean().item()
    longer = dataclasses.replace(settings, iterations=4).fit(IMAGE, GRID)
    assert longer.history.losses[-1] == pytest.approx(after, abs=1e-12)
    query, key = (torch.zeros(1, 1, *sides, dtype=torch.float64) for sides in ((23, 30), GRID))
    flat = Attention(key, PAPER.windows((23, 30), GRID)).mix(query, kernels.cell_guidance)
    assert after < (flat - IMAGE).abs().mean()
