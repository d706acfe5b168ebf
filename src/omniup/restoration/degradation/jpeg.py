"""Compress a batch as JPEG on its device, each image at a quality of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from omniup.errors import optional_import


def compress(images: Tensor, qualities: Sequence[int]) -> Tensor:
    """Encode images as JPEG and decode them again, with kornia's differentiable codec (Reich et al., WACV 2024).

    It rounds softly, so that gradients pass: of a coefficient's distance r from a whole number r³ stays. The result is
    therefore 0.2 to 0.8 dB closer to the image than that of libjpeg, and 36 to 46 dB from the latter.

    Args:
        images: [B, 3, H, W]; what lies outside of 0..1 is cut off.
        qualities: B of them, 1 to 100, on the scale of libjpeg.

    Returns:
        [B, 3, H, W] in 0..1.

    Raises:
        MissingPackageError: kornia is not installed.
    """
    codec = optional_import("kornia.enhance", extra="restore").jpeg_codec_differentiable
    # On a CPU image after image: what lies between the codec's steps stays in the caches, which is three times as fast.
    at_once = 1 if images.device.type == "cpu" else len(images)
    parts = images.clamp(0, 1).split(at_once)
    strengths = torch.tensor(qualities, dtype=images.dtype).split(at_once)  # kornia checks them, for which a GPU waits
    return torch.cat([codec(*part) for part in zip(parts, strengths, strict=True)]).clamp(0, 1)
