"""Read 16-bit colour and 16-bit grey with alpha from PNG and PPM, of which Pillow keeps 8 bits.

Pillow's decoders return all bytes if the image is given another mode than the file's: the low bytes of numbers first,
four channels of 8 bits for two of 16, one grey channel of triple width for three.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from torch import Tensor

from omniup.files.decoding import decode, open_image
from omniup.files.refusals import Subject
from omniup.files.sources import check_memory, stream_size

_GREY_WITH_ALPHA = "LA;16B"
"""Pillow's name for two channels of 16 bits, which it makes RGBA."""

_ROWS = 64
"""Rows that are converted at a time."""

_BYTES = 20
"""Bytes of a pixel, at most: of RGBA eight as 16-bit numbers, and twelve as guidance."""


@dataclass(frozen=True, eq=False)
class Deep:
    """An image as it is stored.

    Attributes:
        numbers: [C, H, W], upright.
        is_colour: whether the channels are grey or red, green and blue, and perhaps alpha.
        has_alpha: whether the last of them is alpha.
        is_rescaled: whether the numbers are not those of the file.
    """

    numbers: Tensor
    is_colour: bool
    has_alpha: bool = False
    is_rescaled: bool = False

    @property
    def white(self) -> int:
        """Number that stands for white, and for opaque."""
        return torch.iinfo(self.numbers.dtype).max

    @property
    def mode(self) -> str:
        """Name of the channels as Pillow has them."""
        return "LA" if len(self.numbers) == 2 else "RGBA" if self.has_alpha else "RGB"


def channels_of_deep_colour(image: ImageFile) -> int | None:
    """Return how many 16-bit channels an opened image has, of which Pillow would keep 8 bits; None for others."""
    if image.format == "PNG" and image.mode in ("RGB", "RGBA") and ";16B" in str(image.tile):
        return 2 if _GREY_WITH_ALPHA in str(image.tile) else len(image.mode)
    return 3 if image.format == "PPM" and image.mode == "RGB" and _largest(image) > 255 else None


def read_deep_colour(image: ImageFile, stream: BinaryIO, subject: Subject, *, max_pixels: int) -> Deep:
    """Read 16-bit colour.

    Args:
        image: opened, and not yet decoded; `channels_of_deep_colour` has said that it is such.
        stream: which it was opened from, seekable.
        subject: what refusals speak of.
        max_pixels: the largest image to accept.

    Raises:
        InputError: it is damaged or too large.
    """
    check_memory(image.width * image.height * _BYTES, stream_size(stream), subject)
    if image.format == "PPM":
        return _read_ppm(image, subject, max_pixels=max_pixels)
    if _GREY_WITH_ALPHA in str(image.tile):
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
        bytes_of = decode(image, subject, max_pixels=max_pixels, in_place=True)
        pair = np.empty((2, bytes_of.height, bytes_of.width), np.uint16)
        for rows, strip in _strips(bytes_of):
            pair[:, rows] = strip[0::2].astype(np.uint16) << 8 | strip[1::2]
        return Deep(torch.from_numpy(pair), is_colour=True, has_alpha=True)
    mode, transparent = image.mode, image.info.get("transparency")
    numbers: NDArray[np.uint16] = np.empty(0, np.uint16)
    # as if the low byte came first, Pillow keeps that one
    for order, shift in (("16B", 8), ("16L", 0)):
        stream.seek(0)
        image = open_image(stream, subject, max_pixels=max_pixels)
        image.tile = [tile._replace(args=str(tile.args).replace("16B", order)) for tile in image.tile]
        half = decode(image, subject, max_pixels=max_pixels, in_place=True)
        if shift:
            numbers = np.zeros((len(mode), half.height, half.width), np.uint16)
        for rows, strip in _strips(half):
            numbers[:, rows] |= strip.astype(np.uint16) << shift
    if isinstance(transparent, tuple):  # one colour that stands for nothing
        numbers[:, (numbers == np.array(transparent)[:, None, None]).all(0)] = 65535
    return Deep(torch.from_numpy(numbers), is_colour=True, has_alpha=mode == "RGBA")


def _read_ppm(image: ImageFile, subject: Subject, *, max_pixels: int) -> Deep:
    (tile,), largest, (width, height) = image.tile, _largest(image), image.size
    image._mode, image._size = "I", (3 * width, height)
    tile = tile._replace(extents=(0, 0, *image.size), args=("I", largest))
    if tile.codec_name == "ppm" and largest == 65535:  # for which there is a quicker one
        tile = tile._replace(codec_name="raw", args="I;16B")
    image.tile = [tile]
    numbers = np.asarray(decode(image, subject, max_pixels=3 * max_pixels, upright=False)).reshape(height, width, 3)
    return Deep(
        torch.from_numpy(numbers.transpose(2, 0, 1).astype(np.uint16, order="C")),
        is_colour=True,
        is_rescaled=largest != 65535,
    )


def _largest(image: ImageFile) -> int:
    """Return the largest number that a PPM declares; 255 for one that Pillow reads as bytes."""
    args = image.tile[0].args
    return int(args[1]) if isinstance(args, tuple) else 255


def _strips(image: Image.Image) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Yield strips of a decoded image, [channels, rows, W], with their rows."""
    for top in range(0, image.height, _ROWS):
        rows = slice(top, min(top + _ROWS, image.height))
        yield rows, np.asarray(image.crop((0, rows.start, image.width, rows.stop))).transpose(2, 0, 1)
