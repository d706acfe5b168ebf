"""Turn images by their EXIF orientation: cameras store them as the sensor lies, and say how they are upright."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from omniup.errors import InputError
from omniup.files.arrays import array_format
from omniup.files.decoding import MAX_PIXELS, open_image
from omniup.files.sources import Source, open_source

_TAG = 0x0112

_TURNS = {
    **{1: (0, False), 2: (0, True), 3: (2, False), 4: (2, True)},
    **{5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False)},
}
"""For each orientation: times 90° to the left, and whether the image is mirrored before that."""


def read_orientation(source: Source) -> int:
    """Read the EXIF orientation of an image, 1 to 8, of which those from 5 are quarter turns; 1 for anything else.

    Raises:
        InputError: the source is missing, not readable or empty, or its metadata are damaged.
    """
    with open_source(source, noun="image", accepted="an image") as (stream, subject):
        if array_format(stream):
            return 1
        try:
            image = open_image(stream, subject, max_pixels=MAX_PIXELS)
        except InputError:  # of the kinds of TIFF that Pillow does not know
            return 1
        with subject.attempt("read"):
            orientation = image.getexif().get(_TAG, 1)
        stream.seek(0)
        return orientation if orientation in _TURNS else 1


def turn_upright(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an image [..., H, W] from the way it is stored to upright."""
    turns, mirrored = _TURNS.get(orientation, (0, False))
    return np.rot90(stored[..., ::-1] if mirrored else stored, turns, (-2, -1))


def turn_back(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an upright image [..., H, W] to the way it is stored."""
    turns, mirrored = _TURNS.get(orientation, (0, False))
    stored = np.rot90(upright, -turns, (-2, -1))
    return stored[..., ::-1] if mirrored else stored
