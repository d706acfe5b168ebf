"""Read the raw numbers of an image file, for images that are measurements and not pictures."""

from __future__ import annotations

import re
from typing import BinaryIO

import numpy as np
import torch
from PIL.ImageFile import ImageFile
from torch import Tensor

from omniup.files.decoding import GREY_16_BIT, decode, open_image
from omniup.files.refusals import Subject

_MODES = ("1", "L", "P", *GREY_16_BIT, "F", "RGB")


def read_raw_image(stream: BinaryIO, subject: Subject, *, max_pixels: int) -> Tensor:
    """Read the numbers that an image stores, upright by its EXIF orientation.

    Args:
        stream: a seekable stream at its beginning.
        subject: what refusals speak of.
        max_pixels: the largest image to accept, by the size its header declares.

    Returns:
        [h, w] for grey, 1-bit and palette images (of a palette image the indices), [3, h, w] for RGB, in the type that
        holds the stored depth: bool, uint8, uint16, int32 or float32.

    Raises:
        InputError: the stream holds no image, a damaged or too large one, or one of another mode such as RGBA or CMYK;
            or Pillow would rescale its numbers, as it does 16-bit colour.
    """
    image = open_image(stream, subject, max_pixels=max_pixels)
    if image.mode not in _MODES:
        raise subject.refusal("is an image of the mode {mode}, not grey, RGB or palette", mode=image.mode)
    if _is_rescaled(image):
        raise subject.refusal("is an image of a bit depth that Pillow rescales, so its raw numbers would be lost")
    numbers = np.array(decode(image, subject, max_pixels=max_pixels, in_place=True))  # [h, w] or [h, w, 3]
    tensor = torch.from_numpy(numbers.astype(numbers.dtype.newbyteorder("="), copy=False))
    return tensor.permute(2, 0, 1).contiguous() if tensor.ndim == 3 else tensor  # moved while they are bytes


def _is_rescaled(image: ImageFile) -> bool:
    """Return whether decoding stretches the stored numbers to 8 or 16 bits, so that they are no longer raw.

    A file that Pillow has opened and not yet loaded says how in its tiles: `L;4`, `RGB;16B` and `BGR;15` all become 8
    bits, and the PPM family declares a largest value, which becomes 255 or 65535.
    """
    if image.format == "PPM" and image.mode in ("L", "I", "RGB"):
        largest = 65535 if image.mode == "I" else 255
        return any(isinstance(how, tuple) and how[1] != largest for *_, how in image.tile)
    return image.mode in ("L", "RGB") and any(re.search(r";\d", str(how)) for *_, how in image.tile)
