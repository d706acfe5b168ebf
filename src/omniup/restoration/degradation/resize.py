"""Resize a batch without antialiasing, as pictures are resized in practice."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from omniup.restoration.degradation.config import ResizeMode


@dataclass(frozen=True)
class Resize:
    """A change of size.

    Attributes:
        factor: of both sides, of the full size.
        mode: how to interpolate.
    """

    factor: float
    mode: ResizeMode


def resize(images: Tensor, full: tuple[int, int], to: Resize) -> Tensor:
    """Resize images to a fraction of the full size.

    Args:
        images: [B, C, h, w] in 0..1.
        full: (H, W), in pixels.
        to: the factor and the mode.

    Returns:
        [B, C, h', w'], at least one pixel wide and high; bicubic interpolation may leave 0..1.
    """
    height, width = (max(1, round(to.factor * side)) for side in full)
    if images.shape[2:] == (height, width):  # where every mode would give the images back
        return images
    return F.interpolate(images, (height, width), mode=to.mode)
