"""Degrade images in two stages of blur, resize, noise and JPEG (Real-ESRGAN, arXiv 2107.10833, 3.2).

They are blurred by a lens, made smaller or larger, get noise, are compressed; then somebody edits the result and
sends it on, and it happens again.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.restoration.degradation.blur import filter_each
from omniup.restoration.degradation.config import Degradation
from omniup.restoration.degradation.draws import Draws, draw
from omniup.restoration.degradation.jpeg import compress
from omniup.restoration.degradation.kernels import Kernel, make_kernels
from omniup.restoration.degradation.noise import add_noise
from omniup.restoration.degradation.resize import resize
from omniup.restoration.degradation.sharpen import sharpen
from omniup.restoration.sizes import check_image


class Pair(NamedTuple):
    """A degraded image and the target of its restoration.

    Attributes:
        lq: [B, 3, H, W], the low-quality images, at full size.
        target: [B, 3, H, W], the sharpened ones.
        draws: what happened between them.
    """

    lq: Tensor
    target: Tensor
    draws: Draws


def degrade(images: Tensor, settings: Degradation, generator: torch.Generator) -> Pair:
    """Degrade a batch of images, each in its own way.

    Args:
        images: [B, 3, H, W] floating point in 0..1, on any device.
        settings: the ranges and probabilities.
        generator: on the CPU; from the same state follow the same results on the same device. Those of the first
            images do not depend on how many there are, but for rounding on a GPU.

    Returns:
        The pair, in the images' type, of 256 levels, so that an 8-bit picture holds it exactly.

    Raises:
        InputError: images of another shape or type, or not in 0..1.

    Example:
        >>> import torch
        >>> images = torch.rand(2, 3, 32, 48)
        >>> pair = degrade(images, Degradation(), torch.Generator().manual_seed(0))
        >>> pair.lq.shape, pair.draws.images[0].first.noise.kind
        (torch.Size([2, 3, 32, 48]), 'poisson')
    """
    check_image(images, "images")
    return apply(images, settings, draw(settings, len(images), generator))


@torch.no_grad()
def apply(images: Tensor, settings: Degradation, draws: Draws) -> Pair:
    """Degrade a batch of images as drawn by `draw` from the same settings; see `degrade`.

    Raises:
        InputError: the draws are for another number of images.
    """
    if len(draws.images) != len(images):
        raise InputError(
            "draws", "are for {count} images", "those for {images}", count=len(draws.images), images=len(images)
        )
    dtype = images.dtype
    images = images.to(torch.promote_types(dtype, torch.float32))  # half floats are not enough for 256 levels
    target = sharpen(images, settings.sharpening)
    full = images.shape[2], images.shape[3]
    batch = draws.batch
    first = [image.first for image in draws.images]
    second = [image.second for image in draws.images]

    lq = filter_images(target, [each.blur for each in first], settings.first.blur.size)
    lq = add_noise(resize(lq, full, batch.first), [each.noise for each in first])
    lq = _compress(lq, [each.quality for each in first])

    lq = filter_images(lq, [each.blur for each in second], settings.second.blur.size)
    lq = add_noise(resize(lq, full, batch.second), [each.noise for each in second])
    qualities = [each.quality for each in second]
    if not batch.jpeg_after:
        lq = _compress(lq, qualities)
    lq = filter_images(resize(lq, full, batch.last), [each.low_pass for each in draws.images], settings.last.size)
    if batch.jpeg_after:
        lq = _compress(lq, qualities)

    lq = F.interpolate(lq, full, mode="bicubic")
    return Pair(_levels(lq).to(dtype), _levels(target).to(dtype), draws)


def _compress(images: Tensor, qualities: list[int]) -> Tensor:
    """Compress images, but for those of quality 100, which at JPEG would lose half of their colours' resolution."""
    some = [place for place, quality in enumerate(qualities) if quality < 100]
    if len(some) == len(qualities):
        return compress(images, qualities)
    result = images.clone()
    if some:
        result[some] = compress(images[some], [qualities[place] for place in some])
    return result


def filter_images(images: Tensor, kernels: list[Kernel], sizes: tuple[int, int]) -> Tensor:
    """Filter each image with its kernel, all on a grid of the largest size there may be, whichever were drawn."""
    return filter_each(images, make_kernels(kernels, sizes[1]).to(images))


def _levels(images: Tensor) -> Tensor:
    """Clamp to 0..1 and round to 256 levels."""
    return (255 * images).round().clamp(0, 255) / 255
