"""Filtering a batch of images, each with a kernel of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def filter_each(images: Tensor, kernels: Tensor) -> Tensor:
    """Filter every image with its kernel; the images continue as their reflection beyond the border.

    Args:
        images: [B, C, H, W] of any size: a margin wider than the image is reflected more than once.
        kernels: [B, 1, kh, kw], kh and kw odd; not turned over, so this is a correlation.

    Returns:
        [B, C, H, W].
    """
    batch, channels = images.shape[:2]
    padded = _reflected(images, kernels.shape[2] // 2, kernels.shape[3] // 2)
    # As channels of one image with as many groups: on a CPU ten times faster than image after image.
    each = kernels.repeat_interleave(channels, dim=0)  # [B C, 1, kh, kw]
    return F.conv2d(padded.flatten(0, 1)[None], each, groups=batch * channels)[0].unflatten(0, (batch, channels))


def _reflected(images: Tensor, rows: int, columns: int) -> Tensor:
    """Add margins above and below, left and right: [B, C, H, W] to [B, C, H + 2 rows, W + 2 columns]."""
    height, width = images.shape[2:]
    y, x = _reflection(height, rows), _reflection(width, columns)
    pixels = (y[:, None] * width + x).flatten().to(images.device)  # where each of the padded image comes from
    padded = images.flatten(2).gather(2, pixels.expand(*images.shape[:2], -1))  # gather: faster than indexing
    return padded.unflatten(2, (len(y), len(x)))


def _reflection(length: int, margin: int) -> Tensor:
    """Which pixel is seen at each place from -margin to length + margin, the ends being mirrors: 2 1 [0 1 2 3] 2 1."""
    there_and_back = max(2 * (length - 1), 1)
    place = torch.arange(-margin, length + margin).remainder(there_and_back)
    return torch.minimum(place, there_and_back - place)
