"""Open and decode image files with Pillow, within limits that are checked before anything is allocated."""

from __future__ import annotations

import importlib.util
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError, features
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from omniup.errors import optional_import
from omniup.files.refusals import Subject
from omniup.files.sources import stream_size

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""The formats that are read and written: those in daily use, and no others. PPM stands for its family."""

GREY_16_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")
"""Pillow's modes for grey beyond 8 bits; `I` has 32, of which 16-bit files fill the lower half."""

MAX_PIXELS = 2**28
"""The largest image that is decoded unless the caller says otherwise: 16384 × 16384, 3 GiB as float32."""

_PIXELS_PER_BYTE = 8 * 1032
"""The most pixels that a byte can hold: 1032 bytes of deflate at one bit a pixel. Other compressions hold less."""

_BLANK = 2**24
"""Pixels that may take next to nothing in formats that predict: a blank page of a fax, an even picture in WebP."""

_PREDICTING = ("WEBP", "AVIF", "HEIF")
_COMPRESSION = 259
TIFF_BOUNDED = (1, 5, 7, 8, 32773, 32946)
"""TIFF's compressions that pack no better than deflate: none, LZW, JPEG, deflate by its two numbers, PackBits."""

_NEW_SUBFILE_TYPE, _SMALLER_OR_MASK = 254, 1 | 4
"""TIFF's tag of what a page is, and its bits for smaller versions of another page and for masks."""

_pillow = threading.Lock()


def open_image(stream: BinaryIO, subject: Subject, *, max_pixels: int) -> ImageFile:
    """Open an image without decoding it, once its declared size has been checked.

    Raises:
        InputError: the stream holds no image of an accepted format, or one that is too large, or one that declares
            more pixels than its bytes can hold.
    """
    size = stream_size(stream)
    with subject.attempt("read"):
        formats = [*FORMATS, *_added_formats(stream)]
        canvas = _webp_canvas(stream)
    with subject.attempt("read"), pixel_limit(max_pixels):
        try:
            if canvas > max_pixels:  # which Pillow before 13 reserves before it looks at its size
                raise Image.DecompressionBombError
            image = Image.open(stream, formats=formats)
        except UnidentifiedImageError as error:  # its message names a stream
            raise subject.refusal("is not in a format that is read here") from error
        except Image.DecompressionBombError as error:  # its message speaks of attacks
            raise subject.refusal("declares more pixels than the limit of {most}", most=max_pixels) from error
    with subject.attempt("read"):
        compression = image.tag_v2.get(_COMPRESSION, 1) if isinstance(image, TiffImageFile) else 1
    predicts = image.format in _PREDICTING or compression not in TIFF_BOUNDED
    check_held(image.width, image.height, size, subject, predicts=predicts)
    return image


def check_held(width: int, height: int, size: int, subject: Subject, *, predicts: bool) -> None:
    """Refuse a small file that declares a large image, for which memory would be taken before the first byte is missed.

    Args:
        width: of the image, by its header.
        height: likewise.
        size: of the file, in bytes.
        subject: what refusals speak of.
        predicts: whether the format takes next to nothing for even areas.

    Raises:
        InputError: so many pixels do not fit into so few bytes.
    """
    if width * height > max(size * _PIXELS_PER_BYTE, _BLANK if predicts else 0):
        raise subject.refusal(
            "is truncated: it declares {width} × {height} pixels and holds {size} bytes",
            width=width,
            height=height,
            size=size,
        )


def _added_formats(stream: BinaryIO) -> list[str]:
    """Return the format of phones' pictures, HEIC or AVIF, if a stream holds one, made known to Pillow.

    Raises:
        MissingPackageError: the package that reads it is missing.
    """
    start = stream.read(12)
    stream.seek(0)
    if start[4:8] != b"ftyp":
        return []
    if start[8:] in (b"avif", b"avis") and features.check("avif"):
        return ["AVIF"]
    if start[8:] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        optional_import("pillow_heif", extra="formats").register_heif_opener()
        return ["HEIF"]
    return []


def _webp_canvas(stream: BinaryIO) -> int:
    """Return how many pixels the canvas of an extended WebP has, 0 for other files; the stream is left at its start."""
    start = stream.read(30)
    stream.seek(0)
    if len(start) < 30 or start[:4] != b"RIFF" or start[8:16] != b"WEBPVP8X":
        return 0
    width, height = (int.from_bytes(start[at : at + 3], "little") + 1 for at in (24, 27))
    return width * height


def readable_suffixes() -> set[str]:
    """Return the suffixes of the images that can be read with the packages that are installed."""
    suffixes = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}
    heic = {".heic", ".heif"} if importlib.util.find_spec("pillow_heif") else set()
    return suffixes | heic | ({".avif"} if features.check("avif") else set())


def decode(
    image: Image.Image, subject: Subject, *, max_pixels: int, in_place: bool = False, upright: bool = True
) -> Image.Image:
    """Decode an opened image.

    Args:
        image: what `open_image` returned, or any PIL image.
        subject: what refusals speak of.
        max_pixels: the largest canvas, frame or tile to accept.
        in_place: whether the image itself may be turned, which saves the memory of a copy.
        upright: whether to turn it as its EXIF orientation says.

    Raises:
        InputError: the image is damaged or truncated.
    """
    with subject.attempt("read"), pixel_limit(max_pixels):
        image.load()
        if not upright:
            return image
        if not in_place:
            return ImageOps.exif_transpose(image)
        ImageOps.exif_transpose(image, in_place=True)
        return image


def decoded_bytes(image: Image.Image) -> int:
    """Return how many bytes Pillow takes for a pixel."""
    return 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4


def count_frames(image: ImageFile, subject: Subject, *, max_pixels: int) -> int:
    """Count the pages of a TIFF or the frames of an animation; a TIFF's smaller versions and masks do not count.

    Raises:
        InputError: the image is damaged or truncated.
    """
    if image.format not in ("TIFF", "GIF", "WEBP", "PNG"):
        return 1
    with subject.attempt("read"), pixel_limit(max_pixels):
        return len(frame_numbers(image))


def frame_numbers(image: ImageFile) -> Sequence[int]:
    """List the pages or frames that are images of their own; the image is left at its first."""
    count = getattr(image, "n_frames", 1)
    if count == 1 or not isinstance(image, TiffImageFile):
        return range(count)  # not a list: an animation declares how many it has
    found = []
    for number in range(count):
        image.seek(number)
        if not image.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & _SMALLER_OR_MASK:
            found.append(number)
    image.seek(0)
    return found or [0]


@contextmanager
def pixel_limit(max_pixels: int) -> Iterator[None]:
    """Make Pillow enforce our limit, since it checks every size before it allocates: a canvas, a frame, a tile.

    Its limit is a global of its module, hence the lock; it raises above twice that number and warns above once.
    """
    with _pillow, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        pillows = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels / 2  # type: ignore[assignment]  # only ever compared and doubled
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = pillows
