"""Read images of high dynamic range: OpenEXR and Radiance HDR, linear light with values above 1."""

from __future__ import annotations

import re
import shutil
import tempfile
from typing import BinaryIO

import numpy as np
import torch

from omniup.errors import optional_import
from omniup.files.arrays import CheckShape
from omniup.files.refusals import Subject
from omniup.files.sources import check_memory, stream_size

_EXR = b"v/1\x01"
_HDR = (b"#?RADIANCE", b"#?RGBE")
_HEADER = 2**14
"""Bytes in which the header of a Radiance file ends."""


def read_high_range(
    stream: BinaryIO, subject: Subject, *, max_pixels: int, max_bytes: int, check_shape: CheckShape | None
) -> torch.Tensor | None:
    """Read an OpenEXR or Radiance file.

    Args:
        stream: a seekable stream at its beginning, where it is left.
        subject: what refusals speak of.
        max_pixels: the largest image to accept, by the size its header declares.
        max_bytes: the largest image to accept, by what it takes in memory.
        check_shape: called with the shape that the header declares, [1, C, H, W], before anything is decoded.

    Returns:
        [C, H, W] float32 as stored: of colour red, green and blue, of others the channels by their names; None for
        other formats.

    Raises:
        InputError: it is damaged or too large, or the package that reads it is missing.
    """
    size = stream_size(stream)
    start = stream.read(len(_HDR[0]))
    stream.seek(0)

    def check(channels: int, height: int, width: int) -> None:
        if height * width > max_pixels or 4 * channels * height * width > max_bytes:
            raise subject.refusal("declares more pixels than the limit of {most}", most=max_pixels)
        check_memory(12 * channels * height * width, size, subject)  # as the reader has it, as float32, and together
        if check_shape is not None:
            check_shape((1, channels, height, width))

    if start.startswith(_HDR):
        sides = re.search(rb"\n-Y (\d{1,9}) \+X (\d{1,9})\n", stream.read(_HEADER))
        stream.seek(0)
        if sides is None:
            raise subject.refusal("is not in a format that is read here")
        check(3, int(sides[1]), int(sides[2]))
        imagecodecs = optional_import("imagecodecs", extra="formats")
        with subject.attempt("read"):
            return torch.from_numpy(np.ascontiguousarray(imagecodecs.rgbe_decode(stream.read()).transpose(2, 0, 1)))
    if not start.startswith(_EXR):
        return None
    exr = optional_import("OpenEXR", extra="formats")
    with tempfile.NamedTemporaryFile(suffix=".exr") as file, subject.attempt("read"):  # it reads from paths only
        shutil.copyfileobj(stream, file)
        file.flush()
        stream.seek(0)
        header = exr.File(file.name, header_only=True).header()
        low, high = header["dataWindow"]
        check(len(header["channels"]), int(high[1] - low[1]) + 1, int(high[0] - low[0]) + 1)
        channels = exr.File(file.name, separate_channels=True).channels()
        names = ["R", "G", "B"] if {"R", "G", "B"} <= channels.keys() else sorted(channels)
        return torch.from_numpy(np.stack([channels[name].pixels.astype(np.float32) for name in names]))
