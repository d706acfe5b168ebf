"""Read the raw numbers of an image file, for images that are measurements and not pictures."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image
from PIL.ImageFile import ImageFile
from torch import Tensor

from omniup.files.arrays import CheckShape
from omniup.files.decoding import GREY_16_BIT, MAX_PIXELS, decode, decoded_bytes, frame_numbers, open_image
from omniup.files.deep import read_deep
from omniup.files.refusals import Subject
from omniup.files.sources import check_memory, stream_size

logger = logging.getLogger(__name__)

_OTHER_MODE = "is an image of the mode {mode}, not grey, RGB or palette"
_RESCALED = "is an image of a bit depth that Pillow rescales, so its raw numbers would be lost"
_MODES = ("1", "L", "P", *GREY_16_BIT, "F", "RGB")
_COLOURS = 3

_KEPT = 9
"""Bytes of a number, at most: as it is stored, and as float32 or int64."""


class RawImage(NamedTuple):
    """Numbers that an image stores.

    Attributes:
        numbers: [h, w] or [C, h, w].
        palette: the colours of a palette image, red, green and blue for each label in turn; None for anything else.
    """

    numbers: Tensor
    palette: list[int] | None = None


def read_raw_image(
    stream: BinaryIO, subject: Subject, *, max_bytes: int, check_shape: CheckShape | None = None
) -> RawImage:
    """Read the numbers that an image stores, upright by its EXIF orientation.

    Args:
        stream: a seekable stream at its beginning.
        subject: what refusals speak of.
        max_bytes: the largest image to accept, by what it takes as float32.
        check_shape: called with the shape that the header declares, [1, C, h, w], before anything is decoded.

    Returns:
        [h, w] for grey, 1-bit and palette images (of a palette image the indices), [3, h, w] for RGB whose channels are
        not all equal, [C, h, w] for the bands of a TIFF, in the type that holds the stored depth: bool, uint8, uint16,
        int32, float32 or another. The pages of a TIFF and the frames of an animation, these in RGB, follow each other
        as channels.

    Raises:
        InputError: the stream holds no image, a damaged or too large one, or one of another mode such as RGBA or CMYK;
            or Pillow would rescale its numbers.
    """
    max_pixels = min(MAX_PIXELS, max_bytes // 12)  # in three channels of float32
    deep = read_deep(stream, subject, max_pixels=max_pixels, max_bytes=max_bytes, check_shape=check_shape)
    if deep is not None:
        if deep.has_alpha:
            raise subject.refusal(_OTHER_MODE, mode=deep.mode)
        if deep.is_rescaled:
            raise subject.refusal(_RESCALED)
        return RawImage(_without_equal_channels(deep.numbers, subject))
    bytes_held, image = stream_size(stream), open_image(stream, subject, max_pixels=max_pixels)
    with subject.attempt("read"):
        numbers = frame_numbers(image)
    channels = len(numbers) * (3 if image.mode == "RGB" or _is_animation(image, numbers) else 1)
    if check_shape is not None:
        check_shape((1, channels, image.height, image.width))
    if (size := 4 * channels * image.height * image.width) > max_bytes:
        raise subject.refusal("declares {size} bytes, more than the limit of {most}", size=size, most=max_bytes)
    check_memory((decoded_bytes(image) + _KEPT * channels) * image.height * image.width, bytes_held, subject)
    if len(numbers) > 1:
        return RawImage(_frames(image, numbers, subject, max_pixels=max_pixels))
    _check_mode(image, subject)
    decoded = decode(image, subject, max_pixels=max_pixels, in_place=True)
    palette = decoded.getpalette() if decoded.mode == "P" else None
    return RawImage(_without_equal_channels(_tensor(decoded), subject), palette)


def _without_equal_channels(numbers: Tensor, subject: Subject) -> Tensor:
    """Return one channel as [h, w], also of grey that is stored as colour; others as they are, [C, h, w]."""
    if len(numbers) == _COLOURS and all(torch.equal(numbers[0], channel) for channel in numbers[1:]):
        logger.warning("%s: three equal channels, which are taken for one", subject.name)
        return numbers[0]
    return numbers[0] if len(numbers) == 1 else numbers


def _frames(image: ImageFile, numbers: Sequence[int], subject: Subject, *, max_pixels: int) -> Tensor:
    """Read pages or frames as channels: [n, h, w], or [3 n, h, w] for those in colour."""
    frames = []
    for number in numbers:
        with subject.attempt("read"):
            image.seek(number)
        if _is_animation(image, numbers):
            frame = decode(image, subject, max_pixels=max_pixels, upright=False).convert("RGB")
        else:
            _check_mode(image, subject)
            frame = decode(image, subject, max_pixels=max_pixels, upright=False)
        frames.append(_tensor(frame))
        if frames[-1].shape != frames[0].shape or frames[-1].dtype != frames[0].dtype:
            raise subject.refusal("has pages of several sizes or types")
    return torch.cat(frames)


def _is_animation(image: ImageFile, numbers: Sequence[int]) -> bool:
    return len(numbers) > 1 and image.format in ("GIF", "WEBP", "PNG")


def _check_mode(image: ImageFile, subject: Subject) -> None:
    if image.mode not in _MODES:
        raise subject.refusal(_OTHER_MODE, mode=image.mode)
    if _is_rescaled(image):
        raise subject.refusal(_RESCALED)


def _tensor(image: Image.Image) -> Tensor:
    numbers = np.array(image)  # [h, w] or [h, w, 3]
    tensor = torch.from_numpy(numbers.astype(numbers.dtype.newbyteorder("="), copy=False))
    return tensor.permute(2, 0, 1).contiguous() if tensor.ndim == 3 else tensor[None]  # moved while they are bytes


def _is_rescaled(image: ImageFile) -> bool:
    """Return whether decoding stretches the stored numbers to 8 or 16 bits, so that they are no longer raw.

    A file that Pillow has opened and not yet loaded says how in its tiles: `L;4`, `RGB;16B` and `BGR;15` all become 8
    bits, and the PPM family declares a largest value, which becomes 255 or 65535.
    """
    if image.format == "PPM" and image.mode in ("L", "I", "RGB"):
        largest = 65535 if image.mode == "I" else 255
        return any(isinstance(how, tuple) and how[1] != largest for *_, how in image.tile)
    return image.mode in ("L", "RGB") and any(re.search(r";\d", str(how)) for *_, how in image.tile)
