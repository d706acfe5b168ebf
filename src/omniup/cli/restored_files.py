"""Restore many pictures in one run, going on after failures and leaving alone what is done.

What cannot be written is another matter: the next result could not be written either, so it ends the run.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from omniup.cli.inputs import read_picture, read_picture_alpha
from omniup.cli.report import Report
from omniup.cli.restored_panels import PICTURES_SHOWN, restored_panels
from omniup.errors import InputError, is_out_of_memory
from omniup.files import SAMPLE
from omniup.files.metadata import Metadata, read_metadata
from omniup.restoration.alpha import with_alpha
from omniup.restoration.results import check_holds, digest, holds_alpha, is_done, write_result
from omniup.restoration.sizes import result_size

if TYPE_CHECKING:
    from torch import Tensor

    from omniup.restoration.prompts import Prompts
    from omniup.visualize import Panel

logger = logging.getLogger(__name__)


class RestoredFiles:
    """Pictures to restore, and what became of them.

    Args:
        pictures: their places in their folder, by what they are called by.
        targets: where their results go, likewise.
        prompts: what is said about them.
        settings: with which everything is restored; kept in each result.
        bits: of the results' channels, 8 or 16.
        compare: whether to keep panels of the first pictures.
        report: shows how far it has come.

    Attributes:
        restored: the results written.
        failures: what was wrong with pictures, by what they are called by.
        panels: pictures beside their results.
        todo: what is to be restored still, with the settings to be kept in the result.
    """

    def __init__(
        self,
        pictures: Mapping[str, PurePath],
        targets: Mapping[str, Path],
        prompts: Prompts,
        settings: Mapping[str, Any],
        report: Report,
        *,
        bits: int = 8,
        compare: bool = False,
    ) -> None:
        self._pictures, self._targets, self._prompts, self._report = pictures, targets, prompts, report
        self._bits, self._most_panels = bits, 2 * PICTURES_SHOWN if compare else 0
        self.panels: list[Panel] = []
        self.restored: list[str] = []
        self.failures: dict[str, str] = {}
        self.todo: dict[str, dict[str, Any]] = {}
        for source, place in pictures.items():
            with self._noting(source):
                wanted = {**settings, "source": _identity(source), "prompt": prompts.record(place), "bits": bits}
                if not is_done(targets[source], wanted):
                    self.todo[source] = wanted
        self.skipped = len(pictures) - len(self.todo) - len(self.failures)

    def run(self, enhance: Callable[..., Tensor]) -> None:
        """Restore what is to be done.

        Args:
            enhance: takes a picture's source, the picture, its prompt and `progress=`.

        Raises:
            InputError: a result cannot be written.
        """
        with _progress(self._report, len(self.todo)) as advance:
            for count, (source, wanted) in enumerate(self.todo.items()):
                made = None
                with self._noting(source):
                    image = read_picture(source)
                    size = result_size(image, wanted.get("scale", 1), wanted.get("longest_side"))
                    check_holds(self._targets[source], size)
                    text = self._prompts.text(self._pictures[source], image)
                    alpha = read_picture_alpha(source) if holds_alpha(self._targets[source]) else None
                    metadata = Metadata() if source.startswith(SAMPLE) else read_metadata(source)
                    made = enhance(source, image, text, progress=partial(advance, count, source))
                    if len(self.panels) < self._most_panels:
                        self.panels += restored_panels(source, image, made)
                    made = made if alpha is None else with_alpha(made, alpha)
                if made is not None:
                    write_result(self._targets[source], made, wanted, metadata, bits=self._bits)
                    self.restored.append(str(self._targets[source]))

    @contextmanager
    def summary_at_the_end(self) -> Iterator[None]:
        """List what has failed, however the end comes, and say that an interrupt loses nothing.

        Raises:
            InputError: anything has failed.
        """
        try:
            yield
        except KeyboardInterrupt:
            self._report.note(
                f"{len(self.restored)} restored before the interrupt; the same command goes on from there"
            )
            raise
        finally:
            for said in self.failures.values():
                print(said, file=sys.stderr)
        if self.failures:
            raise InputError(
                f"{len(self.failures)} of {len(self._pictures)} pictures", "could not be restored: those above"
            )

    @contextmanager
    def _noting(self, source: str) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            self.failures[source] = str(error if error.argument.startswith(source) else error.within(source))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self.failures[source] = f"{source}: out of memory: a smaller --memory or --tile needs less"


def _identity(source: str) -> str:
    """Return a text that distinguishes a picture from another that had the same name."""
    return source if source.startswith(SAMPLE) else digest(source)


@contextmanager
def _progress(report: Report, total: int) -> Iterator[Callable[[int, str, int, int], None]]:
    """Show how far the pictures have come, in parts of pictures, and how long the rest will take."""
    from tqdm import tqdm

    bar_format = "{desc} {percentage:3.0f}%|{bar}| {n:.1f} of {total} [{elapsed}, {remaining} left]"
    with tqdm(desc="restore", total=total, leave=False, disable=report.draws_no_bars, bar_format=bar_format) as bar:

        def advance(count: int, source: str, tiles: int, of: int) -> None:
            logger.info("%s: tile %d of %d", source, tiles, of)
            bar.n = count + tiles / of
            bar.refresh()

        yield advance
