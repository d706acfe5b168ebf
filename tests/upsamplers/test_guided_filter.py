import math

import pytest
import torch

from omniup import InputError
from omniup.mixing import cell_means
from omniup.upsamplers import GuidedFilter
from oracles.guided_filter import guided_filter
from support.kernels import random_signal, smooth_image
from support.methods import upsample
from support.scratch import peak_bytes


@pytest.mark.parametrize(
    ("size", "grid"), [((24, 32), (6, 8)), ((23, 31), (5, 4)), ((9, 7), (9, 7)), ((12, 20), (1, 5)), ((11, 10), (1, 1))]
)
@pytest.mark.parametrize(("radius", "eps"), [(1, 1e-3), (2, 1e-2), (5, 1e-4)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_it_is_a_ridge_regression_around_each_cell(size, grid, radius, eps, channels):
    image, signal = smooth_image(size, channels=channels), random_signal(grid, channels=2)
    reference = guided_filter(image[0], signal[0], radius, eps)
    torch.testing.assert_close(upsample(GuidedFilter(radius, eps), image, signal)[0], reference, rtol=0, atol=1e-9)
    out = upsample(GuidedFilter(radius, eps), image.float(), signal.float())[0]
    torch.testing.assert_close(out, reference.float(), rtol=0, atol=1e-6 / eps)  # slopes are quotients of about eps


def test_a_linear_function_of_the_colour_is_found():
    image = smooth_image((48, 64))
    weights = torch.tensor([0.5, -2.0, 1.0]).view(1, 3, 1, 1).double()
    cells = torch.nn.functional.interpolate(image, (12, 16), mode="area")
    out = upsample(GuidedFilter(radius=3, eps=1e-9), image, (weights * cells).sum(1, keepdim=True) + 3)
    torch.testing.assert_close(out, (weights * image).sum(1, keepdim=True) + 3, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("size", "grid"), [((24, 32), (6, 8)), ((23, 31), (5, 4)), ((9, 7), (9, 7)), ((12, 20), (1, 2))]
)
@pytest.mark.parametrize("holes", [False, True])
def test_cell_means_of_the_result_need_no_upsampling(size, grid, holes):
    signal = random_signal(grid, channels=2)
    valid = signal[:, :1] > -0.5 if holes else None
    prepared = GuidedFilter().prepare(smooth_image(size), grid)
    found = prepared.masked(valid).means(prepared.masked(valid).coefficients(signal))
    wanted = cell_means(prepared.fit(signal, valid, 2**30), grid)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


def test_constants_stay_constant():
    out = upsample(GuidedFilter(), smooth_image((24, 32)), torch.full((1, 2, 6, 8), 0.7).double())
    torch.testing.assert_close(out, torch.full((1, 2, 24, 32), 0.7).double(), rtol=0, atol=1e-10)


def test_images_and_channels_do_not_influence_each_other():
    images, signals = smooth_image((24, 32), batch=2), random_signal((6, 8), batch=2, channels=3)
    alone = [
        torch.cat([upsample(GuidedFilter(), image[None], channel[None, None]) for channel in signal], dim=1)
        for image, signal in zip(images, signals, strict=True)
    ]
    torch.testing.assert_close(upsample(GuidedFilter(), images, signals), torch.cat(alone), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_signals_of_half_the_precision_are_computed_with_in_float32(dtype):
    image, signal = smooth_image((24, 32)).float(), random_signal((6, 8)).to(dtype)
    out = upsample(GuidedFilter(), image, signal)
    assert out.dtype == dtype
    assert torch.equal(out, upsample(GuidedFilter(), image, signal.float()).to(dtype))


def test_it_is_differentiable_in_the_signal():
    image, signal = smooth_image((8, 12)), random_signal((2, 3), channels=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda signal: upsample(GuidedFilter(), image, signal), signal)


@pytest.mark.parametrize(
    ("size", "grid", "memory"),
    [
        ((96, 128), (12, 16), 1_500_000),
        ((96, 128), (12, 16), 4_000_000),
        ((96, 96), (48, 48), 4_000_000),
        ((64, 64), (64, 64), 4_000_000),
    ],
)
@pytest.mark.parametrize("guidance", [1, 3])
def test_the_memory_changes_nothing_and_bounds_the_scratch(size, grid, guidance, memory):
    image = smooth_image(size, channels=guidance, dtype=torch.float32)
    signal = random_signal(grid, channels=64, dtype=torch.float32)
    out = None

    def run():
        nonlocal out
        out = upsample(GuidedFilter(), image, signal, memory=memory)
        return out

    assert peak_bytes(run, image, signal) <= memory
    torch.testing.assert_close(out, upsample(GuidedFilter(), image, signal, memory=2**30), rtol=0, atol=1e-4)


@pytest.mark.parametrize("eps", [1e-3, 1e-7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_channels_are_no_obstacle(eps, dtype):
    grey = smooth_image((24, 32), channels=1, dtype=dtype)
    signal = random_signal((6, 8), dtype=dtype)
    out = upsample(GuidedFilter(eps=eps), grey.expand(-1, 3, -1, -1), signal)
    # Three equal channels share the slope: as one, held down by a third.
    torch.testing.assert_close(out, upsample(GuidedFilter(eps=eps / 3), grey, signal), rtol=0, atol=1e-2)


@pytest.mark.parametrize(
    ("name", "value"),
    [("radius", 0), ("radius", 65), ("radius", 1.5), ("eps", 0.0), ("eps", -1.0), ("eps", math.nan), ("eps", math.inf)],
)
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(InputError, match=f"^{name} is"):
        GuidedFilter(**{name: value})


@pytest.mark.parametrize("eps", [1e-12, 1e-30])
def test_settings_that_are_accepted_give_finite_results(eps):
    grey = smooth_image((24, 32), channels=1, dtype=torch.float32).expand(-1, 3, -1, -1)
    try:
        method = GuidedFilter(eps=eps)
    except InputError:
        return
    assert upsample(method, grey, random_signal((6, 8), dtype=torch.float32)).isfinite().all()
