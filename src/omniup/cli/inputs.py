"""Find and open images and signals: paths, `-` for standard input, `sample:NAME` for bundled photographs."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePath

import numpy as np
import torch
from torch import Tensor

from omniup import files
from omniup.cli.report import Report
from omniup.errors import InputError
from omniup.files import Source, find_images, image_tensor, read_alpha, read_image, sample_image
from omniup.files.images import ACCEPTED
from omniup.files.orientation import turn_back
from omniup.files.refusals import printable
from omniup.files.sources import open_source
from omniup.upsamplers import as_guidance, scale_bands
from omniup.upsamplers.checks import OVERSHOOT, check_choice

SAMPLE = "sample:"

QUARTER_TURN = 5
"""The EXIF orientations from here on turn by 90°."""


def read_picture(argument: str) -> Tensor:
    """Read the picture that an argument names, [1, 3, H, W] in 0..1.

    Raises:
        InputError: it cannot be read, or there is no sample of this name.
    """
    if argument.startswith(SAMPLE):
        return image_tensor(sample_image(argument.removeprefix(SAMPLE)))
    return read_image(source(argument))


def read_picture_alpha(argument: str) -> Tensor | None:
    """Read the alpha of the picture that an argument names, [1, 1, H, W] in 0..1; None if it is opaque.

    Raises:
        InputError: it cannot be read.
    """
    return None if argument.startswith(SAMPLE) else read_alpha(argument)


@dataclass(frozen=True, eq=False)
class Guidance:
    """Guidance as it was read.

    Attributes:
        argument: as the user gave it.
        values: [1, G, H, W], upright; in 0..1, or uint8, which methods convert.
        orientation: the EXIF orientation that it was turned by.
    """

    argument: str
    values: Tensor
    orientation: int = 1

    def size(self, orientation: str) -> tuple[int, int]:
        """Return (H, W), in pixels: of the stored picture where the user says that the signal lies like it."""
        height, width = self.values.shape[2:]
        is_turned = orientation == "stored" and self.orientation >= QUARTER_TURN
        return (width, height) if is_turned else (height, width)

    def lying_like(self, grid: tuple[int, int], orientation: str, report: Report) -> Tensor:
        """Turn the guidance the way that the signal lies.

        Args:
            grid: (h, w) of the signal.
            orientation: `"upright"`, `"stored"`, or `"auto"`: as it is stored if the EXIF orientation is a quarter turn
                and the signal's aspect is nearer to that of the stored picture.
            report: notes it if `"auto"` decides for the stored one.

        Raises:
            InputError: there is no such choice.
        """
        check_choice("--orientation", orientation, ("auto", "upright", "stored"))
        stored = torch.from_numpy(np.ascontiguousarray(turn_back(self.values.numpy(), self.orientation)))
        if orientation == "auto" and self.orientation >= QUARTER_TURN:
            upright_error, stored_error = (
                abs(math.log(grid[0] * shape[3] / (grid[1] * shape[2]))) for shape in (self.values.shape, stored.shape)
            )
            if stored_error < upright_error:
                report.note(
                    f"{self.argument}: turned by 90° by its EXIF orientation, and the signal has the aspect of the "
                    "stored picture, so that is taken; --orientation upright decides otherwise"
                )
                return stored
        return stored if orientation == "stored" else self.values


def read_guidance(argument: str, report: Report, *, name: str | None = None) -> Guidance:
    """Read the guidance that an argument names: a picture, the bands of a sensor, an array.

    Args:
        argument: as the user gave it.
        report: notes it if bands are in another unit, and so are scaled to 0..1.
        name: which array of an archive; None where there is just one.

    Raises:
        InputError: it cannot be read, or there is no sample of this name.
    """
    if argument.startswith(SAMPLE):
        return Guidance(argument, read_picture(argument))
    file = source(argument)
    numbers, orientation = files.read_guidance(file, name=name), files.read_orientation(file)
    if numbers.dtype == torch.uint8:
        return Guidance(argument, numbers, orientation)
    low, high = (bound.item() for bound in numbers.aminmax())
    if low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        return Guidance(argument, as_guidance(numbers), orientation)
    scaled = scale_bands(numbers)
    report.note(
        f"{argument}: values from {low:.6g} to {high:.6g}, so each of {numbers.shape[1]} bands is scaled to 0..1, from "
        "its 1st to its 99th percentile"
    )
    return Guidance(argument, scaled, orientation)


def source(argument: str) -> Source:
    """Return what the readers of `omniup.files` take: a path, or the bytes of standard input.

    Raises:
        InputError: standard input is empty, or holds more than is accepted.
    """
    if argument != "-":
        return argument
    with open_source(sys.stdin.buffer, noun="standard input", accepted="the bytes of a file") as (stream, _):
        held = BytesIO(stream.read())
    held.name = "standard input"
    return held


def find_pictures(inputs: Sequence[str], *, results: str) -> dict[str, PurePath]:
    """Find the pictures that arguments mean.

    Args:
        inputs: pictures, folders, samples.
        results: the folder for results; should it be in one of the inputs, nothing is taken from there.

    Returns:
        For each picture, as `read_guidance` takes it, the name of its results: its path below the folder that
        was given, ending in .png.

    Raises:
        InputError: there are no pictures, or two would get the same name.
    """
    found: dict[str, PurePath] = {}
    owners: dict[PurePath, str] = {}
    for argument in inputs:
        for source, path in _below(argument, Path(results).resolve()):
            name = found[source] = path.with_suffix(".png")
            if (owner := owners.setdefault(name, source)) != source:
                raise InputError(
                    printable(source), "would become {name}, and so would {other}", name=name, other=printable(owner)
                )
    if not found:
        raise InputError(printable(", ".join(inputs)), "holds no pictures", ACCEPTED)
    return found


def _below(argument: str, results: Path) -> Iterator[tuple[str, PurePath]]:
    """Yield a picture and its file name, or the pictures below a folder and their paths from there."""
    folder = Path(argument)
    if argument.startswith(SAMPLE):
        yield argument, PurePath(argument.removeprefix(SAMPLE) or argument)
    elif not folder.is_dir():
        yield argument, PurePath(folder.name)
    else:
        for path in find_images(folder, below=True):
            if results not in path.resolve().parents:
                yield str(path), path.relative_to(folder)
