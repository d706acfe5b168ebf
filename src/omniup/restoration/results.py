"""Write results with the settings that made them, as a text in the PNG itself, and recognise them.

So a run that is repeated finds out what is done already, after an interrupt as well as after a change of settings, and
no list beside the pictures can disagree with them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from omniup.errors import InputError
from omniup.files import MAX_PIXELS, atomic_write
from omniup.files.atomic import made_folder
from omniup.files.decoding import open_image
from omniup.files.sources import open_source

_KEY = "omniup restore"  # of the text in a PNG


def digest(source: str) -> str:
    """Compute the SHA-256 of a picture's file, which identifies it.

    Raises:
        InputError: it cannot be read.
    """
    with open_source(source, noun="image", accepted="a picture") as (stream, subject), subject.attempt("read"):
        return hashlib.sha256(stream.read()).hexdigest()


def write_result(path: Path, image: Tensor, settings: Mapping[str, Any]) -> None:
    """Write a result with its settings, atomically; folders are made as needed.

    Args:
        path: ends in .png.
        image: [1, 3 or 4, H, W] in 0..1; the fourth channel is alpha.
        settings: what made it, in what JSON can say.

    Raises:
        InputError: it cannot be written.
    """
    levels = (image[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy()  # [H, W, 3 or 4]
    text = PngInfo()
    text.add_itxt(_KEY, _as_text(settings))
    with made_folder(path.parent), atomic_write(path) as file:
        Image.fromarray(np.ascontiguousarray(levels)).save(file, format="PNG", pnginfo=text)


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
        with open_source(path, noun="result", accepted="a PNG") as (stream, subject):
            return open_image(stream, subject, max_pixels=MAX_PIXELS).info.get(_KEY)  # the pixels are not decoded
    except InputError:
        return None


def _as_text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, ensure_ascii=False)
