"""Sharpen training targets by unsharp masking: a restorer learns the sharpness of its targets."""

from __future__ import annotations

import torch
from torch import Tensor

from omniup.restoration.degradation.blur import filter_each
from omniup.restoration.degradation.config import SharpeningSettings


def sharpen(images: Tensor, settings: SharpeningSettings) -> Tensor:
    """Add the difference from a blur, near edges only: noise in flat regions is not enlarged.

    Where the difference from the blurred image passes the threshold, it is added; the mask of these places is blurred
    likewise, so that it fades out (Real-ESRGAN, arXiv 2107.10833).

    Args:
        images: [B, C, H, W] in 0..1.
        settings: the blur, how much is added, and from which difference on.

    Returns:
        [B, C, H, W] in 0..1.
    """
    details = images - _smooth(images, settings)
    sharp = (images + settings.weight * details).clamp(0, 1)
    is_edge = (255 * details.abs() > settings.threshold).to(images)
    return torch.lerp(images, sharp, _smooth(is_edge, settings))


def _smooth(images: Tensor, settings: SharpeningSettings) -> Tensor:
    """Blur with a Gaussian."""
    x = torch.arange(settings.size, dtype=torch.float64) - settings.size // 2  # [size]
    line = torch.softmax(-0.5 * (x / settings.sigma).square(), 0)  # which makes their sum 1
    return filter_each(images, torch.outer(line, line)[None, None].to(images))
