"""Compress a batch as JPEG on its device, each image at a quality of its own, as libjpeg does.

Baseline JPEG (ITU-T T.81) as libjpeg and Pillow write and read it by default: 8-bit levels are converted to YCbCr, the
chroma is subsampled (4:2:0), blocks of 8 × 8 are transformed and their coefficients quantised with the standard tables;
then back, the chroma upsampled by a triangle filter. Numbers are rounded where libjpeg rounds them, hence its results
to within a few levels at a few blocks. Entropy coding is lossless and left out. `tests/oracles/jpeg.py` has the
transform by its definition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 8

_LUMA_STEPS = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_STEPS = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
"""Steps of the coefficients at quality 50 (T.81, tables K.1 and K.2)."""

_FROM_RGB = ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
"""Y, Cb and Cr of red, green and blue in 65536ths, as in libjpeg: float32 holds all products and sums exactly."""

_TO_RGB = ((1, 0, 1.402), (1, -0.344136286, -0.714136286), (1, 1.772, 0))
"""Red, green and blue of Y, Cb and Cr (JFIF)."""


@torch.no_grad()
def compress(images: Tensor, qualities: Sequence[int]) -> Tensor:
    """Encode images as JPEG and decode them again.

    Args:
        images: [B, 3, H, W]; rounded to 256 levels, and what lies outside of 0..1 is cut off.
        qualities: B of them, 1 to 100, on the scale of libjpeg.

    Returns:
        [B, 3, H, W] in 0..1, of 256 levels.
    """
    # On a CPU image after image: what lies between the codec's steps stays in the caches.
    at_once = 1 if images.device.type == "cpu" else len(images)
    steps = torch.stack([quantisation_steps(quality) for quality in qualities]).to(images)  # [B, 2, 64]
    parts = zip(images.split(at_once), steps.split(at_once), strict=True)
    return torch.cat([_compress(*part) for part in parts])


def quantisation_steps(quality: int) -> Tensor:
    """Return the steps of luma's and chroma's coefficients at a quality, as libjpeg scales the standard tables.

    Returns:
        [2, 64] in 1..255, row after row of the blocks.
    """
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor((_LUMA_STEPS, _CHROMA_STEPS)) * percent + 50) // 100).clamp(1, 255)


def quantise_blocks(planes: Tensor, steps: Tensor) -> Tensor:
    """Round the coefficients of all blocks of 8 × 8 to multiples of their steps.

    Args:
        planes: [B, C, 8·h, 8·w], whole numbers in -128..127.
        steps: [B, 64], row after row of the blocks.

    Returns:
        [B, C, 8·h, 8·w], whole numbers in -128..127.
    """
    waves = _waves().to(planes)
    rows, columns = planes.shape[2:]
    blocks = (*planes.shape[:2], rows // _BLOCK, _BLOCK, columns // _BLOCK, _BLOCK)
    lines = (*blocks[:4], columns)
    # Each pass gives √8 times its definition, and libjpeg keeps whole numbers: quarters in between, eighths at the end.
    quarters = _nearest(4 * planes.reshape(blocks) @ waves.T)
    eighths = _nearest(waves @ quarters.view(lines) / 4).view(blocks)  # [B, C, h, 8, w, 8], of coefficients
    steps = steps.view(-1, 1, 1, _BLOCK, 1, _BLOCK)
    multiples = eighths / (8 * steps)
    coefficients = torch.trunc(multiples + multiples.sign() / 2) * steps
    quarters = _nearest(4 * waves.T @ coefficients.view(lines))
    levels = _nearest(quarters.view(blocks) @ waves / 32)
    return levels.view(planes.shape).clamp(-128, 127)


def _compress(images: Tensor, steps: Tensor) -> Tensor:
    """Encode and decode images [B, 3, H, W] with steps [B, 2, 64]."""
    height, width = images.shape[2:]
    levels = (images.clamp(0, 1) * 255).round()
    luma, chroma = (_colours(levels, _FROM_RGB) / 2**16).split((1, 2), dim=1)
    luma = (luma + 0.5).floor() - 128  # [B, 1, H, W]
    chroma = _halved((chroma + (0.5 - 2**-16)).floor())  # [B, 2, ⌈H/2⌉, ⌈W/2⌉ or more]
    luma = quantise_blocks(_whole_blocks(luma), steps[:, 0])[:, :, :height, :width]
    chroma = quantise_blocks(_whole_blocks(chroma), steps[:, 1])[:, :, : (height + 1) // 2, : (width + 1) // 2]
    chroma = _doubled(chroma)[:, :, :height, :width]
    decoded = _colours(torch.cat([luma + 128, chroma], dim=1), _TO_RGB)  # [B, 3, H, W]
    return decoded.round().clamp(0, 255) / 255


def _colours(images: Tensor, matrix: Sequence[Sequence[float]]) -> Tensor:
    """Multiply the channels of images [B, 3, H, W] by a matrix."""
    return (images.new_tensor(matrix) @ images.flatten(2)).view(images.shape)


def _halved(chroma: Tensor) -> Tensor:
    """Average 2 × 2 pixels; borders are repeated, across to whole blocks."""
    down, across = -chroma.shape[2] % 2, -chroma.shape[3] % (2 * _BLOCK)
    means = F.avg_pool2d(F.pad(chroma, (0, across, 0, down), mode="replicate"), 2)  # [B, 2, h, w]
    return _rounded(means, (1 / 4, 1 / 2))


def _doubled(chroma: Tensor) -> Tensor:
    """Enlarge to twice the size by a triangle filter."""
    return _rounded(F.interpolate(chroma, scale_factor=2, mode="bilinear"), (1 / 2, 7 / 16))


def _rounded(planes: Tensor, bias: tuple[float, float]) -> Tensor:
    """Round with one bias in even columns and another in odd ones, so that halves do not all go the same way."""
    return (planes + planes.new_tensor(bias).repeat(planes.shape[3] // 2)).floor()


def _whole_blocks(planes: Tensor) -> Tensor:
    """Repeat the last row and column up to whole blocks."""
    down, across = (-side % _BLOCK for side in planes.shape[2:])
    return F.pad(planes, (0, across, 0, down), mode="replicate")


def _waves() -> Tensor:
    """Return the cosine transform of eight pixels, √8 times as large: [8 frequencies, 8 pixels] float64."""
    frequencies = torch.arange(_BLOCK, dtype=torch.float64)
    phases = (2 * frequencies + 1) * math.pi / (2 * _BLOCK)
    waves = math.sqrt(2) * (frequencies[:, None] * phases).cos()
    waves[0] = 1
    return waves


def _nearest(numbers: Tensor) -> Tensor:
    """Round to whole numbers, halves up."""
    return (numbers + 0.5).floor()
