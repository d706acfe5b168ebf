"""Read low-resolution signals and label maps from arrays and images, and write signals.

The format is decided by content, so that a pipe or an upload needs no file name. Images are read as the raw numbers
they store, not as brightness: a depth map in a 16-bit PNG keeps its millimetres, a palette image its label numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile
from safetensors.torch import save
from torch import Tensor

from omniup.files.arrays import CheckShape, array_format, read_array
from omniup.files.atomic import atomic_write
from omniup.files.decoding import FORMATS, MAX_PIXELS, decode, frame_numbers, open_image
from omniup.files.raw_images import read_raw_image
from omniup.files.refusals import Subject, printable
from omniup.files.sources import MAX_BYTES, Source, open_source

WRITTEN_FORMATS = ("npy", "npz", "safetensors", "png")
"""The formats that signals are written in, by their suffixes."""

_GDAL_NODATA = 42113
"""TIFF's tag of the number that stands for no data, as text."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_SIGNAL = (
    "real, finite numbers of shape [h, w], [C, h, w] or [B, C, h, w] "
    "as .npy, .npz, .safetensors or an image ({formats})"
)
_LABELS = "one integer per pixel, [h, w], as .npy, .npz, .safetensors or an image ({formats})"
_FORMATS = ", ".join(FORMATS)
_WRITTEN = (
    "[B, C, H, W] as .npy, .npz or .safetensors; as .png where B = 1, with one channel in 8 or 16 bits or three in 8"
)


def read_signal(
    source: Source,
    *,
    name: str | None = None,
    max_bytes: int = MAX_BYTES,
    keep_integers: bool = False,
    check_shape: CheckShape | None = None,
    finite: bool = True,
    as_stored: bool = False,
) -> Tensor:
    """Read a low-resolution signal from an array file or an image.

    Args:
        source: a path, the bytes of a file, or an open binary file: .npy, .npz, .safetensors, or an image.
        name: which array of an .npz or .safetensors file; may be None where there is just one.
        max_bytes: the largest array to accept, as it is stored, by the size its header declares.
        keep_integers: whether integers and booleans of arrays keep their type; images become float32 either way,
            except those of one channel with two values, which are masks and become uint8 or a larger integer.
        check_shape: called with the shape that the header declares before anything is allocated, to refuse it.
        finite: whether numbers that are not finite are refused.
        as_stored: whether an array keeps its shape of two to four sides.

    Returns:
        [B, C, h, w]; an array of shape [h, w] becomes [1, 1, h, w] and one of [C, h, w] becomes [1, C, h, w]. float16,
        bfloat16, float32 and float64 are kept, integers and booleans become float32. Images give float32 in the units
        they store (8 bits 0..255, 16 bits 0..65535, 1 bit 0..1): grey one channel, RGB three, and palette images one
        channel of palette indices. Three equal channels are grey, and become one with a note.

    Raises:
        InputError: the source is missing, not readable, empty, damaged, truncated, too large or in no known format; the
            numbers are complex, Python objects, not finite, or of another shape; the archive has no array of this name,
            or several and `name` is None; the image has an alpha channel, or a bit depth that Pillow would rescale.
    """
    numbers, subject, is_array = _read_numbers(
        source, "signal", _SIGNAL, name=name, max_bytes=max_bytes, check_shape=check_shape
    )
    if _are_integers(numbers):
        numbers = numbers if keep_integers and (is_array or _is_mask(numbers)) else numbers.float()
        numbers = numbers.byte() if numbers.dtype == torch.bool and not is_array else numbers
    elif numbers.dtype not in _FLOATS:
        raise subject.refusal("holds numbers of type {dtype}", dtype=numbers.dtype)
    if not 2 <= numbers.ndim <= 4 or numbers.numel() == 0:
        raise subject.refusal("has the shape {shape}", shape=list(numbers.shape))
    signal = (numbers if as_stored else numbers.reshape((1,) * (4 - numbers.ndim) + numbers.shape)).contiguous()
    if finite and signal.is_floating_point() and not all(bound.isfinite() for bound in signal.aminmax()):
        is_finite = signal.isfinite()
        first = int(is_finite.flatten().byte().argmin())
        place = [int(index) for index in np.unravel_index(first, signal.shape)]
        raise subject.refusal(
            "has {count} numbers that are not finite, the first ({number:g}) at {place}",
            count=int((~is_finite).sum()),
            number=signal.flatten()[first].item(),
            place=place,
        )
    return signal


def read_labels(
    source: Source,
    *,
    name: str | None = None,
    max_bytes: int = MAX_BYTES,
    check_shape: CheckShape | None = None,
) -> Tensor:
    """Read a label map from an image or an array of integers.

    Args:
        source: as for `read_signal`. Of images: palette, 1-bit, 8-bit grey or 16-bit grey, also in three equal
            channels.
        name: as for `read_signal`.
        max_bytes: as for `read_signal`.
        check_shape: as for `read_signal`.

    Returns:
        [1, h, w] int64, one label per pixel.

    Raises:
        InputError: as for `read_signal`; or the image is in colour, or the array not of integers, or neither [h, w] nor
            that shape with leading ones.
    """
    numbers, subject, _ = _read_numbers(
        source, "labels", _LABELS, name=name, max_bytes=max_bytes, check_shape=check_shape
    )
    if not _are_integers(numbers):
        raise subject.refusal("holds numbers of type {dtype}", dtype=numbers.dtype)
    if not 2 <= numbers.ndim <= 4 or numbers.numel() == 0 or math.prod(numbers.shape[:-2]) != 1:
        raise subject.refusal("has the shape {shape}", shape=list(numbers.shape))
    return numbers.long().reshape(1, *numbers.shape[-2:])


def holds_image(source: Source) -> bool:
    """Return whether a source is an image and no array.

    Raises:
        InputError: the source is missing, not readable or empty.
    """
    with open_source(source, noun="signal", accepted=_SIGNAL, formats=_FORMATS) as (stream, _):
        return array_format(stream) is None


def holds_labels(source: Source) -> bool:
    """Return whether a source is a palette image, which is how label maps are mostly kept.

    Args:
        source: as for `read_signal`. An open file is rewound afterwards; from a pipe, pass the bytes.

    Raises:
        InputError: the source is missing, not readable, empty or in no known format.
    """
    return read_palette(source) is not None


def read_nodata(source: Source) -> float | None:
    """Read the number that stands for "no data" in a GeoTIFF; None for anything else.

    Args:
        source: as for `holds_labels`.

    Raises:
        InputError: as for `holds_labels`.
    """
    with _opened_image(source) as (image, subject), subject.attempt("read"):
        text = image.tag_v2.get(_GDAL_NODATA) if isinstance(image, TiffImageFile) else None
    if text is None:
        return None
    try:
        return float(str(text).strip("\0 "))
    except ValueError as error:
        raise subject.refusal("has the no-data tag {text!r}, which is no number", text=str(text)) from error


def read_palette(source: Source) -> list[int] | None:
    """Read the colours of a palette image: red, green and blue for each label in turn; None for anything else.

    Args:
        source: as for `holds_labels`.

    Raises:
        InputError: as for `holds_labels`.
    """
    with _opened_image(source) as (image, subject):
        if image is None:
            return None
        with subject.attempt("read"):
            holds_indices = image.mode == "P" and len(frame_numbers(image)) == 1
        return decode(image, subject, max_pixels=MAX_PIXELS).getpalette() if holds_indices else None


def write_signal(path: str | Path | BinaryIO, signal: Tensor, *, bits: int = 8, format: str | None = None) -> None:
    """Write a signal; to a path atomically.

    Args:
        path: the file to write, or an open binary file, which may be a pipe and is not closed.
        signal: [B, C, H, W] on any device. .npy keeps the four dimensions, .npz and .safetensors name the array
            `signal`. NumPy has no bfloat16, which becomes float32 in .npy and .npz.
        bits: of a PNG: 8 for whole numbers in 0..255, 16 for 0..65535. A PNG holds one signal (B = 1) of one channel,
            or of three at 8 bits; its values are rounded and not scaled.
        format: `npy`, `npz`, `safetensors` or `png`; None takes it from the suffix, which an open file does not have.

    Raises:
        InputError: the format is unknown or cannot hold this signal, or the file cannot be written.
    """
    if isinstance(path, (str, Path)):
        subject = Subject(printable(path), _WRITTEN)
        output: AbstractContextManager[BinaryIO] = atomic_write(path)
        chosen = format or Path(path).suffix.removeprefix(".").lower()
    else:
        subject = Subject("signal", _WRITTEN)
        output = nullcontext(path)
        chosen = format or ""
    if chosen not in WRITTEN_FORMATS:
        raise subject.refusal(
            "has the format {format!r}, which is unknown" if chosen else "has neither a suffix nor `format`",
            format=chosen,
        )
    if signal.ndim != 4 or signal.numel() == 0:
        raise subject.refusal("cannot hold a signal of shape {shape}", shape=list(signal.shape))
    with output as file:
        _encode(file, signal.detach().cpu().contiguous(), chosen, subject, bits=bits)


@contextmanager
def _opened_image(source: Source) -> Iterator[tuple[ImageFile | None, Subject]]:
    """Open the image that a source is, None for an array, and rewind the source afterwards."""
    with open_source(source, noun="signal", accepted=_SIGNAL, formats=_FORMATS) as (stream, subject):
        yield None if array_format(stream) else open_image(stream, subject, max_pixels=MAX_PIXELS), subject
        stream.seek(0)


def _encode(file: BinaryIO, signal: Tensor, format: str, subject: Subject, *, bits: int) -> None:
    if format == "png":
        _png(signal, subject, bits=bits).save(file, format="PNG")
    elif format == "safetensors":
        file.write(save({"signal": signal}))
    else:
        array = (signal.float() if signal.dtype == torch.bfloat16 else signal).numpy()
        if format == "npz":
            np.savez(file, signal=array)
        else:  # np.save would ask for the position in the file, which a pipe does not have
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(array.data)


def _png(signal: Tensor, subject: Subject, *, bits: int) -> Image.Image:
    batch, channels = signal.shape[:2]
    if (batch, channels, bits) not in ((1, 1, 8), (1, 3, 8), (1, 1, 16)):
        raise subject.refusal(
            "cannot hold a signal of shape {shape} in {bits} bits", shape=list(signal.shape), bits=bits
        )
    values = signal[0].float().round()  # [1 or 3, H, W]
    low, high = values.min().item(), values.max().item()
    if not (low >= 0 and high < 2**bits):  # not the other way round: a NaN fails every comparison
        raise subject.refusal(
            "cannot hold values from {low:g} to {high:g}, not within 0..{most}", low=low, high=high, most=2**bits - 1
        )
    numbers = values.numpy().astype(np.uint8 if bits == 8 else np.uint16)
    return Image.fromarray(numbers[0] if channels == 1 else np.ascontiguousarray(numbers.transpose(1, 2, 0)))


def _read_numbers(
    source: Source, noun: str, accepted: str, *, name: str | None, max_bytes: int, check_shape: CheckShape | None
) -> tuple[Tensor, Subject, bool]:
    """Read the numbers of an array or an image, and whether it was an array."""
    with open_source(source, noun=noun, accepted=accepted, max_bytes=max_bytes, formats=_FORMATS) as (stream, subject):
        if found := array_format(stream):
            numbers = read_array(stream, found, subject, name=name, max_bytes=max_bytes, check_shape=check_shape)
            return numbers, subject, True
        if name is not None:
            raise subject.refusal("is no archive of arrays, so it has none called {name!r}", name=name)
        return read_raw_image(stream, subject, max_bytes=max_bytes, check_shape=check_shape), subject, False


def _is_mask(numbers: Tensor) -> bool:
    """Return whether a picture [h, w] has two values and is not all of one."""
    if numbers.ndim != 2 or numbers.numel() == 0:
        return False
    values = numbers.numpy()  # torch has no bounds of uint16
    low, high = values.min(), values.max()
    return bool(low < high and ((values == low) | (values == high)).all())


def _are_integers(numbers: Tensor) -> bool:
    return not (numbers.is_floating_point() or numbers.is_complex())
