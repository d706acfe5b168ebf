"""`omniup degrade`: make pairs of sharp and degraded pictures, to train restorers on and to evaluate them with."""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from omniup.cli import options
from omniup.cli.report import Report
from omniup.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from omniup.restoration.degradation import Degradation, Draws, Pair
    from omniup.visualize import Panel

NUMBERS, RECORD = "degradation.yaml", "record.jsonl"

PAIRS_SHOWN = 8
CROP = 256
"""Pairs that the contact sheet shows, and the side of their crops, in pixels."""


def degrade(
    inputs: options.Pictures,
    output: Annotated[
        str, typer.Argument(metavar="OUT", show_default=False, help="The folder for pairs, contact sheet and record.")
    ],
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Decides, with a picture's name, what happens to it.")
    ] = 0,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE.yaml", help="Other numbers than the published ones; see examples/degradation.yaml."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Longest side, in pixels, that larger pictures are first downsampled to."
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Degrade pictures as HYPIR's training does: two rounds of blur, resize, noise and JPEG.

    Writes the sharp pictures to OUT/gt and the degraded ones to OUT/lq, in folders like those they come from.

    Adds sheet.png with some of them, record.jsonl with what happened to each, and degradation.yaml with the numbers.

    More pictures may go to the same OUT with the same numbers; the record has them all.

    A picture comes out the same whatever else is in its folder.

    For example: omniup degrade photos pairs --seed 1
    """
    report = Report(as_json, quiet, verbose)

    from tqdm import tqdm

    from omniup.cli.inputs import find_pictures
    from omniup.cli.record import Record
    from omniup.files import atomic_write, output_folder, write_image
    from omniup.files.refusals import printable
    from omniup.restoration.degradation import Degradation
    from omniup.restoration.degradation import degrade as compute
    from omniup.visualize import sheet

    where = options.pick_device(device)
    settings = Degradation.read(config) if config else Degradation()
    pictures = find_pictures(inputs, results=output)
    made = 0
    panels: list[Panel] = []
    failures: dict[str, str] = {}
    read = [*pictures, *([config] if config else [])]
    with output_folder(output, "degrade", inputs=read, overwrite=overwrite) as place:
        folder = place.path
        pairs = [PurePath(half, name).as_posix() for name in pictures.values() for half in ("gt", "lq")]
        text = _numbers(settings).encode()
        numbers = folder / NUMBERS
        has_numbers = NUMBERS in place.own and numbers.exists()
        is_known = has_numbers and numbers.read_bytes() == text
        if has_numbers and not is_known and not overwrite:
            raise InputError(
                str(numbers), "has other numbers, those of pairs that are there", "another folder, or --overwrite"
            )
        record = Record(folder / RECORD, is_own=RECORD in place.own)
        place.claim(*pairs, "sheet.png", RECORD, *(() if is_known else (NUMBERS,)))
        try:
            with report.stage("degrade"):
                for source, name in tqdm(pictures.items(), desc="degrade", leave=False, disable=report.draws_no_bars):
                    try:
                        image = _read(source, size).to(where)
                    except InputError as error:
                        failures[source] = str(error)
                        continue
                    pair = compute(image, settings, _generator(seed, name))
                    (draws,) = pair.draws.record()
                    about = {"picture": source, "name": str(name), "size": list(image.shape[2:])}
                    with record.adding(about | draws):
                        _write(folder, name, pair)
                    made += 1
                    if made == 1 and not is_known:
                        with atomic_write(numbers) as file:
                            file.write(text)
                    if made <= PAIRS_SHOWN:
                        panels += _contact(name, pair)
        finally:  # an interrupt, too, leaves the record of what has been written
            record.close()
        if panels:
            write_image(folder / "sheet.png", sheet(panels, title=f"{printable(output)}: seed {seed}"))

        report.note(f"{output}: {made} of {len(pictures)} pictures ({report.times})")
        facts = {"output": output, "seed": seed, "pairs": made, "failures": failures, "device": where.type}
        report.result(facts | {"seconds": report.seconds})
        if failures:
            print(*failures.values(), sep="\n", file=sys.stderr)
            raise InputError(f"{len(failures)} of {len(pictures)} pictures", "could not be read: those above")


def _read(source: str, longest: int | None) -> Tensor:
    """Read a picture, [1, 3, H, W], and downsample it where a side is longer than wanted."""
    from torch.nn import functional as F

    from omniup.cli.inputs import read_picture

    image = read_picture(source)
    height, width = image.shape[2:]
    if longest is None or max(height, width) <= longest:
        return image
    size = [max(1, round(side * longest / max(height, width))) for side in (height, width)]
    return F.interpolate(image, size, mode="bilinear", antialias=True).clamp(0, 1)  # rounding may pass white


def _generator(seed: int, name: PurePath) -> torch.Generator:
    """Make a picture's own random generator, so that its draws do not depend on other pictures."""
    import torch

    digest = hashlib.sha256(os.fsencode(f"{seed} {name.as_posix()}")).digest()  # a file's name need not be UTF-8
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))


def _write(folder: Path, name: PurePath, pair: Pair) -> None:
    """Write the two pictures of a pair, which appear when both are whole."""
    from omniup.files import together, write_image
    from omniup.files.atomic import made_folder
    from omniup.visualize import to_picture

    images = {folder / "gt" / name: pair.target, folder / "lq" / name: pair.lq}
    with ExitStack() as stack:
        for path in images:
            stack.enter_context(made_folder(path.parent))
        stack.enter_context(together())
        for path, image in images.items():
            write_image(path, to_picture(image))


def _numbers(settings: Degradation) -> str:
    """Lay out the numbers as `--config` takes them."""
    import yaml

    return yaml.safe_dump(settings.model_dump(mode="json"), default_flow_style=None, sort_keys=False)


def _contact(name: PurePath, pair: Pair) -> list[Panel]:
    """Draw the middle of a pair at full size, since a smaller picture would hide the degradation."""
    from omniup.files.refusals import printable
    from omniup.visualize import Panel

    height, width = pair.lq.shape[2:]
    side = min(CROP, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    target, lq = (image[:, :, top : top + side, left : left + side] for image in (pair.target, pair.lq))
    return [Panel(printable(str(name.with_suffix(""))), target), Panel(_in_words(pair.draws), lq)]


def _in_words(draws: Draws) -> str:
    """Describe in short what happened to the one image of a batch."""
    batch, (image,) = draws.batch, draws.images
    return ", then ".join(
        f"x {resize.factor:.2f}, {stage.noise.kind} {stage.noise.strength:.1f}, JPEG {stage.quality}"
        for resize, stage in ((batch.first, image.first), (batch.second, image.second))
    )
