"""Scale the bands of a sensor, which come in units of its own, to the 0..1 of guidance."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omniup.errors import InputError
from omniup.upsamplers.checks import as_signal, as_tensor, channels_first
from omniup.upsamplers.holes import check_valid

PERCENTILES = (1.0, 99.0)
"""Percentiles of black and white among a band's values: a few clouds or dead pixels do not decide the contrast."""


def scale_bands(
    image: Tensor | NDArray[Any],
    percentiles: tuple[float, float] = PERCENTILES,
    *,
    valid: Tensor | NDArray[Any] | None = None,
) -> Tensor:
    """Scale each band of each image to 0..1, from a low percentile of its values to a high one.

    Args:
        image: a tensor [B, G, H, W], or an array [H, W], [H, W, G] or [G, H, W], as `upsample` takes them; of any
            numbers, such as the reflectances of a satellite or temperatures.
        percentiles: of a band's values, those that become 0 and 1; what lies beyond is clamped.
        valid: boolean [B, 1, H, W] or [H, W], the pixels that have a value, of which percentiles are taken; others
            become 0. None for all.

    Returns:
        [B, G, H, W] float32 on the image's device. A band of one value becomes 0.

    Raises:
        InputError: another shape or type, values that are not finite, no two ascending percentiles, or
            no valid pixel.

    Example:
        >>> bands = np.arange(24).reshape(2, 3, 4) * 1000
        >>> scale_bands(bands).shape
        torch.Size([1, 4, 2, 3])
    """
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise InputError("percentiles", "is {value}", "two ascending numbers from 0 to 100", value=percentiles)
    numbers = as_tensor(image, "image")
    if isinstance(image, np.ndarray) and image.ndim in (2, 3):
        numbers = channels_first(numbers)[None]
    bands = as_signal(numbers, "image").detach()  # [B, G, H, W]
    result = torch.empty(bands.shape, device=bands.device)
    masks = None if valid is None else check_valid(valid, bands).cpu().numpy()  # [B, 1, H, W]
    for number, (image_bands, scaled) in enumerate(zip(bands, result, strict=True)):
        for band, out in zip(image_bands, scaled, strict=True):  # [H, W], one at a time for the memory
            values = band.double().cpu().numpy()
            if not np.isfinite(values).all():
                raise InputError("image", "holds NaN or infinite values", "finite values")
            black, white = np.percentile(values if masks is None else values[masks[number, 0]], (low, high))
            if white > black:
                out.copy_(torch.from_numpy((values - black) / (white - black)).clamp_(0, 1))
            else:
                out.zero_()
    return result if masks is None else result.masked_fill_(torch.from_numpy(~masks).to(result.device), 0)
