"""Compare pictures by L1, PSNR and SSIM, values in 0..1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from omniup.errors import InputError


def l1(prediction: Tensor, target: Tensor) -> float:
    """Compute the mean absolute error of [B, C, H, W] against [B, C, H, W].

    Raises:
        InputError: the shapes differ; so for all metrics here.
    """
    _check(prediction, target)
    return float((prediction - target).abs().mean())


def psnr(prediction: Tensor, target: Tensor) -> float:
    """Compute the PSNR in dB, for values in 0..1: -10 log10 of the mean squared error (spec, section 8).

    Infinite where the two are equal.
    """
    _check(prediction, target)
    error = float((prediction.double() - target.double()).square().mean())
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(prediction: Tensor, target: Tensor) -> float:
    """Compute SSIM, -1..1, with the 11×11 Gaussian window of Wang et al. 2004, averaged over the batch.

    Raises:
        InputError: the shapes differ, or a side is shorter than the window.
    """
    from skimage.metrics import structural_similarity  # here, since it is slow to import

    _check(prediction, target)
    if min(prediction.shape[2:]) < 11:
        raise InputError(
            "prediction", "has the shape {shape}", "sides of at least 11 pixels, for SSIM", shape=list(prediction.shape)
        )
    pairs = zip(prediction.double().cpu().numpy(), target.double().cpu().numpy(), strict=True)
    values = [
        structural_similarity(
            a, b, channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in pairs
    ]
    return float(sum(values) / len(values))


def reconstruction_metrics(prediction: Tensor, target: Tensor) -> dict[str, float]:
    """Compute `l1_recon`, `psnr_recon` and `ssim_recon`, as the spec's section 3.3 calls them."""
    with torch.no_grad():
        return {
            "l1_recon": l1(prediction, target),
            "psnr_recon": psnr(prediction, target),
            "ssim_recon": ssim(prediction, target),
        }


def _check(prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape or prediction.ndim != 4:
        raise InputError(
            "prediction",
            "has the shape {prediction}, and target {target}",
            "equal shapes",
            prediction=list(prediction.shape),
            target=list(target.shape),
        )
