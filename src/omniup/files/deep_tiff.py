"""Write TIFF with 16 bits a channel, which Pillow cannot write in colour (TIFF 6.0)."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL.ExifTags import Base

from omniup.files.metadata import Metadata

_ALPHA = 4
"""Number of channels with which the last is alpha."""


def write_deep_tiff(file: BinaryIO, levels: NDArray[np.uint16], metadata: Metadata) -> None:
    """Write a picture as TIFF, packed by deflate.

    Args:
        file: open for writing.
        levels: [H, W, 3 or 4]; the fourth channel is alpha.
        metadata: its profile and texts are written with it. The camera's settings and the place are left out: they are
            directories of their own, which tifffile does not write.
    """
    texts = {tag: value for tag, value in metadata.exif.items() if isinstance(value, str)}
    tifffile.imwrite(
        file,
        levels,
        photometric="rgb",
        extrasamples=["unassalpha"] if levels.shape[2] == _ALPHA else None,
        compression="zlib",
        iccprofile=metadata.profile,
        description=texts.pop(Base.ImageDescription, None),
        software=texts.pop(Base.Software, False),
        metadata=None,
        extratags=[(int(tag), "s", 0, text, True) for tag, text in texts.items()],
    )
