"""Upsample pictures larger than memory for `omniup upsample`, block by block."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omniup.cli.report import Report
from omniup.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from omniup.jobs.large_pictures import BlockProgress

#: Suffixes that only this way of upsampling writes.
WRITTEN = (".zarr", ".tif", ".tiff")


def is_large(image: str, signal: str, output: str) -> bool:
    """Return whether a picture is upsampled block by block.

    It is where the result is a .zarr or .tif, the picture or the signal a .zarr, or the picture has more pixels than
    are read at once.
    """
    suffixes = {Path(source).suffix.lower() for source in (image, signal)}
    return Path(output).suffix.lower() in WRITTEN or ".zarr" in suffixes or _pixels(Path(image)) > _most()


def upsample_blocks(
    image: str, signal: str, output: str, report: Report, refused: Mapping[str, object], **arguments: Any
) -> None:
    """Upsample block by block, and report it.

    Args:
        image: as the user gave it.
        signal: likewise.
        output: likewise.
        report: shows the progress.
        refused: options that do not go with blocks, by their names, with their values; None or False if not given.
        **arguments: of `omniup.upsample_large`.

    Raises:
        InputError: such an option is given; or as `omniup.upsample_large`.
    """
    from omniup.jobs.large_pictures import upsample_large
    from omniup.jobs.results import SUFFIXES

    for name, value in refused.items():
        if value not in (None, False, "auto"):
            problem = "does not go with a picture that is upsampled block by block"
            raise InputError(name, problem, "none, or a picture and a result that are no .zarr or .tif")
    if output == "-" or Path(output).suffix.lower() not in SUFFIXES:
        problem, accepted = "is to hold a picture that is upsampled block by block", "{suffixes}"
        raise InputError(output, problem, accepted, suffixes=", ".join(SUFFIXES))
    with _progress(report) as show, report.stage("blocks"):
        made = upsample_large(image, signal, output, progress=show, **arguments)
    shape = " x ".join(map(str, made.shape))
    lacking = "" if made.nodata is None else f", no data: {made.nodata:g}"
    report.note(
        f"{output}: {shape} {made.dtype}, {made.signal_type}, {made.computed} of {made.blocks} blocks computed"
        f"{lacking} ({report.times})"
    )
    report.result(
        {
            "output": output,
            "shape": list(made.shape),
            "dtype": made.dtype,
            "signal_type": made.signal_type,
            "grid": list(made.grid),
            "method": arguments["method"],
            "blocks": made.blocks,
            "computed": made.computed,
            "nodata": made.nodata,
            "seconds": report.seconds,
        }
    )


@contextmanager
def _progress(report: Report) -> Iterator[Callable[[BlockProgress], None]]:
    """Show megapixels, their pace and the time left on a terminal; say what an interrupted job has left."""
    from tqdm import tqdm

    bar: tqdm[Any] | None = None
    last: BlockProgress | None = None

    def show(progress: BlockProgress) -> None:
        nonlocal bar, last
        last = progress
        if bar is None:
            whole = progress.megapixels + progress.megapixels_per_second * progress.seconds_left
            layout = "{desc} {percentage:3.0f}%|{bar}| {postfix}"
            bar = tqdm(total=whole or None, desc="blocks", leave=False, disable=report.draws_no_bars, bar_format=layout)
        bar.n = progress.megapixels
        left = "" if np.isnan(progress.seconds_left) else f", {tqdm.format_interval(progress.seconds_left)} left"
        bar.set_postfix_str(
            f"{progress.iteration} of {progress.iterations} blocks, {progress.megapixels:.1f} MP, "
            f"{progress.megapixels_per_second:.2f} MP/s{left}"
        )

    try:
        yield show
    except KeyboardInterrupt:
        if last is not None:
            report.note(f"{last.iteration} of {last.iterations} blocks are written; the same command goes on")
        raise
    finally:
        if bar is not None:
            bar.close()


def _most() -> int:
    from omniup.files import MAX_PIXELS

    return MAX_PIXELS


def _pixels(path: Path) -> int:
    """Return how many pixels a TIFF or .npy file declares; 0 of others, and of what cannot be read."""
    from omniup.files.deep import TIFF

    log = logging.getLogger("tifffile")  # which writes a line for each damaged tag; reading the file says it in one
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with path.open("rb") as stream:
            start = stream.read(6)
            stream.seek(0)
            if start[:4] in TIFF:
                import tifffile

                with tifffile.TiffFile(stream) as file:
                    page = file.pages.first
                    return int(page.imagelength * page.imagewidth)
            if start == np.lib.format.MAGIC_PREFIX:
                sides = sorted(np.load(path, mmap_mode="r", allow_pickle=False).shape)
                return int(sides[-1] * sides[-2]) if len(sides) > 1 else 0
    except (OSError, ValueError, KeyError, IndexError):
        return 0
    finally:
        log.setLevel(before)
    return 0
