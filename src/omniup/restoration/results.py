"""Write results with the settings that made them, in the files themselves, and recognise them.

So a run that is repeated finds out what is done already, after an interrupt as well as after a change of settings, and
no list beside the pictures can disagree with them. All formats hold EXIF, one of whose tags names the software that
processed a picture: that is where the settings are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.ExifTags import Base
from torch import Tensor

from omniup.errors import InputError
from omniup.files import MAX_PIXELS, atomic_write
from omniup.files.atomic import made_folder
from omniup.files.decoding import open_image
from omniup.files.deep_png import write_deep_png
from omniup.files.deep_tiff import write_deep_tiff
from omniup.files.metadata import Metadata
from omniup.files.refusals import Subject, printable
from omniup.files.sources import open_source

RESULT_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".avif": "AVIF",
}
"""The formats of results, by their suffixes."""

_DEEP = {"PNG": write_deep_png, "TIFF": write_deep_tiff}

DEEP_SUFFIXES = tuple(suffix for suffix, name in RESULT_FORMATS.items() if name in _DEEP)
"""Suffixes of the formats that hold 16 bits."""

_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 95},
}

"""TIFF is not compressed: Pillow's encoders for that cannot write the camera's EXIF."""

_LONGEST = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_536}
"""The longest side that a format holds, in pixels."""

_SETTINGS = "omniup restore "
"""Begins the text of the tag with the settings."""


def digest(source: str) -> str:
    """Compute the SHA-256 of a picture's file, which identifies it.

    Raises:
        InputError: it cannot be read.
    """
    with open_source(source, noun="image", accepted="a picture") as (stream, subject), subject.attempt("read"):
        return hashlib.sha256(stream.read()).hexdigest()


def holds_alpha(path: Path) -> bool:
    """Return whether a result's format holds alpha."""
    return RESULT_FORMATS[path.suffix.lower()] != "JPEG"


def check_holds(path: Path, size: tuple[int, int]) -> None:
    """Refuse a result of the size (H, W) that its format does not hold.

    Raises:
        InputError: a side is too long.
    """
    most = _LONGEST.get(RESULT_FORMATS[path.suffix.lower()])
    if most is not None and max(size) > most:
        problem, accepted = "would have {height} × {width} pixels", "sides up to {most} pixels, or another format"
        raise InputError(printable(path), problem, accepted, height=size[0], width=size[1], most=most)


def write_result(
    path: Path, image: Tensor, settings: Mapping[str, Any], metadata: Metadata | None = None, *, bits: int = 8
) -> None:
    """Write a result with its settings, atomically; folders are made as needed.

    Args:
        path: ends in one of the `RESULT_FORMATS`.
        image: [1, 3 or 4, H, W] in 0..1; the fourth channel is alpha, which not every format holds.
        settings: what made it, in what JSON can say.
        metadata: of the picture that it was made of.
        bits: of a channel, 8 or 16; 16 in a file with one of the `DEEP_SUFFIXES` only.

    Raises:
        InputError: it cannot be written.
    """
    metadata = metadata or Metadata()
    exif = Image.Exif()
    exif.update(metadata.exif)
    exif[Base.ProcessingSoftware] = _SETTINGS + _as_text(settings)
    whole = (image[0] * (2**bits - 1)).round().permute(1, 2, 0).cpu().numpy()  # [H, W, 3 or 4]
    subject = Subject(printable(path), "another format, or a smaller result")
    with made_folder(path.parent), atomic_write(path) as file, subject.attempt("written"):
        name = RESULT_FORMATS[path.suffix.lower()]
        if bits == 16:
            _DEEP[name](file, whole.astype(np.uint16), Metadata(metadata.profile, exif))
            return
        options = {"exif": exif.tobytes(), "icc_profile": metadata.profile, **_OPTIONS.get(name, {})}
        Image.fromarray(np.ascontiguousarray(whole.astype(np.uint8))).save(file, format=name, **options)


def is_done(path: Path, settings: Mapping[str, Any]) -> bool:
    """Return whether a file is a result of exactly these settings."""
    return _settings_of(path) == _as_text(settings)


def is_result(path: Path) -> bool:
    """Return whether a file is a result, of whatever settings."""
    return _settings_of(path) is not None


def _settings_of(path: Path) -> str | None:
    """Read the settings of a result, as text; None of anything else."""
    if not path.is_file():
        return None
    try:
        with open_source(path, noun="result", accepted="a picture") as (stream, subject):
            image = open_image(stream, subject, max_pixels=MAX_PIXELS)
            if image.format == "PNG" and "exif" not in image.info:
                return None  # else Pillow would decode the pixels, to look for EXIF behind them
            with subject.attempt("read"):
                text = image.getexif().get(Base.ProcessingSoftware)
    except InputError:
        return None
    return text.removeprefix(_SETTINGS) if isinstance(text, str) and text.startswith(_SETTINGS) else None


def _as_text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
