"""How close a picture comes to another: L1, PSNR, SSIM, values in 0..1. And how well a result keeps to edges."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError


def l1(prediction: Tensor, target: Tensor) -> float:
    """Mean absolute error of [B, C, H, W] against [B, C, H, W].

    Raises:
        InputError: the shapes differ; so for all metrics here.
    """
    _check(prediction, target)
    return float((prediction - target).abs().mean())


def psnr(prediction: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, for values in 0..1: -10 log10 of the mean squared error (spec, section 8).

    Infinite where the two are equal.
    """
    _check(prediction, target)
    error = float((prediction.double() - target.double()).square().mean())
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(prediction: Tensor, target: Tensor) -> float:
    """Structural similarity, -1..1, with the 11×11 Gaussian window of Wang et al. 2004, averaged over the batch.

    Raises:
        InputError: the shapes differ, or a side is shorter than the window.
    """
    from skimage.metrics import structural_similarity  # here, since it is slow to import

    _check(prediction, target)
    if min(prediction.shape[2:]) < 11:
        raise InputError(f"prediction is {list(prediction.shape)}: SSIM accepts sides of at least 11 pixels")
    pairs = zip(prediction.double().cpu().numpy(), target.double().cpu().numpy(), strict=True)
    values = [
        structural_similarity(
            a, b, channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in pairs
    ]
    return float(sum(values) / len(values))


def reconstruction_metrics(prediction: Tensor, target: Tensor) -> dict[str, float]:
    """All of them: `l1_recon`, `psnr_recon`, `ssim_recon`, as the spec's section 3.3 calls them."""
    with torch.no_grad():
        return {
            "l1_recon": l1(prediction, target),
            "psnr_recon": psnr(prediction, target),
            "ssim_recon": ssim(prediction, target),
        }


def edge_spread(result: Tensor, image: Tensor) -> float:
    """How much of a result's variation lies off the image's edges, 0..1: what leaked across them, or is soft.

    Variation is the absolute difference between neighbouring pixels, summed over channels. Edges are the tenth of the
    image's pixels with the strongest gradients (Sobel, after a Gaussian of one pixel) and the pixels next to them.

    Args:
        result: [B, C, H, W], any channels: an upsampled signal.
        image: [B, G, H, W], the image that it belongs to.

    Returns:
        0 where the result only changes at the image's edges, and where it does not change at all.

    Raises:
        InputError: the sizes differ.
    """
    from skimage.filters import gaussian, sobel

    if result.ndim != 4 or len(result) != len(image) or result.shape[2:] != image.shape[2:]:
        raise InputError(f"result is {list(result.shape)} and image {list(image.shape)}: accepted are equal sizes")
    strength = [
        np.sqrt(sum(sobel(gaussian(channel, 1)) ** 2 for channel in guide))  # [H, W]
        for guide in image.detach().float().cpu().numpy()
    ]
    strong = torch.from_numpy(np.stack([each >= np.quantile(each, 0.9) for each in strength])).float()
    near = F.max_pool2d(strong.to(result.device), 3, stride=1, padding=1) > 0  # [B, H, W]
    off, total = 0.0, 0.0
    for axis in (1, 2):
        variation = result.detach().diff(dim=axis + 1).abs().sum(1, dtype=torch.float32)  # [B, H - 1, W], [B, H, W - 1]
        first, second = (near.narrow(axis, start, variation.shape[axis]) for start in (0, 1))
        total += float(variation.sum())
        off += float(variation[~(first | second)].sum())
    return off / total if total > 0 else 0.0


def _check(prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape or prediction.ndim != 4:
        raise InputError(f"prediction is {list(prediction.shape)} and target {list(target.shape)}: accepted are equal")
