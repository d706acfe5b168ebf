"""Find and open images and signals: paths, `-` for standard input, `sample:NAME` for bundled photographs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path, PurePath

from torch import Tensor

from omniup.cli.report import Report
from omniup.errors import InputError
from omniup.files import SAMPLE, Source, find_images, read_alpha, read_image, read_photograph
from omniup.files.images import ACCEPTED
from omniup.files.refusals import printable
from omniup.files.sources import open_source
from omniup.upsamplers.checks import Size
from omniup.upsamplers.guidance_files import GuidanceFile, read_guidance_file


def read_picture(argument: str) -> Tensor:
    """Read the picture that an argument names, [1, 3, H, W] in 0..1.

    Raises:
        InputError: it cannot be read, or there is no sample of this name.
    """
    return read_image(source(argument)) if argument == "-" else read_photograph(argument)


def read_picture_alpha(argument: str) -> Tensor | None:
    """Read the alpha of the picture that an argument names, [1, 1, H, W] in 0..1; None if it is opaque.

    Raises:
        InputError: it cannot be read.
    """
    return None if argument.startswith(SAMPLE) else read_alpha(argument)


def read_guidance(argument: str, report: Report, *, name: str | None = None) -> GuidanceFile:
    """Read the guidance that an argument names.

    Args:
        argument: as the user gave it.
        report: notes it if bands are in another unit, and so are scaled to 0..1.
        name: which array of an archive; None where there is just one.

    Raises:
        InputError: it cannot be read, or there is no sample of this name.
    """
    if argument.startswith(SAMPLE):
        return GuidanceFile(read_picture(argument))
    found = read_guidance_file(source(argument), name=name)
    if found.scaled_from is not None:
        low, high = found.scaled_from
        report.note(
            f"{argument}: values from {low:.6g} to {high:.6g}, so each of {found.values.shape[1]} bands is scaled to "
            "0..1, from its 1st to its 99th percentile"
        )
    return found


def lying_like(photo: GuidanceFile, grid: Size, orientation: str, argument: str, report: Report) -> Tensor:
    """Turn guidance the way that a signal lies, as `GuidanceFile.lying_like` does, and note it if `"auto"` turned it.

    Args:
        photo: the guidance.
        grid: (h, w) of the signal.
        orientation: `"auto"`, `"upright"` or `"stored"`.
        argument: that named the guidance.
        report: takes the note.

    Raises:
        InputError: there is no such choice.
    """
    guidance, is_stored = photo.lying_like(grid, orientation)
    if is_stored:
        report.note(
            f"{argument}: turned by 90° by its EXIF orientation, and the signal has the aspect of the stored picture, "
            "so that is taken; --orientation upright decides otherwise"
        )
    return guidance


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
