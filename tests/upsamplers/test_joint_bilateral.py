import math

import pytest
import torch
from torch.nn import functional as F

from omniup import GaussianKernels, InputError
from omniup.upsamplers import JointBilateral
from oracles.rendering import spec_render
from support.kernels import random_signal, smooth_image
from support.methods import upsample


def oracle(image, signal, sigma_x=16.0, sigma_y=16.0, theta=0.0, sigma_r=0.12, radius=2):
    cells = F.interpolate(image, signal.shape[2:], mode="bilinear", align_corners=False)
    shape = len(image), 1, *signal.shape[2:]
    maps = (torch.full(shape, value, dtype=torch.float64) for value in (sigma_x, sigma_y, theta, sigma_r))
    return spec_render(signal, image, cells, *maps, radius)


@pytest.mark.parametrize(
    ("size", "grid"), [((32, 48), (2, 3)), ((29, 41), (5, 4)), ((17, 9), (1, 9)), ((8, 8), (8, 8))]
)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sigma_r": 0.05},
        {"sigma_x": 3.0, "sigma_y": 30.0, "theta": 0.7, "sigma_r": 0.5, "radius": 3},
        {"radius": 0},
    ],
    ids=str,
)
def test_it_is_the_specs_mix_with_fixed_kernels(size, grid, settings):
    image, signal = smooth_image(size, batch=2), random_signal(grid, batch=2)
    reference = oracle(image, signal, **settings)
    torch.testing.assert_close(upsample(JointBilateral(**settings), image, signal), reference, rtol=0, atol=1e-10)
    out = upsample(JointBilateral(**settings), image.float(), signal.float())
    torch.testing.assert_close(out, reference.float(), rtol=0, atol=1e-5)


def test_its_defaults_are_those_of_the_spec():
    assert JointBilateral() == JointBilateral(sigma_x=16.0, sigma_y=16.0, theta=0.0, sigma_r=0.12, radius=2)


def test_it_prepares_kernels():
    image, signal = smooth_image((20, 16)), random_signal((5, 4))
    kernels = JointBilateral(sigma_r=0.3).prepare(image, (5, 4))
    assert isinstance(kernels, GaussianKernels)
    assert torch.equal(kernels.render(signal), upsample(JointBilateral(sigma_r=0.3), image, signal))
    assert kernels.sigma_r.eq(0.3).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sigma_x", 0.0),
        ("sigma_y", -1.0),
        ("sigma_r", math.nan),
        ("sigma_r", math.inf),
        ("theta", math.nan),
        ("theta", math.inf),
        ("radius", -1),
        ("radius", 17),
        ("radius", 2.5),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(InputError, match=f"^{name} is"):
        JointBilateral(**{name: value})


@pytest.mark.parametrize("settings", [{"sigma_x": 1e-30}, {"sigma_y": 1e-25}, {"sigma_r": 1e-30}], ids=str)
def test_settings_that_are_accepted_give_finite_results(settings):
    try:
        method = JointBilateral(**settings)
    except InputError:
        return
    assert upsample(method, smooth_image((20, 16)).float(), random_signal((5, 4)).float()).isfinite().all()
