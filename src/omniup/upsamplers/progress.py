"""Show the progress of slow steps: as a bar in a terminal or a notebook, or by a function of the caller's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias


@dataclasses.dataclass(frozen=True)
class Progress:
    """Progress of a preparation or of the rendering of labels.

    Attributes:
        iteration: steps taken so far.
        iterations: steps to take.
        seconds_left: estimated from the steps so far.
        loss: what is minimised, if anything; of test-time optimisation, the mean absolute error of the reconstruction.
    """

    iteration: int
    iterations: int
    seconds_left: float
    loss: float | None = None


ProgressCallback: TypeAlias = Callable[[Progress], None]

ProgressLike: TypeAlias = ProgressCallback | bool | None
"""A function that is called after each step, True for a bar, or None or False for neither."""


@contextmanager
def progress_bar(name: str, *, silent: bool = False) -> Iterator[ProgressCallback]:
    """Draw a bar, which begins with the first step, and clear it away in the end.

    Args:
        name: what is being done.
        silent: draw nothing.
    """
    from tqdm.auto import tqdm  # which finds out whether this is a notebook; slow to import

    bar: tqdm[Any] | None = None

    def show(progress: Progress) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(desc=name, total=progress.iterations, leave=False, disable=silent)
        bar.total = progress.iterations
        if progress.loss is not None:
            bar.set_postfix(loss=f"{progress.loss:.4f}", refresh=False)
        bar.update(progress.iteration - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


@contextmanager
def shown(progress: ProgressLike, name: str) -> Iterator[ProgressCallback | None]:
    """Yield the function to call after each step: the caller's, that of a bar, or None."""
    if progress is True:
        with progress_bar(name) as show:
            yield show
    else:
        yield progress or None


@contextmanager
def counted(
    progress: Callable[[int, int], None] | bool | None, name: str
) -> Iterator[Callable[[int, int], None] | None]:
    """Yield the function to call with the finished parts and the number of parts, as `shown`."""
    if progress is True:
        with progress_bar(name) as show:
            yield lambda done, parts: show(Progress(done, parts, 0))
    else:
        yield progress or None
