"""Report the progress and the results of a command, on a terminal or as JSON.

Progress, notes and logs go to standard error. Standard output is for what was asked for: a table, or with `--json` one
object, in which a number that JSON does not know (the PSNR of two equal pictures) is null.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omniup.cli.outputs import standard_output
from omniup.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from omniup import Progress

logger = logging.getLogger(__name__)


class Report:
    """The reporter of one command.

    Args:
        as_json: print the result as one JSON object.
        quiet: no progress, no notes, no tables.
        verbose: log instead of drawing a progress bar.

    Attributes:
        seconds: how long each stage took.
    """

    def __init__(self, as_json: bool, quiet: bool = False, verbose: bool = False) -> None:
        if quiet and verbose:
            raise InputError("--quiet", "is given together with --verbose", "one of the two")
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self.seconds: dict[str, float] = {}
        logging.basicConfig(format="%(message)s", stream=sys.stderr, force=True)
        level = logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING
        logging.getLogger("omniup").setLevel(level)

    @property
    def draws_no_bars(self) -> bool:
        """True where no bar of progress is to be drawn: it was not asked for, or nobody sees it."""
        return self.quiet or self.verbose or not sys.stderr.isatty()

    @property
    def times(self) -> str:
        """Times of the stages, as text."""
        return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.seconds.items())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, with the work that was begun in it on a GPU."""
        began = time.perf_counter()
        yield
        if (torch := sys.modules.get("torch")) and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.seconds[name] = time.perf_counter() - began
        logger.info("%s: %.3f s", name, self.seconds[name])

    @contextmanager
    def progress(self, name: str) -> Iterator[Callable[[Progress], None]]:
        """Show the progress of a stage on a terminal; nothing where it reports no steps."""
        from omniup.upsamplers.progress import progress_bar

        with progress_bar(name, silent=self.draws_no_bars) as show:
            yield show

    def note(self, text: str) -> None:
        """Print a remark while the command works."""
        if not self.quiet:
            print(text, file=sys.stderr)

    def result(self, facts: Mapping[str, Any], shown: RenderableType | None = None) -> None:
        """Print the results.

        Args:
            facts: for machines.
            shown: for people; None where the notes have said it.
        """
        from rich.console import Console

        with standard_output():
            if self.as_json:
                print(to_json(facts))
            elif shown is not None and not self.quiet:
                Console(markup=False, emoji=False, highlight=False).print(shown)


def to_json(facts: Mapping[str, Any]) -> str:
    """Write an object as JSON, with null for what is not finite."""
    return json.dumps(_finite(facts), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
