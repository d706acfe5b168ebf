"""Have the output of a video for this process alone, and make what the frames go to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from tqdm import tqdm

from omniup.cli.outputs import output_file
from omniup.cli.report import Report
from omniup.errors import InputError
from omniup.files import Inputs, locked, output_folder
from omniup.files.atomic import made_folder
from omniup.files.refusals import printable
from omniup.sequences.films import SUFFIXES, check_encoder, check_sound
from omniup.sequences.frames import Film, FrameSource
from omniup.sequences.painting import Drawing
from omniup.sequences.sinks import FilmSink, FolderSink, Sink, ZarrSink
from omniup.sequences.unfinished import Unfinished, was_stopped

Form: TypeAlias = Literal["film", "zarr", "pictures", "arrays"]
"""Forms of results: pictures as a film or one a file, arrays as zarr or one a file."""


def form_of(output: str, show: str | None) -> Form:
    """Return the form of the results, by the name of the output and whether pictures are wanted.

    Raises:
        InputError: the name has another suffix, or zarr is to hold pictures.
    """
    suffix = "" if Path(output).is_dir() and not output.endswith(".zarr") else Path(output).suffix.lower()
    if suffix in SUFFIXES:
        check_encoder(output)
        return "film"
    if suffix == ".zarr":
        if show is not None:
            raise InputError("--show", "is given, and {output} holds arrays", "a film or a folder", output=output)
        return "zarr"
    if suffix:
        known = ", ".join(SUFFIXES)
        raise InputError(output, "has the suffix {suffix!r}", "{known}, .zarr, or a folder", suffix=suffix, known=known)
    return "arrays" if show is None else "pictures"


@contextmanager
def owned(output: str, form: Form, inputs: Sequence[str], *, overwrite: bool) -> Iterator[None]:
    """Have the output for this process alone.

    Args:
        output: as the user gave it.
        form: of the results.
        inputs: what is read, and must not be overwritten.
        overwrite: replace what is there, whoever wrote it.

    Raises:
        InputError: it cannot be written, is an input, or is there, not to be overwritten and of no stopped run.
    """
    replaces, place = overwrite or was_stopped(output), Path(output)
    if form == "film":
        with output_file(output, inputs, replaces):
            yield
        return
    Inputs(inputs).check(place)
    if form == "zarr":
        if not replaces and place.exists() and any(place.iterdir()):
            raise InputError(printable(output), "exists already", "another name, or --overwrite")
        with made_folder(place), locked(place):
            yield
        return
    with output_folder(place, "video", inputs=inputs, overwrite=overwrite) as folder:
        if not replaces and FolderSink.PATTERN not in folder.own and any(place.glob(FolderSink.PATTERN)):
            raise InputError(printable(output), "holds files of frames already", "another name, or --overwrite")
        folder.adopt(FolderSink.PATTERN)
        yield


@contextmanager
def kept(unfinished: Unfinished, *, overwrite: bool) -> Iterator[None]:
    """Go on with a stopped run, or begin one; one that is refused before anything is kept leaves nothing.

    Raises:
        InputError: as `Unfinished.open`.
    """
    unfinished.open(overwrite=overwrite)
    try:
        yield
    except Exception:
        if not unfinished.has_state:
            unfinished.remove()
        raise


def sink_of(
    output: str, form: Form, unfinished: Unfinished, painter: Drawing | None, source: FrameSource, *, sound: Path | None
) -> Sink:
    """Make what the results go to."""
    if form == "zarr":
        return ZarrSink(output, len(unfinished.times))
    if form != "film":
        return FolderSink(output, painter)
    assert painter is not None  # as films are of pictures
    return FilmSink(output, unfinished, painter, time_base=source.time_base, rate=source.rate, sound=sound)


def sound_of(source: FrameSource, output: str, form: Form, wanted: bool) -> Path | None:
    """Return the film whose sound is copied, if it has some.

    Raises:
        InputError: the output cannot hold it.
    """
    if form != "film" or not wanted or not isinstance(source, Film):
        return None
    return source.path if check_sound(source.path, output) else None


@contextmanager
def progress_bar(
    report: Report, total: int | None, done: int, *, name: str = "video"
) -> Iterator[Callable[[int], None]]:
    """Show how many frames are done, frames a second and the time that is left, on a terminal."""
    with tqdm(desc=name, total=total, initial=done, unit="frame", leave=False, disable=report.draws_no_bars) as bar:

        def show(count: int) -> None:
            bar.update(count - bar.n)

        yield show
