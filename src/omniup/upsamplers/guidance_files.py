"""Read guidance from files in 0..1: pictures as they are, the bands of a sensor and arrays scaled one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from omniup.files import MAX_PIXELS, SAMPLE, Source, read_guidance, read_nodata, read_orientation, read_photograph
from omniup.files.orientation import turn_back
from omniup.upsamplers.bands import scale_bands
from omniup.upsamplers.checks import OVERSHOOT, ImageLike, Size, as_guidance, check_choice
from omniup.upsamplers.holes import cells_without
from omniup.upsamplers.representation import ShortRepr

Picture: TypeAlias = "ImageLike | str | Path"
"""An image, its file, or `sample:NAME`."""

ORIENTATIONS = ("auto", "upright", "stored")

QUARTER_TURN = 5
"""The EXIF orientations from here on turn by 90°."""


@dataclass(frozen=True, eq=False, repr=False)
class GuidanceFile(ShortRepr):
    """Guidance as its file holds it.

    Attributes:
        values: [1, G, H, W], upright; in 0..1, or uint8, which methods convert.
        orientation: the EXIF orientation that it was turned by.
        scaled_from: the smallest and the largest value before bands were scaled; None where they were not.
    """

    values: Tensor
    orientation: int = 1
    scaled_from: tuple[float, float] | None = None

    def size(self, orientation: str) -> Size:
        """Return (H, W), in pixels: of the stored picture where the user says that the signal lies like it."""
        height, width = self.values.shape[2:]
        is_turned = orientation == "stored" and self.orientation >= QUARTER_TURN
        return (width, height) if is_turned else (height, width)

    def lying_like(self, grid: Size, orientation: str) -> tuple[Tensor, bool]:
        """Turn the guidance the way that the signal lies.

        Args:
            grid: (h, w) of the signal.
            orientation: `"upright"`, `"stored"`, or `"auto"`: as it is stored if the EXIF orientation is a quarter turn
                and the signal's aspect is nearer to that of the stored picture.

        Returns:
            [1, G, H, W], and whether `"auto"` decided for the stored picture.

        Raises:
            InputError: there is no such choice.
        """
        check_choice("orientation", orientation, ORIENTATIONS)
        (height, width), (rows, columns) = self.size("upright"), grid
        upright_error, stored_error = (
            abs(math.log(rows * side / (columns * other))) for side, other in ((width, height), (height, width))
        )
        is_found = orientation == "auto" and self.orientation >= QUARTER_TURN and stored_error < upright_error
        if orientation != "stored" and not is_found:
            return self.values, False
        stored = np.ascontiguousarray(turn_back(self.values.numpy(), self.orientation))
        return torch.from_numpy(stored), is_found


def opened(image: Picture) -> ImageLike:
    """Read an image, upright, where a path is given; return others as they are.

    Raises:
        InputError: it cannot be read.
    """
    if isinstance(image, str) and image.startswith(SAMPLE):
        return read_photograph(image)
    return read_guidance_file(image).values if isinstance(image, (str, Path)) else image


def read_guidance_file(
    source: Source, *, name: str | None = None, max_pixels: int = MAX_PIXELS, max_values: int | None = None
) -> GuidanceFile:
    """Read guidance: a picture, the bands of a sensor, an array. Pixels with a GeoTIFF's no-data number are black.

    Args:
        source: as for `omniup.files.read_guidance`.
        name: likewise.
        max_pixels: likewise.
        max_values: likewise.

    Raises:
        InputError: likewise.
    """
    numbers = read_guidance(source, name=name, max_pixels=max_pixels, max_values=max_values)
    orientation, nodata = read_orientation(source), read_nodata(source)
    valid = None  # [1, 1, H, W]
    if nodata is not None and not bool((numbers == nodata).all()):  # a picture of nothing else is one of one colour
        valid = cells_without(numbers, [nodata])
    numbers = numbers if valid is None else numbers.masked_fill(~valid, 0)
    if numbers.dtype == torch.uint8:
        return GuidanceFile(numbers, orientation)
    low, high = (bound.item() for bound in (numbers if valid is None else numbers[:, :, valid[0, 0]]).aminmax())
    if low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        return GuidanceFile(as_guidance(numbers), orientation)
    return GuidanceFile(scale_bands(numbers, valid=valid), orientation, (low, high))
