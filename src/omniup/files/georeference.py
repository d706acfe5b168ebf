"""Read the georeference of a GeoTIFF as its tags, move it to a part of the picture or another grid, and write it.

Two tags place a raster: tie points with the size of a pixel, or a matrix. The others, which name the coordinate system,
are copied as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from omniup.errors import InputError
from omniup.files.atomic import atomic_write
from omniup.files.deep import TIFF

_SCALE, _TIE_POINTS, _MATRIX = 33550, 33922, 34264
_KEYS, _DOUBLES, _TEXTS = 34735, 34736, 34737

_DOUBLE, _SHORT, _ASCII = "d", "H", "s"
_TYPES = {_SCALE: _DOUBLE, _TIE_POINTS: _DOUBLE, _MATRIX: _DOUBLE, _KEYS: _SHORT, _DOUBLES: _DOUBLE, _TEXTS: _ASCII}

_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2


@dataclass(frozen=True)
class Georeference:
    """Place of a raster on the earth.

    Attributes:
        tags: values of GeoTIFF's tags by their numbers.
    """

    tags: dict[int, Any]

    def moved(self, left: float, top: float) -> Georeference:
        """Return the georeference of a raster that begins `left` and `top` pixels further in."""
        return self._resampled(1.0, 1.0, left, top)

    def scaled(self, across: float, down: float) -> Georeference:
        """Return that of a raster of the same extent, with so many times the pixels across and down."""
        return self._resampled(across, down, 0.0, 0.0)

    def _resampled(self, across: float, down: float, left: float, top: float) -> Georeference:
        """Return that of a raster whose pixel (x, y) lies at (x / across + left, y / down + top) of this one."""
        # With PixelIsPoint a coordinate is that of a pixel's centre; extents are counted from corners.
        half = 0.5 if self._is_point else 0.0
        tags = dict(self.tags)
        if _TIE_POINTS in tags:
            points = np.array(tags[_TIE_POINTS], float).reshape(-1, 6)
            points[:, 0] = (points[:, 0] + half - left) * across - half
            points[:, 1] = (points[:, 1] + half - top) * down - half
            tags[_TIE_POINTS] = tuple(points.flatten())
        if _SCALE in tags:
            width, height, *rest = tags[_SCALE]
            tags[_SCALE] = (width / across, height / down, *rest)
        if _MATRIX in tags:
            matrix, step = np.array(tags[_MATRIX], float).reshape(4, 4), np.eye(4)
            step[0, 0], step[0, 3] = 1 / across, half / across + left - half
            step[1, 1], step[1, 3] = 1 / down, half / down + top - half
            tags[_MATRIX] = tuple((matrix @ step).flatten())
        return Georeference(tags)

    @property
    def _is_point(self) -> bool:
        keys = np.array(self.tags.get(_KEYS, ()), int)[4:].reshape(-1, 4)
        return any(key == _RASTER_TYPE and value == _PIXEL_IS_POINT for key, _, _, value in keys)


def read_georeference(stream: BinaryIO) -> Georeference | None:
    """Read the georeference of a file; None of one that has none, or is no TIFF. The stream is left at its beginning.

    Raises:
        InputError: it is a damaged TIFF.
    """
    is_tiff = stream.read(4) in TIFF
    stream.seek(0)
    if not is_tiff:
        return None
    import tifffile  # here, since few files need it

    try:
        with tifffile.TiffFile(stream) as file:
            found = file.pages.first.tags
            tags = {number: found[number].value for number in _TYPES if number in found}
    except (tifffile.TiffFileError, ValueError, KeyError, IndexError) as error:
        raise InputError("image", "cannot be read ({reason})", reason=error) from error
    finally:
        stream.seek(0)
    return Georeference(tags) if _SCALE in tags or _MATRIX in tags else None


def write_tiff(path: Path, values: Tensor, georeference: Georeference | None = None) -> None:
    """Write [1, C, H, W] as a TIFF of C bands, with its georeference.

    Raises:
        InputError: the file cannot be written.
    """
    import tifffile

    bands = values[0].detach().cpu().numpy()
    if bands.dtype == np.int64:  # labels, for which readers know 32 bits
        bands = bands.astype(np.int32)
    tags = georeference.tags if georeference else {}
    extra = [(number, _TYPES[number], _count(value), value, True) for number, value in tags.items()]
    with atomic_write(path) as file:
        tifffile.imwrite(
            file,
            bands[0] if len(bands) == 1 else bands,
            photometric="minisblack",
            planarconfig=None if len(bands) == 1 else "separate",
            compression="zlib",
            extratags=extra,
            metadata=None,
        )


def _count(value: Any) -> int:
    return 0 if isinstance(value, str) else len(value)
