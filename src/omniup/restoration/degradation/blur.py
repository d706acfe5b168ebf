"""Filter a batch of images, each with a kernel of its own."""

from __future__ import annotations

import torch
from torch import Tensor

EASY = 16
"""Fourier transforms are quick at multiples of this many pixels; at a prime number they are not."""


def filter_each(images: Tensor, kernels: Tensor) -> Tensor:
    """Filter every image with its kernel; the images continue as their reflection beyond the border.

    Args:
        images: [B, C, H, W] of any size: a margin wider than the image is reflected more than once.
        kernels: [B or 1, 1, kh, kw], kh and kw odd; not turned over, so this is a correlation.

    Returns:
        [B, C, H, W].
    """
    height, width = images.shape[2:]
    padded = _reflected(images, kernels.shape[2] // 2, kernels.shape[3] // 2)
    # As a product of spectra: as quick for a kernel of 51 pixels as for one of 7, and for one image as for a batch.
    period = [-(-side // EASY) * EASY for side in padded.shape[2:]]
    product = torch.fft.rfft2(padded, period) * torch.fft.rfft2(kernels, period).conj()
    return torch.fft.irfft2(product, period)[:, :, :height, :width]


def _reflected(images: Tensor, rows: int, columns: int) -> Tensor:
    """Add margins above and below, left and right: [B, C, H, W] to [B, C, H + 2 rows, W + 2 columns]."""
    height, width = images.shape[2:]
    y, x = _reflection(height, rows), _reflection(width, columns)
    pixels = (y[:, None] * width + x).flatten().to(images.device)  # where each of the padded image comes from
    padded = images.flatten(2).gather(2, pixels.expand(*images.shape[:2], -1))  # gather: faster than indexing
    return padded.unflatten(2, (len(y), len(x)))


def _reflection(length: int, margin: int) -> Tensor:
    """Return the pixel seen at each place from -margin to length + margin between mirrors: 2 1 [0 1 2 3] 2 1."""
    there_and_back = max(2 * (length - 1), 1)
    place = torch.arange(-margin, length + margin).remainder(there_and_back)
    return torch.minimum(place, there_and_back - place)
