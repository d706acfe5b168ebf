"""Check pictures to restore, and resize them to their results' size."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError

MAX_PIXELS = 2**28
"""The largest picture that is made or worked on, in pixels."""


def check_image(image: Tensor, name: str = "image") -> None:
    """Refuse what is no batch of pictures [B, 3, H, W], floating point in 0..1, as the argument of this name."""
    if image.ndim != 4 or image.shape[1] != 3 or image.numel() == 0 or not image.is_floating_point():
        raise InputError(
            name,
            "is {dtype} of the shape {shape}",
            "floating point [B, 3, H, W]",
            dtype=image.dtype,
            shape=list(image.shape),
        )
    low, high = (bound.item() for bound in image.aminmax())
    if not (low >= 0 and high <= 1):  # not the other way round: a NaN fails every comparison
        raise InputError(name, "has values from {low:g} to {high:g}", "0 to 1", low=low, high=high)


def result_size(image: Tensor, scale: float, longest_side: int | None) -> tuple[int, int]:
    """Compute the size of a picture's result, from its scale or its longest side in pixels.

    Raises:
        InputError: it is not above 0, or too large.
    """
    name, wanted = ("scale", scale) if longest_side is None else ("longest_side", longest_side)
    if not 0 < wanted < math.inf:
        raise InputError(name, "is {value}", "numbers above 0", value=wanted)
    factor = scale if longest_side is None else longest_side / max(image.shape[2:])
    height, width = (max(1, rounded(side * factor)) for side in image.shape[2:])
    if height * width > MAX_PIXELS:
        raise InputError(
            name,
            "makes {height} × {width} pixels",
            "{most} pixels in all",
            height=height,
            width=width,
            most=MAX_PIXELS,
        )
    return height, width


def rounded(side: float) -> int:
    """Round to whole pixels, halves up, as browsers do."""
    return math.floor(side + 0.5)


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize bicubically, averaging where it shrinks."""
    if image.shape[2:] == size:
        return image
    shrinks = image.shape[2] > size[0] or image.shape[3] > size[1]
    return F.interpolate(image, size=size, mode="bicubic", align_corners=False, antialias=shrinks)
