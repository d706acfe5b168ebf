"""Add Gaussian and Poisson noise, in colour or grey, each image from a seed of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in grey (ITU-R BT.601), as in JPEG."""


@dataclass(frozen=True)
class Noise:
    """The noise of one image.

    Attributes:
        kind: from a sensor's electronics, the same everywhere, or from counting photons, stronger where it is bright.
        strength: the standard deviation, of 255; or a factor of Poisson noise.
        grey: the same in all channels.
        seed: what it is drawn from.
    """

    kind: Literal["gaussian", "poisson"]
    strength: float
    grey: bool
    seed: int


def add_noise(images: Tensor, noises: Sequence[Noise]) -> Tensor:
    """Add noise to every image.

    Args:
        images: [B, 3, H, W].
        noises: B of them.

    Returns:
        [B, 3, H, W] in 0..1. The noise of an image is the same in any batch, but not on another type of device.
    """
    return torch.stack([image + _noise(image, noise) for image, noise in zip(images, noises, strict=True)]).clamp(0, 1)


def _noise(image: Tensor, noise: Noise) -> Tensor:
    """Draw the noise [3 or 1, H, W] of an image [3, H, W]."""
    generator = torch.Generator(image.device).manual_seed(noise.seed)
    if noise.kind == "poisson":
        light = (image.new_tensor(LUMA) @ image.flatten(1)).view(1, *image.shape[1:]) if noise.grey else image
        return noise.strength * _shot_noise(light, generator)
    shape = (1 if noise.grey else len(image), *image.shape[1:])
    return noise.strength / 255 * torch.randn(shape, generator=generator, dtype=image.dtype, device=image.device)


def _shot_noise(light: Tensor, generator: torch.Generator) -> Tensor:
    """Draw shot noise: a count of photons, n of them a pixel where the light is 1, less the light.

    As in scikit-image's `random_noise`, n is the number of different levels, rounded up to a power of two: 256 for
    most photographs of 8 bits.
    """
    levels = (255 * light).round().clamp(0, 255)
    different = int(levels.flatten().int().bincount(minlength=256).count_nonzero())
    photons = 2 ** (different - 1).bit_length()
    expected = levels / 255 * photons
    return (torch.poisson(expected, generator) - expected) / photons
