"""Write PNG with 16 bits a channel, which Pillow cannot write in colour (PNG specification, second edition)."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from omniup.files.metadata import Metadata

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {3: 2, 4: 6}
"""Colour types of the header by the number of channels: RGB and RGBA."""

_UP = 2
"""Filter type that stores differences to the row above, which pack photographs well."""


def write_deep_png(file: BinaryIO, levels: NDArray[np.uint16], metadata: Metadata) -> None:
    """Write a picture as PNG.

    Args:
        file: open for writing.
        levels: [H, W, 3 or 4]; the fourth channel is alpha.
        metadata: written with it.
    """
    height, width, channels = levels.shape
    rows = np.ascontiguousarray(levels, ">u2").view(np.uint8).reshape(height, -1)  # [H, bytes]
    filtered = np.full((height, 1 + rows.shape[1]), _UP, np.uint8)
    filtered[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    file.write(_SIGNATURE)
    _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0))
    if metadata.profile is not None:
        _chunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.profile))
    _chunk(file, b"eXIf", metadata.exif.tobytes().removeprefix(b"Exif\0\0"))
    _chunk(file, b"IDAT", zlib.compress(filtered.data))
    _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, name: bytes, content: bytes) -> None:
    """Write a chunk: the length of its content, its name, its content, and the checksum of both."""
    file.write(struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content)))
