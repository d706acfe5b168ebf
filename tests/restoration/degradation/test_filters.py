"""Blurring and sharpening."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.restoration.degradation.blur import filter_each
from omniup.restoration.degradation.config import SharpeningSettings
from omniup.restoration.degradation.sharpen import sharpen
from oracles import degradation as oracle

SIDES = st.tuples(st.integers(1, 9), st.integers(1, 9))
ODD = st.sampled_from([1, 3, 5, 7])


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(batch=st.integers(1, 3), channels=st.integers(1, 3), size=SIDES, sides=st.tuples(ODD, ODD))
def test_every_image_has_its_own_kernel(batch, channels, size, sides):
    images, kernels = random(batch, channels, *size), random(batch, 1, *sides, seed=1)
    out = filter_each(images, kernels)
    for image, kernel, filtered in zip(images, kernels, out, strict=True):
        np.testing.assert_allclose(filtered, oracle.filtered(image.numpy(), kernel[0].numpy()), rtol=0, atol=1e-12)


def test_constants_stay_constant_and_images_keep_to_themselves():
    kernels = random(3, 1, 21, 21).float()
    kernels /= kernels.sum((2, 3), keepdim=True)
    images = torch.tensor([0.0, 0.3, 1.0]).view(3, 1, 1, 1).expand(3, 3, 16, 24)
    torch.testing.assert_close(filter_each(images, kernels), images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_stays(dtype):
    assert filter_each(random(2, 3, 8, 9).to(dtype), random(2, 1, 3, 3).to(dtype)).dtype == dtype


@given(size=st.tuples(st.integers(1, 12), st.integers(1, 12)), weight=st.floats(0, 2), threshold=st.floats(0, 60))
def test_sharpening_is_the_formula(size, weight, threshold):
    images = random(2, 3, *size)
    out = sharpen(images, SharpeningSettings(size=7, sigma=1.5, weight=weight, threshold=threshold))
    for image, sharp in zip(images, out, strict=True):
        np.testing.assert_allclose(sharp, oracle.unsharp_mask(image.numpy(), 7, 1.5, weight, threshold), atol=1e-12)


def test_sharpening_makes_edges_steeper_and_leaves_the_rest():
    step = torch.full((1, 3, 8, 200), 0.3)
    step[..., 100:] = 0.7
    sharp = sharpen(step, SharpeningSettings())
    assert sharp[..., 100].min() > 0.75 and sharp[..., 99].max() < 0.25
    torch.testing.assert_close(sharp[..., :20], step[..., :20])
    assert sharp.min() >= 0 and sharp.max() <= 1


def test_noise_below_the_threshold_is_not_sharpened():
    images = 0.5 + (random(1, 3, 64, 64) - 0.5) * 8 / 255
    assert torch.equal(sharpen(images, SharpeningSettings()), images)


def test_no_weight_is_no_sharpening():
    images = random(2, 3, 30, 40)
    torch.testing.assert_close(sharpen(images, SharpeningSettings(weight=0.0)), images, rtol=0, atol=1e-15)
