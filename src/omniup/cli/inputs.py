"""Where images and signals come from: a path, `-` for standard input, `sample:NAME` for a bundled photograph."""

from __future__ import annotations

import sys
from io import BytesIO

from torch import Tensor

from omniup.files import Source, image_tensor, read_image, sample_image
from omniup.files.sources import open_source

SAMPLE = "sample:"


def read_guidance(argument: str) -> Tensor:
    """Read the image that an argument means, [1, 3, H, W] in 0..1.

    Raises:
        InputError: it cannot be read, or there is no sample of this name.
    """
    if argument.startswith(SAMPLE):
        return image_tensor(sample_image(argument.removeprefix(SAMPLE)))
    return read_image(source(argument))


def source(argument: str) -> Source:
    """Give the readers of `omniup.files` what they take: a path, or what standard input held, to be read twice.

    Raises:
        InputError: standard input is empty, or holds more than is accepted.
    """
    if argument != "-":
        return argument
    with open_source(sys.stdin.buffer, noun="standard input", accepted="the bytes of a file") as (stream, _):
        held = BytesIO(stream.read())
    held.name = "standard input"
    return held
