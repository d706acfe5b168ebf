import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from omniup import InputError
from omniup.evaluation import l1, psnr, reconstruction_metrics, ssim
from support.kernels import smooth_image


@pytest.fixture(params=[torch.float32, torch.float64])
def pair(request):
    target = smooth_image((23, 31), batch=2)
    noise = 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (target + noise).clamp(0, 1).to(request.param), target.to(request.param)


def test_l1_by_hand():
    a, b = torch.tensor([0.0, 0.5, 1.0, 0.25]).view(1, 1, 2, 2), torch.tensor([0.5, 0.5, 0.0, 0.5]).view(1, 1, 2, 2)
    assert l1(a, b) == 0.4375
    assert l1(a, a) == 0


def test_psnr_by_hand():
    zeros = torch.zeros(1, 3, 4, 5)
    assert psnr(zeros, zeros + 0.1) == pytest.approx(20, abs=1e-5)
    assert psnr(zeros, zeros + 1) == 0
    assert psnr(zeros, zeros) == math.inf


def test_l1_and_psnr_are_those_of_numpy_and_skimage(pair):
    a, b = (tensor.double().numpy() for tensor in pair)
    assert l1(*pair) == pytest.approx(np.abs(a - b).mean(), rel=1e-6)
    assert psnr(*pair) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), rel=1e-6)


def test_ssim_is_the_mean_of_the_images_with_the_window_of_the_paper(pair):
    of_the_paper = {"win_size": 11, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [
        structural_similarity(b, a, channel_axis=0, data_range=1, **of_the_paper)
        for a, b in zip(*(tensor.double().numpy() for tensor in pair), strict=True)
    ]
    assert ssim(*pair) == pytest.approx(sum(expected) / 2, abs=1e-9)
    assert ssim(pair[1], pair[1]) == pytest.approx(1, abs=1e-12)
    assert ssim(1 - pair[1], pair[1]) < 0


def test_ssim_of_constants_by_hand():
    # Without variance only the means are compared: (2 a b + c) / (a² + b² + c), c = 0.01².
    a, b = (torch.full((1, 1, 11, 11), value, dtype=torch.float64) for value in (0.2, 0.6))
    assert ssim(a, b) == pytest.approx((2 * 0.2 * 0.6 + 1e-4) / (0.04 + 0.36 + 1e-4), abs=1e-9)


def test_all_metrics_together(pair):
    found = reconstruction_metrics(*pair)
    assert found == {"l1_recon": l1(*pair), "psnr_recon": psnr(*pair), "ssim_recon": ssim(*pair)}
    assert all(type(value) is float for value in found.values())


def test_metrics_take_no_part_in_gradients(pair):
    prediction = pair[0].clone().requires_grad_()
    assert reconstruction_metrics(prediction, pair[1]) == reconstruction_metrics(*pair)


@pytest.mark.parametrize("metric", [l1, psnr, ssim, reconstruction_metrics])
@pytest.mark.parametrize("shape", [(1, 3, 12, 13), (3, 12, 12), (2, 3, 12, 12)])
def test_shapes_that_differ_are_refused(metric, shape):
    with pytest.raises(InputError, match=r"^prediction has the shape .*, and target .*; accepted: equal"):
        metric(torch.zeros(shape), torch.zeros(1, 3, 12, 12))


@pytest.mark.parametrize("metric", [ssim, reconstruction_metrics])
def test_images_smaller_than_ssims_window_are_refused(metric):
    with pytest.raises(InputError, match="accepted: sides of at least 11 pixels, for SSIM"):
        metric(torch.zeros(1, 3, 10, 40), torch.zeros(1, 3, 10, 40))
