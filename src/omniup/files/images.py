"""Read image files and PIL images as guidance in 0..1, and write PIL images.

Pillow decodes. This file adds what guidance needs: upright by the EXIF tag, no alpha, 16 bits and floats without
rounding, and refusals in one line. Colour profiles are not applied: guidance is about edges, not about colours.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import BinaryIO, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from omniup.files.atomic import atomic_write
from omniup.files.decoding import (
    GREY_16_BIT,
    MAX_PIXELS,
    count_frames,
    decode,
    decoded_bytes,
    open_image,
    pixel_limit,
    readable_suffixes,
)
from omniup.files.deep import read_deep
from omniup.files.deep_colour import Deep
from omniup.files.refusals import Subject, printable
from omniup.files.sources import Source, check_memory, open_source, stream_size

logger = logging.getLogger(__name__)

ACCEPTED = "an image (PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM)"

_ALPHA = 3
"""The channel of alpha."""

_BYTES, _FLOATS = 3, 12
"""Bytes of three numbers: uint8 and float32."""

_STRIP = 2**18
"""Pixels that are converted at a time: beyond the decoded image and the result, little memory is taken."""

_AnyPath = TypeVar("_AnyPath", bound=PurePath)

_SUFFIXES = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".gif": "GIF",
    ".pbm": "PPM",
    ".pgm": "PPM",
    ".ppm": "PPM",
    ".pfm": "PPM",
}

#: Options of formats. PNG takes a third less time at 4 than at the usual 6, and 2 % more bytes.
_OPTIONS = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}, "PNG": {"compress_level": 4}}


def read_image(source: Source, *, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read an image as guidance.

    Args:
        source: a path, the bytes of a file, or an open binary file. PNG, JPEG, WEBP, BMP, TIFF, GIF and the PPM
            family are read; AVIF where Pillow has its reader, and HEIC with the extra `formats`.
        max_pixels: the largest image to accept, by the size its header declares, in pixels. It stands in for
            Pillow's own limit, which is lower.

    Returns:
        [1, 3, H, W] float32 in 0..1, upright according to the EXIF orientation. Transparent images are composited over
        white; grey ones have three equal channels. Grey and colour keep their 16 bits. Of several pages or frames
        the first is read, with a note.

    Raises:
        InputError: the source is missing, not readable, empty, not an image, damaged, truncated or too large, or its
            numbers do not fit 0..1 (32-bit integers beyond 0..65535, floats beyond 0..1).
    """
    with open_source(source, noun="image", accepted=ACCEPTED) as (stream, subject):
        deep = read_deep(stream, subject, max_pixels=max_pixels, max_bytes=32 * max_pixels)
        return read_picture(stream, subject, deep, max_pixels=max_pixels)


def read_alpha(source: Source, *, max_pixels: int = MAX_PIXELS) -> Tensor | None:
    """Read the alpha of an image.

    Args:
        source: as for `read_image`.
        max_pixels: likewise.

    Returns:
        [1, 1, H, W] float32 in 0..1, upright; None for an image that is opaque everywhere.

    Raises:
        InputError: as for `read_image`.
    """
    with open_source(source, noun="image", accepted=ACCEPTED) as (stream, subject):
        deep = read_deep(stream, subject, max_pixels=max_pixels, max_bytes=32 * max_pixels)
        if deep is not None and deep.is_colour:
            alpha = (deep.numbers[-1].double() / deep.white).float() if deep.has_alpha else None
        else:
            size, image = stream_size(stream), open_image(stream, subject, max_pixels=max_pixels)
            check_memory(image.width * image.height * (decoded_bytes(image) + 4), size, subject)
            alpha = _alpha(decode(image, subject, max_pixels=max_pixels, in_place=True), subject)
    return None if alpha is None or bool((alpha == 1).all()) else alpha[None, None]


def read_picture(
    stream: BinaryIO,
    subject: Subject,
    deep: Deep | None,
    *,
    max_pixels: int,
    any_unit: bool = False,
    keep_bytes: bool = False,
) -> Tensor:
    """Read a picture from an open stream, as `read_image` does.

    Args:
        stream: a seekable stream at its beginning.
        subject: what refusals speak of.
        deep: what `read_deep` found.
        max_pixels: as for `read_image`.
        any_unit: whether grey floats and 32-bit integers may lie outside their range; they are returned as they are.
        keep_bytes: whether pictures of 8 bits stay uint8, in a quarter of the memory.

    Returns:
        [1, 3, H, W] float32 in 0..1, or uint8; or [1, 1, H, W] in the stored unit.

    Raises:
        InputError: as for `read_image`.
    """
    if deep is not None and deep.is_colour:
        return _deep_colour(deep)
    size = stream_size(stream)
    image = open_image(stream, subject, max_pixels=max_pixels)
    has_floats = image.mode in GREY_16_BIT or image.mode == "F"
    # Of a pixel; NumPy has numbers beyond 8 bits from Pillow by way of bytes, twice.
    most = 3 * decoded_bytes(image) + _FLOATS if has_floats else decoded_bytes(image) + _BYTES
    most = most if keep_bytes else max(most, _BYTES + _FLOATS)
    check_memory(image.width * image.height * most, size, subject)
    if (frames := count_frames(image, subject, max_pixels=max_pixels)) > 1:
        logger.warning("%s: %d pages or frames, of which the first is read", subject.name, frames)
    picture = _guidance(decode(image, subject, max_pixels=max_pixels, in_place=True), subject, size, any_unit=any_unit)
    del image  # with the pixels as Pillow holds them
    return picture if keep_bytes else _in_floats(picture)


def find_images(folder: str | Path, *, below: bool = False) -> list[Path]:
    """List the images of a folder, by the suffixes of their names, in alphabetical order.

    Label maps, depth and the like often lie beside their image, as `NAME.CONTENT.png` beside `NAME.jpg`. They are no
    images by themselves and left out. So are hidden files, such as macOS's `._NAME.jpg`, and hidden folders.

    Args:
        folder: where to look.
        below: whether to look in the folders below it as well.
    """
    inside = Path(folder).rglob("*") if below else Path(folder).iterdir()
    return [path for path in images_among(inside, folder) if path.is_file()]


def images_among(paths: Iterable[_AnyPath], folder: str | PurePath) -> list[_AnyPath]:
    """Select the images among the paths of a folder by their names, as `find_images` does, in alphabetical order."""
    suffixes = readable_suffixes()
    found = sorted(
        path
        for path in paths
        if path.suffix.lower() in suffixes and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    names = {path.with_suffix("") for path in found}
    return [path for path in found if not (name := path.with_suffix("")).suffix or name.with_suffix("") not in names]


def image_tensor(image: Image.Image) -> Tensor:
    """Convert a PIL image to guidance, as `read_image` does.

    Args:
        image: an image in any mode that Pillow converts to RGB, and in the modes for 16-bit and float grey.

    Returns:
        [1, 3, H, W] float32 in 0..1.

    Raises:
        InputError: the image cannot be loaded or converted, or its numbers do not fit 0..1.
    """
    subject = Subject("image", "a PIL image in a mode that converts to RGB")
    decoded = decode(image, subject, max_pixels=MAX_PIXELS)
    return _in_floats(_guidance(decoded, subject, size=None))


def label_image(labels: Tensor, palette: list[int]) -> Image.Image:
    """Make a palette image of a label map, which keeps the labels.

    Args:
        labels: [1, 1, H, W], whole numbers in 0..255.
        palette: red, green and blue of each label in turn.
    """
    image = Image.fromarray(labels[0, 0].cpu().numpy().astype(np.uint8))
    image.putpalette(palette)
    return image


def write_image(path: str | Path, image: Image.Image) -> None:
    """Write a PIL image, atomically.

    Args:
        path: the file to write; its suffix decides the format. JPEG and WEBP are written at quality 95.
        image: what to write, in a mode that the format can hold.

    Raises:
        InputError: the suffix is unknown, the format cannot hold this image, or the file cannot be written.
    """
    subject = Subject(printable(path), "a file name that ends in {suffixes}", suffixes=", ".join(_SUFFIXES))
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise subject.refusal(
            "has the suffix {suffix!r}, which is no image format" if suffix else "has no suffix", suffix=suffix
        )
    file_format = _SUFFIXES[suffix]
    options = _OPTIONS.get(file_format, {})
    with atomic_write(path) as file, subject.attempt("written"):
        image.save(file, format=file_format, **options)


def _in_floats(picture: Tensor) -> Tensor:
    """Convert uint8 to float32 in 0..1; leave others as they are."""
    return picture.float().div_(255) if picture.dtype == torch.uint8 else picture


def _deep_colour(deep: Deep) -> Tensor:
    """Convert 16-bit or 32-bit colour to guidance over white, a strip at a time."""
    numbers, colours = deep.numbers, len(deep.numbers) - deep.has_alpha
    result = torch.empty(1, 3, *numbers.shape[1:])
    rows = max(1, _STRIP // numbers.shape[2])
    for top in range(0, numbers.shape[1], rows):
        strip = numbers[:, top : top + rows].double().div_(deep.white)  # [C, h, W]
        if deep.has_alpha:
            strip = strip[:colours] * strip[colours] + (1 - strip[colours])
        result[0, :, top : top + rows] = strip
    return result


def _guidance(image: Image.Image, subject: Subject, size: int | None, *, any_unit: bool = False) -> Tensor:
    """Convert a decoded image, of a file of so many bytes or of none.

    Returns:
        [1, 3, H, W], uint8 where that holds it exactly, else float32 in 0..1; or [1, 1, H, W] in the stored unit.
    """
    if 0 in image.size:
        raise subject.refusal("has {width} × {height} pixels", width=image.width, height=image.height)
    if image.mode in GREY_16_BIT:
        return _grey(image, subject, white=65535, any_unit=any_unit)
    if image.mode == "F":
        return _grey(image, subject, white=1, any_unit=any_unit)
    blends = image.has_transparency_data and any(_blends(strip) for _, strip in _strips(image, subject))
    if blends and size is not None:
        check_memory(image.width * image.height * (decoded_bytes(image) + _FLOATS), size, subject)
    result = torch.empty(1, 3, image.height, image.width, dtype=torch.float32 if blends else torch.uint8)
    for top, strip in _strips(image, subject):
        _over_white(strip, result[:, :, top : top + strip.height])
    return result


def _strips(image: Image.Image, subject: Subject) -> Iterator[tuple[int, Image.Image]]:
    """Yield strips of a decoded image in RGB or RGBA, with their first rows."""
    rows, mode = max(1, _STRIP // image.width), "RGBA" if image.has_transparency_data else "RGB"
    for top in range(0, image.height, rows):
        with pixel_limit(image.width * image.height):  # Pillow before 13 checks the size of what is cropped
            strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        with subject.attempt("read"):
            strip = strip.convert(mode)
        yield top, strip


def _blends(strip: Image.Image) -> bool:
    """Return whether some pixel is neither opaque nor fully transparent."""
    return any(strip.getchannel(_ALPHA).histogram()[1:255])


def _over_white(image: Image.Image, result: Tensor) -> None:
    """Write an RGB or RGBA image, composited over white, to a tensor [1, 3, h, W]: 0..255 as uint8, or 0..1."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # [1, 3 or 4, h, W]
    if image.mode == "RGB":
        result.copy_(pixels)
    elif result.dtype == torch.uint8:
        result.copy_(pixels[:, :3].where(pixels[:, 3:] == 255, 255))
    else:
        colour, alpha = pixels[:, :3].float(), pixels[:, 3:].float()
        # in whole numbers up to 255², which float32 holds exactly: an opaque pixel is the same as without alpha
        result.copy_((colour * alpha + 255 * (255 - alpha)).div_(255**2))


def _alpha(image: Image.Image, subject: Subject) -> Tensor | None:
    """Return the alpha of a decoded image, [H, W] float32 in 0..1; None if it has none."""
    if not image.has_transparency_data:
        return None
    if image.mode in GREY_16_BIT or image.mode == "F":  # a PNG may name one grey that stands for nothing
        return torch.from_numpy(np.asarray(image) != image.info["transparency"]).float()
    result = torch.empty(image.height, image.width)
    for top, strip in _strips(image, subject):
        result[top : top + strip.height] = torch.from_numpy(np.array(strip.getchannel(_ALPHA)))
    return result.div_(255)


def _grey(image: Image.Image, subject: Subject, *, white: int, any_unit: bool) -> Tensor:
    numbers = np.asarray(image)  # [H, W]
    if "transparency" in image.info:  # a PNG may name one grey that stands for nothing
        numbers = np.where(numbers == image.info["transparency"], white, numbers)
    low, high = numbers.min(), numbers.max()
    if any_unit and not (low >= 0 and high <= white):
        return torch.from_numpy(numbers.astype(np.float32))[None, None]
    if not (low >= 0 and high <= white):  # not the other way round: a NaN fails every comparison
        raise subject.refusal(
            "has grey values from {low} to {high}, not within 0..{white}", low=low, high=high, white=white
        )
    result = torch.empty(1, 3, *numbers.shape)
    np.divide(numbers, white, out=result[0, 0].numpy(), dtype=np.float32, casting="same_kind")
    result[:, 1:] = result[:, :1]
    return result
