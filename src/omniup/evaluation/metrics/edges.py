"""Measure how much of a result varies off the edges of its image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError


def edge_spread(result: Tensor, image: Tensor) -> float:
    """Compute how much of a result's variation lies off the image's edges; see `image_edges` and `spread_off`.

    Args:
        result: [B, C, H, W], any channels: an upsampled signal.
        image: [B, G, H, W], the image that it belongs to.

    Raises:
        InputError: the sizes differ.
    """
    return spread_off(result, image_edges(image))


def image_edges(image: Tensor) -> Tensor:
    """Find an image's edges: the tenth of its pixels with the strongest gradients, and the pixels next to them.

    Gradients are Sobel's, after a Gaussian of one pixel.

    Args:
        image: [B, G, H, W].

    Returns:
        [B, H, W] bool, on the image's device.
    """
    from skimage.filters import gaussian, sobel

    strength = [
        np.sqrt(sum(sobel(gaussian(channel, 1)) ** 2 for channel in guide))  # [H, W]
        for guide in image.detach().float().cpu().numpy()
    ]
    strong = torch.from_numpy(np.stack([each >= np.quantile(each, 0.9) for each in strength])).float()
    return F.max_pool2d(strong.to(image.device), 3, stride=1, padding=1) > 0


def spread_off(result: Tensor, edges: Tensor) -> float:
    """Compute how much of a result's variation lies off an image's edges, 0..1: leaked across them, or soft.

    Variation is the absolute difference between neighbouring pixels, summed over channels.

    Args:
        result: [B, C, H, W], any channels: an upsampled signal.
        edges: [B, H, W], as `image_edges` finds them.

    Returns:
        0 where the result only changes at the edges, and where it does not change at all.

    Raises:
        InputError: the sizes differ.
    """
    if result.ndim != 4 or (len(result), *result.shape[2:]) != edges.shape:
        raise InputError(
            "result",
            "has the shape {result}, and the image's edges {edges}",
            "equal sizes",
            result=list(result.shape),
            edges=list(edges.shape),
        )
    near = edges.to(result.device)
    off, total = 0.0, 0.0
    for axis in (1, 2):
        variation = result.detach().diff(dim=axis + 1).abs().sum(1, dtype=torch.float32)  # [B, H - 1, W], [B, H, W - 1]
        first, second = (near.narrow(axis, start, variation.shape[axis]) for start in (0, 1))
        total += float(variation.sum())
        off += float(variation[~(first | second)].sum())
    return off / total if total > 0 else 0.0
