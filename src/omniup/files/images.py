"""Read image files and PIL images as guidance in 0..1, and write PIL images.

Pillow decodes. This file adds what guidance needs: upright by the EXIF tag, no alpha, 16 bits and floats without
rounding, and refusals in one line. Colour profiles are not applied: guidance is about edges, not about colours.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from omniup.files.atomic import atomic_write
from omniup.files.decoding import GREY_16_BIT, MAX_PIXELS, count_frames, decode, open_image, readable_suffixes
from omniup.files.deep import Deep, read_deep
from omniup.files.refusals import Subject, printable
from omniup.files.sources import Source, open_source

logger = logging.getLogger(__name__)

ACCEPTED = "an image (PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM)"

_ALPHA = 3
"""The channel of alpha."""

_STRIP = 2**18
"""Pixels that are converted at a time: beyond the decoded image and the result, little memory is taken."""

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
            has_alpha = len(deep.numbers) > _ALPHA
            alpha = deep.numbers[_ALPHA].double() / torch.iinfo(deep.numbers.dtype).max if has_alpha else None
        else:
            image = decode(open_image(stream, subject, max_pixels=max_pixels), subject, max_pixels=max_pixels)
            alpha = _alpha(image, subject)
    return None if alpha is None or bool((alpha == 1).all()) else alpha.float()[None, None]


def read_picture(
    stream: BinaryIO,
    subject: Subject,
    deep: Deep | None,
    *,
    max_pixels: int,
    any_unit: bool = False,
) -> Tensor:
    """Read a picture from an open stream, as `read_image` does.

    Args:
        stream: a seekable stream at its beginning.
        subject: what refusals speak of.
        deep: what `read_deep` found.
        max_pixels: as for `read_image`.
        any_unit: whether grey floats and 32-bit integers may lie outside their range; they are returned as they are.

    Returns:
        [1, 3, H, W] float32 in 0..1; or [1, 1, H, W] in the stored unit.

    Raises:
        InputError: as for `read_image`.
    """
    if deep is not None and deep.is_colour:
        return _deep_colour(deep.numbers)
    image = open_image(stream, subject, max_pixels=max_pixels)
    if (frames := count_frames(image, subject, max_pixels=max_pixels)) > 1:
        logger.warning("%s: %d pages or frames, of which the first is read", subject.name, frames)
    decoded = decode(image, subject, max_pixels=max_pixels, in_place=True)
    return _guidance(decoded, subject, any_unit=any_unit)


def find_images(folder: str | Path, *, below: bool = False) -> list[Path]:
    """List the images of a folder, by the suffixes of their names, in alphabetical order.

    Label maps, depth and the like often lie beside their image, as `NAME.CONTENT.png` beside `NAME.jpg`. They are no
    images by themselves and left out. So are hidden files, such as macOS's `._NAME.jpg`, and hidden folders.

    Args:
        folder: where to look.
        below: whether to look in the folders below it as well.
    """
    suffixes = readable_suffixes()
    inside = Path(folder).rglob("*") if below else Path(folder).iterdir()
    found = sorted(
        path
        for path in inside
        if path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
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
    return _guidance(decode(image, subject, max_pixels=MAX_PIXELS), subject)


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
    options = {"quality": 95} if file_format in ("JPEG", "WEBP") else {}
    with atomic_write(path) as file, subject.attempt("written"):
        image.save(file, format=file_format, **options)


def _deep_colour(numbers: Tensor) -> Tensor:
    """Convert 16-bit or 32-bit colour [3 or 4, H, W], the fourth alpha, to guidance over white, a strip at a time."""
    white = torch.iinfo(numbers.dtype).max
    result = torch.empty(1, 3, *numbers.shape[1:])
    rows = max(1, _STRIP // numbers.shape[2])
    for top in range(0, numbers.shape[1], rows):
        strip = numbers[:, top : top + rows].double().div_(white)  # [3 or 4, h, W]
        if len(strip) == 4:
            strip = strip[:3] * strip[3] + (1 - strip[3])
        result[0, :, top : top + rows] = strip
    return result


def _guidance(image: Image.Image, subject: Subject, *, any_unit: bool = False) -> Tensor:
    if 0 in image.size:
        raise subject.refusal("has {width} × {height} pixels", width=image.width, height=image.height)
    if image.mode in GREY_16_BIT:
        return _grey(image, subject, white=65535, any_unit=any_unit)
    if image.mode == "F":
        return _grey(image, subject, white=1, any_unit=any_unit)
    result = torch.empty(1, 3, image.height, image.width)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        with subject.attempt("read"):
            strip = strip.convert("RGBA" if image.has_transparency_data else "RGB")
        _over_white(strip, result[:, :, top : top + strip.height])
    return result


def _alpha(image: Image.Image, subject: Subject) -> Tensor | None:
    """Return the alpha of a decoded image, [H, W] in 0..1; None if it has none."""
    if not image.has_transparency_data:
        return None
    if image.mode in GREY_16_BIT or image.mode == "F":  # a PNG may name one grey that stands for nothing
        return torch.from_numpy(np.asarray(image) != image.info["transparency"]).double()
    with subject.attempt("read"):
        channel = image.convert("RGBA").getchannel(_ALPHA)
    return torch.from_numpy(np.array(channel)).double() / 255


def _over_white(image: Image.Image, result: Tensor) -> None:
    """Write an RGB or RGBA image, composited over white, to a tensor [1, 3, h, W]."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # [1, 3 or 4, h, W]
    if image.mode == "RGB":
        result.copy_(pixels).div_(255)
        return
    colour, alpha = pixels[:, :3].float(), pixels[:, 3:].float()
    # in whole numbers up to 255², which float32 holds exactly: an opaque pixel is the same as without alpha
    result.copy_((colour * alpha + 255 * (255 - alpha)).div_(255**2))


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
    grey = torch.from_numpy(numbers.astype(np.float32)).div_(white)
    return grey.repeat(1, 3, 1, 1)
