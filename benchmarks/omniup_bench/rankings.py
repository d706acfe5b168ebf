"""Results put side by side: for each task and factor, what every method scores and what it costs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from omniup_bench.catalogue import find_task
from omniup_bench.intervals import Estimate, Scores, scores
from omniup_bench.records import Quality
from omniup_bench.task import Task

BASELINE = "bilinear"
"""What all are compared with, image by image."""


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        method: its name.
        scores: on the images that all methods have.
        seconds: median over the images.
        peak_bytes: the most over the images; None where that is not known.
    """

    method: str
    scores: Scores
    seconds: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Standing:
    """All methods on one task at one factor.

    Attributes:
        task: which.
        factor: which.
        images: the names of those that count: which all methods have.
        rows: a method each, in the order of the results.
        processors: what computed.
    """

    task: Task
    factor: int
    images: tuple[str, ...]
    rows: tuple[Row, ...]
    processors: tuple[str, ...]

    @property
    def headline(self) -> str:
        """The most telling metric: the first that the task names."""
        return next(iter(self.task.metrics))

    def gain(self, row: Row, metric: str) -> Estimate | None:
        """How much more of a metric a method has than the baseline; None for the baseline, and where there is none."""
        base = next((each for each in self.rows if each.method == BASELINE), None)
        return None if base is None or base is row else row.scores.difference(base.scores, metric)

    def ranked(self, metric: str) -> list[Row]:
        """The methods, the best by a metric first."""
        return sorted(self.rows, key=lambda row: row.scores.values[metric], reverse=self.task.metrics[metric])


def standings(records: Sequence[Quality]) -> list[Standing]:
    """Put results side by side, tasks and methods in the order in which they first occur, factors ascending.

    Of a method whose settings were changed between runs, only those of its newest line count, and of an image that was
    measured twice, the newer line.

    Raises:
        InputError: a line is of a task that is not known, or its statistics are not that task's.
    """
    newest = {(record.task, record.method): record.settings for record in records}
    current = [record for record in records if record.settings == newest[record.task, record.method]]
    cells = {(record.task, record.factor): None for record in current}
    order = {name: place for place, name in enumerate(dict.fromkeys(task for task, _ in cells))}
    return [
        _standing(task, factor, [record for record in current if (record.task, record.factor) == (task, factor)])
        for task, factor in sorted(cells, key=lambda cell: (order[cell[0]], cell[1]))
    ]


def _standing(name: str, factor: int, records: Sequence[Quality]) -> Standing:
    task = find_task(name)
    found: dict[str, dict[str, Quality]] = {}  # by method, by image
    for record in records:
        found.setdefault(record.method, {})[record.image] = record
    images = tuple(sorted(set.intersection(*(set(lines) for lines in found.values()))))
    rows = tuple(_row(task, method, [lines[image] for image in images]) for method, lines in found.items() if images)
    return Standing(task, factor, images, rows, tuple(sorted({record.processor for record in records})))


def _row(task: Task, method: str, lines: Sequence[Quality]) -> Row:
    peaks = [line.peak_bytes for line in lines if line.peak_bytes is not None]
    return Row(
        method,
        scores(task, [line.statistics for line in lines]),  # type: ignore[misc]  # nested lists, which numpy takes
        statistics.median(line.seconds for line in lines),
        max(peaks, default=None),
    )
