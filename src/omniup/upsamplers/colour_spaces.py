"""Where colours are compared: as the guidance has them, or in OKLab, where distances are about what an eye sees."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

ColourSpace: TypeAlias = Literal["given", "oklab"]

#: How much more a difference of hue or saturation counts than one of lightness. Shadows and shading change lightness
#: within one thing; from one thing to the next hues change, and their numbers in OKLab are small.
CHROMA = 3.0

# Linear RGB to the responses of three cones, and their cube roots to lightness, green-red, blue-yellow
# (B. Ottosson, "A perceptual color space for image processing", 2020).
_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def oklab(image: Tensor) -> Tensor:
    """Bring sRGB colours to OKLab, its two axes of chroma stretched by `CHROMA`.

    Args:
        image: [B, 3, H, W], sRGB in 0..1.

    Returns:
        [B, 3, H, W]: lightness in 0..1, and three times a and b, within -1..1.

    Example:
        >>> oklab(torch.ones(1, 3, 1, 1)).flatten().round(decimals=4).abs().tolist()
        [1.0, 0.0, 0.0]
    """
    linear = torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    cones = torch.einsum("ij,bjhw->bihw", image.new_tensor(_CONES), linear).clamp_min_(0) ** (1 / 3)
    axes = image.new_tensor(_LAB) * image.new_tensor([[1.0], [CHROMA], [CHROMA]])
    return torch.einsum("ij,bjhw->bihw", axes, cones)


def to_colour_space(image: Tensor, space: ColourSpace) -> Tensor:
    """Bring guidance [B, G, H, W] in 0..1 to the space that its colours are compared in."""
    return oklab(image) if space == "oklab" else image
