"""Read images of which Pillow would keep 8 bits, three channels or nothing: 16-bit colour, TIFF of many bands, EXR."""

from __future__ import annotations

import math
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from omniup.errors import InputError, check_installed
from omniup.files.arrays import CheckShape
from omniup.files.decoding import TIFF_BOUNDED, check_held, open_image
from omniup.files.deep_colour import Deep, channels_of_deep_colour, read_deep_colour
from omniup.files.high_range import read_high_range
from omniup.files.orientation import turn_upright
from omniup.files.refusals import Subject
from omniup.files.sources import check_memory, stream_size

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The first bytes of a TIFF, and of a BigTIFF."""

_SAMPLES_PER_PIXEL, _BITS_PER_SAMPLE, _EXTRA_SAMPLES, _ORIENTATION = 277, 258, 338, 274
_ALPHA = (1, 2)  # of the tag ExtraSamples: premultiplied or not

_PLAIN = (1, 8, 32773, 32946)
"""TIFF's compressions that tifffile reads by itself: none, deflate by its two numbers, PackBits."""

_FLOAT_PREDICTOR = 3


def read_deep(
    stream: BinaryIO,
    subject: Subject,
    *,
    max_pixels: int,
    max_bytes: int,
    check_shape: CheckShape | None = None,
) -> Deep | None:
    """Read an image if Pillow would lose bits or channels of it.

    Args:
        stream: a seekable stream at its beginning, where it is left.
        subject: what refusals speak of.
        max_pixels: the largest image to accept, by the size its header declares.
        max_bytes: the largest image to accept, by what it takes in memory.
        check_shape: called with the shape that the header declares, [1, C, H, W], before anything is decoded.

    Returns:
        The image; None for one that Pillow reads as it is, and for what is no image.

    Raises:
        InputError: it is damaged or too large, or a package is missing for its compression.
    """
    light = read_high_range(stream, subject, max_pixels=max_pixels, max_bytes=max_bytes, check_shape=check_shape)
    if light is not None:
        return Deep(light, is_colour=False)
    is_tiff = stream.read(4) in TIFF
    stream.seek(0)
    try:
        image = open_image(stream, subject, max_pixels=max_pixels)
    except InputError:
        stream.seek(0)
        if is_tiff and stream_size(stream) > 8:  # Pillow knows few of its kinds
            return _tiff(stream, subject, max_pixels, max_bytes, check_shape)
        return None
    if isinstance(image, TiffImageFile):
        with subject.attempt("read"):  # a tag is read when it is asked for
            samples = image.tag_v2.get(_SAMPLES_PER_PIXEL, 1)
            is_deep = samples > 1 and max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))) > 8
            has_alpha = set(image.tag_v2.get(_EXTRA_SAMPLES, (0,))) & {*_ALPHA}
            has_bands = samples > 3 and not has_alpha and image.mode != "CMYK"
        stream.seek(0)
        if is_deep or has_bands:
            return _tiff(stream, subject, max_pixels, max_bytes, check_shape)
        return None
    channels = channels_of_deep_colour(image)
    if channels is not None:
        if check_shape is not None:
            check_shape((1, channels, image.height, image.width))
        deep = read_deep_colour(image, stream, subject, max_pixels=max_pixels)
        stream.seek(0)
        return deep
    stream.seek(0)
    return None


def _tiff(
    stream: BinaryIO,
    subject: Subject,
    max_pixels: int,
    max_bytes: int,
    check_shape: CheckShape | None,
) -> Deep:
    import tifffile

    size = stream_size(stream)
    with subject.attempt("read"), tifffile.TiffFile(stream) as file:
        page = file.pages.first
        height, width = page.imagelength, page.imagewidth
        if height * width > max_pixels:
            raise subject.refusal("declares more pixels than the limit of {most}", most=max_pixels)
        check_held(width, height, size, subject, predicts=page.compression not in TIFF_BOUNDED)
        if page.dtype is None or page.dtype.kind not in "biuf" or page.axes not in ("YX", "YXS", "SYX"):
            raise subject.refusal("holds numbers of type {dtype}", dtype=page.dtype)
        if check_shape is not None:
            check_shape((1, page.samplesperpixel, height, width))
        taken = max(math.prod(page.shape), math.prod(page.chunks)) * max(4, page.dtype.itemsize)
        if taken > max_bytes:
            raise subject.refusal("declares {size} bytes, more than the limit of {most}", size=taken, most=max_bytes)
        check_memory(2 * taken, size, subject)  # as it is stored, and in order or as float32
        if page.compression not in _PLAIN or page.predictor == _FLOAT_PREDICTOR:
            check_installed("imagecodecs", extra="formats")
        numbers: NDArray[np.generic] = page.asarray(maxworkers=1)
        if numbers.size == 0:
            raise subject.refusal("holds no pixels")
        is_colour = (
            page.photometric == tifffile.PHOTOMETRIC.RGB
            and page.dtype.kind == "u"
            and (page.samplesperpixel == 3 or (page.samplesperpixel == 4 and page.extrasamples[0] in _ALPHA))
        )
        # [C, H, W]; the shape of a damaged file need not be the one that its axes stand for
        numbers = numbers.transpose(2, 0, 1) if page.axes == "YXS" else numbers.reshape(-1, height, width)
        numbers = turn_upright(numbers, page.tags.valueof(_ORIENTATION, 1))
        native = numbers.astype(numbers.dtype.newbyteorder("="), copy=False)
        return Deep(torch.from_numpy(np.ascontiguousarray(native)), is_colour, is_colour and page.samplesperpixel == 4)
