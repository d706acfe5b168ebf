"""Restore a film in one run, which goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from omniup.cli import video_results
from omniup.cli.report import Report
from omniup.cli.restorers import size_settings
from omniup.errors import InputError
from omniup.files.refusals import printable
from omniup.restoration import Damage, Restorer
from omniup.restoration.plan import free_memory
from omniup.restoration.restorer import UNDAMAGED
from omniup.sequences.films import SUFFIXES, check_encoder
from omniup.sequences.frames import FrameSource, open_frames
from omniup.sequences.job import EachFrame, run_video
from omniup.sequences.painting import AsItIs
from omniup.sequences.unfinished import Unfinished
from omniup.upsamplers.checks import as_guidance

if TYPE_CHECKING:
    from omniup.restoration import Enhancer

FILMS = (*SUFFIXES, ".webm", ".avi")
"""Suffixes of films."""

ESTIMATED_WITHIN, ESTIMATED_EVERY = 96, 12
"""The first frames, within which the damage of a film is estimated, and every how many of them."""


def is_film(output: str) -> bool:
    """Return whether results are to be a film."""
    return Path(output).suffix.lower() in SUFFIXES and not Path(output).is_dir()


def check_film(inputs: Sequence[str], output: str, for_pictures: Mapping[str, Any]) -> None:
    """Refuse what does not go together with films.

    Args:
        inputs: what is to be restored.
        output: where it goes.
        for_pictures: options that go with pictures only, and whether they are given.

    Raises:
        InputError: a film would become pictures or pictures a film, such an option is given, or this PyAV cannot encode
            films.
    """
    films = [source for source in inputs if Path(source).suffix.lower() in FILMS and not Path(source).is_dir()]
    if not is_film(output):
        if films:
            raise InputError(
                printable(films[0]), "is a film", "it with -o FILE, {formats}", formats=", ".join(SUFFIXES)
            )
        return
    if len(films) != 1 or len(inputs) != 1:
        raise InputError(printable(output), "is a film", "one film to be restored, {formats}", formats=", ".join(FILMS))
    for name, value in for_pictures.items():
        if value:
            raise InputError(
                f"--{name}", "is given, and {film} is a film", "it with pictures", film=printable(films[0])
            )
    check_encoder(output)


def restore_film(
    film: str,
    output: str,
    load: Callable[[], Restorer | Enhancer],
    settings: Mapping[str, Any],
    record: Mapping[str, Any],
    report: Report,
    *,
    sound: bool,
    overwrite: bool,
) -> dict[str, Any]:
    """Restore the frames of a film, each by itself.

    Args:
        film: what is restored.
        output: the film to write.
        load: loads what restores.
        settings: of its calls.
        record: all that changes the result, as plain data.
        report: shows how far it has come.
        sound: whether the sound is copied.
        overwrite: replace what is there.

    Returns:
        What was done, as plain data.

    Raises:
        InputError: the film cannot be read, restored or written.
    """
    source = open_frames(film)
    unfinished = Unfinished(output, {**record, "input": source.fingerprint(), "sound": sound})
    copied = video_results.sound_of(source, output, "film", sound)
    with (
        video_results.owned(output, "film", [film], overwrite=overwrite),
        video_results.kept(unfinished, overwrite=overwrite),
    ):
        done = len(unfinished.times)
        if done:
            report.note(f"{unfinished.path}: goes on after frame {done}")
        loaded = load()
        found: dict[str, Damage] = {}
        every: dict[str, Any] = dict(settings)
        if isinstance(loaded, Restorer):
            found[film] = damage_of(source, loaded, **size_settings(settings))
            every["damage"] = [found[film]]
        elif every["memory"] is None:  # once, so that all frames have the same tiles
            every["memory"] = free_memory(loaded.device)
        step = EachFrame(partial(loaded, **every))
        sink = video_results.sink_of(output, "film", unfinished, AsItIs(), source, sound=copied)
        bar = video_results.progress_bar(report, source.expected, done, name="restore")
        with report.stage("restore"), bar as progress:
            count = run_video(source, step, sink, unfinished, progress=progress)
    for damage in found.values():
        report.note(f"{printable(film)}: found {damage}")
    speed = (count - done) / report.seconds["restore"]
    report.note(f"{output}: {count} frames restored ({speed:.2f} frames/s)")
    return {
        "output": output,
        "frames": count,
        "frames_per_second": speed,
        "found": {name: asdict(damage) for name, damage in found.items()},
    }


def damage_of(source: FrameSource, restorer: Restorer, **size: Any) -> Damage:
    """Estimate what is wrong with a film: the mean over some frames, so that it does not change with the scene.

    Args:
        source: the film.
        restorer: which estimates.
        size: `scale` or `longest_side` of the results.
    """
    frames = islice(source.frames(), 0, ESTIMATED_WITHIN, ESTIMATED_EVERY)
    each = [restorer.estimate(as_guidance(frame.image), **size)[0] for frame in frames]
    found = [damage for damage in each if damage != UNDAMAGED] or [UNDAMAGED]  # black frames have none
    return Damage(**{field.name: fmean(getattr(each, field.name) for each in found) for field in fields(Damage)})
