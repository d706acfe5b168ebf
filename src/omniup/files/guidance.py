"""Read guidance of any number of channels: pictures, the bands of a TIFF, arrays."""

from __future__ import annotations

import logging
import math
from functools import partial

import torch
from torch import Tensor

from omniup.files.arrays import array_format, read_array
from omniup.files.decoding import MAX_PIXELS
from omniup.files.deep import read_deep
from omniup.files.images import read_picture
from omniup.files.refusals import Subject
from omniup.files.sources import Source, open_source

logger = logging.getLogger(__name__)

_ACCEPTED = (
    "an image (PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM), or numbers [H, W], [G, H, W] or [H, W, G] "
    "as .npy, .npz or .safetensors"
)

_NUMBERS = (
    *(torch.bool, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64),
    *(torch.float16, torch.bfloat16),
)
"""The types that become float32."""

_CHANNELS = 64
"""The most bands of an image at its largest; a smaller one may have more."""


def read_guidance(
    source: Source, *, name: str | None = None, max_pixels: int = MAX_PIXELS, max_values: int | None = None
) -> Tensor:
    """Read the guidance of an upsampling, of any number of channels.

    Args:
        source: a path, the bytes of a file, or an open binary file: an image as for `read_image`, a TIFF of any bands,
            or an array as .npy, .npz or .safetensors: [H, W], [G, H, W], [H, W, G], or one of these after a 1. Of the
            three axes the shortest is that of the channels.
        name: which array of an .npz or .safetensors file; may be None where there is just one.
        max_pixels: the largest image to accept, by the size its header declares, in pixels.
        max_values: the largest array, and the most bands times pixels; by default 64 for each of the most pixels.

    Returns:
        [1, G, H, W]. Pictures have three channels, as `read_image` reads them, but uint8 where that holds them exactly.
        Bands and arrays keep their numbers: uint8, float32 or float64, in whatever unit; `omniup.scale_bands` brings
        them to 0..1.

    Raises:
        InputError: as for `read_image` and `read_signal`; or two axes could be that of the channels.
    """
    with open_source(source, noun="image", accepted=_ACCEPTED) as (stream, subject):
        max_values = _CHANNELS * max_pixels if max_values is None else max_values
        if found := array_format(stream):
            check = partial(_check_shape, subject, max_pixels, max_values)
            numbers = read_array(stream, found, subject, name=name, max_bytes=8 * max_values, check_shape=check)
            return _numbers(_channels_first(numbers, subject), subject)
        if name is not None:
            raise subject.refusal("is no archive of arrays, so it has none called {name!r}", name=name)
        deep = read_deep(stream, subject, max_pixels=max_pixels, max_bytes=4 * max_values)
        if deep is not None and not deep.is_colour:
            return _numbers(deep.numbers, subject)
        return read_picture(stream, subject, deep, max_pixels=max_pixels, any_unit=True, keep_bytes=True)


def _check_shape(subject: Subject, max_pixels: int, max_values: int, shape: tuple[int, ...]) -> None:
    """Refuse an array by the shape that its header declares."""
    if (count := math.prod(shape)) > max_values:
        raise subject.refusal("declares {count} numbers, more than the limit of {most}", count=count, most=max_values)
    if count > max_pixels * (min(shape[-3:]) if len(shape) > 2 else 1):  # the shortest side is that of the channels
        raise subject.refusal("declares more pixels than the limit of {most}", most=max_pixels)


def _channels_first(numbers: Tensor, subject: Subject) -> Tensor:
    """Find the axis of the channels, and move it to the front: [G, H, W]."""
    shape = list(numbers.shape)
    if len(shape) == 4 and shape[0] == 1:
        numbers = numbers[0]
    if numbers.ndim == 2:
        numbers = numbers[None]
    if numbers.ndim != 3 or 0 in numbers.shape:
        raise subject.refusal("has the shape {shape}", shape=shape)
    first, middle, last = numbers.shape
    if first == 1 or first < min(middle, last):
        return numbers
    if last < min(first, middle):
        logger.warning("%s: %d channels, which come last, of %d × %d pixels", subject.name, last, first, middle)
        return numbers.permute(2, 0, 1).contiguous()
    raise subject.refusal("has the shape {shape}, in which two axes may be that of the channels", shape=shape)


def _numbers(numbers: Tensor, subject: Subject) -> Tensor:
    if numbers.dtype not in (torch.uint8, torch.float32, torch.float64):
        if numbers.dtype not in _NUMBERS:
            raise subject.refusal("holds numbers of type {dtype}", dtype=numbers.dtype)
        numbers = numbers.float()
    return numbers[None]
