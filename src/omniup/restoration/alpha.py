"""Keep the alpha of a picture that is restored over white."""

from __future__ import annotations

import torch
from torch import Tensor

from omniup.restoration.sizes import resize


def with_alpha(restored: Tensor, alpha: Tensor) -> Tensor:
    """Give a restored picture the alpha of the original, resized.

    Its colours are divided by it, so that the result over white is the restored picture, up to what 0..1 can hold. So
    white does not stay at the edges when it is laid over something else.

    Args:
        restored: [1, 3, H', W'] in 0..1, made from the original over white.
        alpha: [1, 1, H, W] in 0..1.

    Returns:
        [1, 4, H', W'] in 0..1, on the restored picture's device.
    """
    size = restored.shape[2], restored.shape[3]
    resized = resize(alpha.to(restored), size).clamp(0, 1)  # [1, 1, H', W'], as the picture was
    white = 1 - resized  # [1, 1, H', W']
    colours = torch.where(resized > 0, (restored - white) / resized.clamp(min=_SMALLEST), 1).clamp(0, 1)
    return torch.cat([colours, resized], dim=1)


_SMALLEST = 1e-6
"""Alpha that colours are divided by at least; what is more transparent has no visible colour."""
