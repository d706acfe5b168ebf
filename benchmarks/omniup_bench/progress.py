"""Show how far a run has come, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from omniup.cli.report import Report

if TYPE_CHECKING:
    from omniup_bench.quality import Progress


@contextmanager
def shown(report: Report) -> Iterator[Callable[[Progress], None]]:
    """Show a bar on a terminal; yields what `measure` calls after each image and method."""
    from tqdm import tqdm

    silent = report.quiet or report.verbose or not sys.stderr.isatty()
    with tqdm(desc="measure", leave=False, disable=silent) as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.expected
            bar.set_description(f"{progress.task} {progress.factor}× {progress.method}", refresh=False)
            bar.update()

        yield show
