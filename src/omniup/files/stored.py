"""Read the numbers that a signal's file stores, and what it says about them, opening it once.

The format is decided by content, so that a pipe or an upload needs no file name. Images are read as the raw numbers
they store, not as brightness: a depth map in a 16-bit PNG keeps its millimetres, a palette image its label numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.files.arrays import CheckShape, array_format, read_array
from omniup.files.decoding import FORMATS, MAX_PIXELS, open_image
from omniup.files.deep import TIFF
from omniup.files.images import read_alpha
from omniup.files.raw_images import read_raw_image
from omniup.files.refusals import Subject
from omniup.files.run_lengths import holds_run_lengths, read_run_lengths
from omniup.files.sources import MAX_BYTES, Source, open_source

Form: TypeAlias = Literal["array", "image", "run lengths"]
"""The form that numbers are stored in."""

CheckStored: TypeAlias = Callable[[tuple[int, ...], Form], None]
"""Refuses what has a shape and a form, by its header, before anything is allocated for it."""

_GDAL_NODATA = 42113
"""TIFF's tag of the number that stands for no data, as text."""

MAX_COLOURS = 256
"""Colours of a palette."""

_WITH_ALPHA = ("RGBA", "LA")
"""Pillow's modes with a channel of alpha."""

_FORMATS = ", ".join(FORMATS)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_SIGNAL = (
    "real, finite numbers of shape [h, w], [C, h, w] or [B, C, h, w] "
    "as .npy, .npz, .safetensors or an image ({formats}); masks as COCO's run lengths, .json"
)
LABELS = "one integer per pixel, [h, w], as .npy, .npz, .safetensors or an image ({formats})"


@dataclass(frozen=True, eq=False)
class Stored:
    """Numbers as a file stores them.

    Attributes:
        numbers: of any shape and type; of images [h, w] or [C, h, w], of run lengths boolean [n, h, w].
        form: of the file.
        palette: the colours of a palette image, red, green and blue for each label in turn; None for anything else.
        nodata: the number that stands for "no data" in a GeoTIFF; None for anything else.
        subject: what refusals speak of.
    """

    numbers: Tensor
    form: Form
    palette: list[int] | None
    nodata: float | None
    subject: Subject

    def signal(self, *, keep_integers: bool = False, finite: bool = True) -> Tensor:
        """Return the numbers as a signal, in the shape that they have.

        Args:
            keep_integers: whether integers and booleans of arrays keep their type; images become float32 either way,
                except those of one channel with two values, which are masks and become uint8 or a larger integer.
            finite: whether numbers that are not finite are refused.

        Returns:
            Two to four sides. float16, bfloat16, float32 and float64 are kept, integers and booleans become float32.
            Images give float32 in the units they store (8 bits 0..255, 16 bits 0..65535, 1 bit 0..1): grey one channel,
            RGB three, and palette images one channel of palette indices. Three equal channels are grey, and become one
            with a note.

        Raises:
            InputError: the numbers are complex, not finite, or of another shape.
        """
        numbers, is_image = self.numbers, self.form == "image"
        if _are_integers(numbers):
            numbers = numbers if keep_integers and (not is_image or _is_mask(numbers)) else numbers.float()
            numbers = numbers.byte() if numbers.dtype == torch.bool and is_image else numbers
        elif numbers.dtype not in _FLOATS:
            raise self.subject.refusal("holds numbers of type {dtype}", dtype=numbers.dtype)
        self._check_shape()
        if finite and numbers.is_floating_point() and not all(bound.isfinite() for bound in numbers.aminmax()):
            is_finite = numbers.isfinite()
            first = int(is_finite.flatten().byte().argmin())
            place = [int(index) for index in np.unravel_index(first, numbers.shape)]
            raise self.subject.refusal(
                "has {count} numbers that are not finite, the first ({number:g}) at {place}",
                count=int((~is_finite).sum()),
                number=numbers.flatten()[first].item(),
                place=place,
            )
        return numbers

    def labels(self) -> Tensor:
        """Return the numbers as a label map, [1, h, w] int64.

        Raises:
            InputError: they are no integers, or neither [h, w] nor that shape with leading ones.
        """
        subject = Subject(self.subject.name, LABELS, formats=_FORMATS)
        if not _are_integers(self.numbers):
            raise subject.refusal("holds numbers of type {dtype}", dtype=self.numbers.dtype)
        shape = self.numbers.shape
        if not 2 <= len(shape) <= 4 or 0 in shape or math.prod(shape[:-2]) != 1:
            raise subject.refusal("has the shape {shape}", shape=list(shape))
        return self.numbers.long().reshape(1, *shape[-2:])

    def by_colour(self) -> Stored:
        """Number the colours of a picture of 8 bits, ascending, as classes are often drawn; anything else stays.

        Returns:
            The same with numbers [h, w] and the colours as the palette.

        Raises:
            InputError: there are more colours than a palette has.
        """
        is_colour = self.form == "image" and self.numbers.ndim == 3 and len(self.numbers) == 3
        if not is_colour or self.numbers.dtype != torch.uint8:
            return self
        red, green, blue = self.numbers.long()
        colours, numbers = torch.unique(red << 16 | green << 8 | blue, return_inverse=True)
        if len(colours) > MAX_COLOURS:
            subject = Subject(self.subject.name, "colours of classes, at most {most}", most=MAX_COLOURS)
            raise subject.refusal("has {count} colours", count=len(colours))
        palette = torch.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1).flatten().tolist()
        return dataclasses.replace(self, numbers=numbers, palette=palette)

    def _check_shape(self) -> None:
        if not 2 <= self.numbers.ndim <= 4 or self.numbers.numel() == 0:
            raise self.subject.refusal("has the shape {shape}", shape=list(self.numbers.shape))


def read_stored(
    source: Source,
    *,
    noun: str = "signal",
    accepted: str = _SIGNAL,
    name: str | None = None,
    max_bytes: int = MAX_BYTES,
    check_shape: CheckStored | None = None,
    alpha_as_mask: bool = False,
) -> Stored:
    """Read the numbers of a signal's file.

    Args:
        source: a path, the bytes of a file, or an open binary file: .npy, .npz, .safetensors, an image, or masks as
            COCO's run lengths.
        noun: what refusals call a source that has no name.
        accepted: what they say is accepted; a template.
        name: which array of an .npz or .safetensors file; may be None where there is just one.
        max_bytes: the largest array to accept, as it is stored, by the size its header declares.
        check_shape: called with the shape that the header declares, of images [1, C, h, w], and with the form of the
            file, before anything is allocated, to refuse it.
        alpha_as_mask: whether of a picture with alpha, which is refused otherwise, that is read: 1 where it is at least
            a half, and 0.

    Raises:
        InputError: the source is missing, not readable, empty, damaged, truncated, too large or in no known format; the
            archive has no array of this name, or several and `name` is None; the image has an alpha channel, or a bit
            depth that Pillow would rescale.
    """
    with open_source(source, noun=noun, accepted=accepted, max_bytes=max_bytes, formats=_FORMATS) as (stream, subject):
        found = array_format(stream)
        form: Form = "array" if found else "run lengths" if holds_run_lengths(stream) else "image"
        check = None if check_shape is None else partial(_check, check_shape, form)
        if found:
            numbers = read_array(stream, found, subject, name=name, max_bytes=max_bytes, check_shape=check)
            return Stored(numbers, form, None, None, subject)
        if name is not None:
            raise subject.refusal("is no archive of arrays, so it has none called {name!r}", name=name)
        if form == "run lengths":
            numbers = read_run_lengths(stream, subject, max_bytes=max_bytes, check_shape=check)
            return Stored(numbers, form, None, None, subject)
        if alpha_as_mask and (mask := _read_mask(stream, subject, max_bytes, check)) is not None:
            return Stored(mask, form, None, None, subject)
        nodata = _read_nodata(stream, subject)
        image = read_raw_image(stream, subject, max_bytes=max_bytes, check_shape=check)
        return Stored(image.numbers, form, image.palette, nodata, subject)


def _check(check_shape: CheckStored, form: Form, shape: tuple[int, ...]) -> None:
    check_shape(shape, form)


def _read_mask(stream: BinaryIO, subject: Subject, max_bytes: int, check_shape: CheckShape | None) -> Tensor | None:
    """Read the alpha of a picture as a mask [h, w] of 0 and 1; None if it has none, or is opaque everywhere."""
    max_pixels = min(MAX_PIXELS, max_bytes // 12)
    try:
        image = open_image(stream, subject, max_pixels=max_pixels)
    except InputError:  # of the kinds of TIFF that Pillow does not know
        return None
    finally:
        stream.seek(0)
    if image.mode not in _WITH_ALPHA:
        return None
    if check_shape is not None:
        check_shape((1, 1, image.height, image.width))
    alpha = read_alpha(stream, max_pixels=max_pixels)
    stream.seek(0)
    return None if alpha is None else (alpha[0, 0] >= 0.5).byte()


def read_nodata(source: Source) -> float | None:
    """Read the number that stands for "no data" in a GeoTIFF; None for anything else.

    Raises:
        InputError: the source is missing, not readable or empty, or its tags are damaged.
    """
    with open_source(source, noun="image", accepted="an image") as (stream, subject):
        return _read_nodata(stream, subject)


def _read_nodata(stream: BinaryIO, subject: Subject) -> float | None:
    """Read that number from the tags."""
    is_tiff = stream.read(4) in TIFF
    stream.seek(0)
    if not is_tiff:
        return None
    import tifffile

    with subject.attempt("read"), tifffile.TiffFile(stream) as file:
        text = file.pages.first.tags.valueof(_GDAL_NODATA)
    stream.seek(0)
    if text is None:
        return None
    try:
        return float(str(text).strip("\0 "))
    except ValueError as error:
        raise subject.refusal("has the no-data tag {text!r}, which is no number", text=str(text)) from error


def _is_mask(numbers: Tensor) -> bool:
    """Return whether a picture [h, w] has two values and is not all of one."""
    if numbers.ndim != 2 or numbers.numel() == 0:
        return False
    values = numbers.numpy()  # torch has no bounds of uint16
    low, high = values.min(), values.max()
    return bool(low < high and ((values == low) | (values == high)).all())


def _are_integers(numbers: Tensor) -> bool:
    return not (numbers.is_floating_point() or numbers.is_complex())
