"""Rank methods: for each task and factor, the score of every method and its cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from omniup_bench.catalogue import find_task
from omniup_bench.intervals import Estimate, Scores, scores
from omniup_bench.records import Quality
from omniup_bench.task import Task

BASELINE = "bilinear"
"""The method that all are compared with, image by image."""


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        method: its name.
        scores: on the images that all methods have.
        seconds: median over the images.
        peak_bytes: maximum over the images; None where that is not known.
    """

    method: str
    scores: Scores
    seconds: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Ranking:
    """All methods on one task at one factor.

    Attributes:
        task: the task that was measured on.
        factor: pixels to a cell.
        images: the names of those that all methods have.
        rows: a method each, in the order of the results.
        processors: their names.
    """

    task: Task
    factor: int
    images: tuple[str, ...]
    rows: tuple[Row, ...]
    processors: tuple[str, ...]

    @property
    def headline(self) -> str:
        """The headline score: the first metric that the task names."""
        return next(iter(self.task.metrics))

    def gain(self, row: Row, metric: str) -> Estimate | None:
        """Compute the difference of a metric from the baseline's; None for the baseline itself, or without one."""
        base = next((each for each in self.rows if each.method == BASELINE), None)
        return None if base is None or base is row else row.scores.difference(base.scores, metric)

    def facts(self) -> dict[str, object]:
        """Collect the scores and costs of all methods, for machines."""
        return {
            "task": self.task.name,
            "factor": self.factor,
            "images": len(self.images),
            "methods": {
                row.method: {
                    **{name: vars(row.scores.estimate(name)) for name in self.task.metrics},
                    "seconds": row.seconds,
                    "peak_bytes": row.peak_bytes,
                }
                for row in self.rows
            },
        }

    def ranked(self, metric: str) -> list[Row]:
        """Return the methods, the best by a metric first."""
        return sorted(self.rows, key=lambda row: row.scores.values[metric], reverse=self.task.metrics[metric])


def rankings(records: Sequence[Quality]) -> list[Ranking]:
    """Rank the methods of some results, tasks and methods in the order in which they first occur, factors ascending.

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
        _ranking(task, factor, [record for record in current if (record.task, record.factor) == (task, factor)])
        for task, factor in sorted(cells, key=lambda cell: (order[cell[0]], cell[1]))
    ]


def _ranking(name: str, factor: int, records: Sequence[Quality]) -> Ranking:
    task = find_task(name)
    found: dict[str, dict[str, Quality]] = {}  # by method, by image
    for record in records:
        found.setdefault(record.method, {})[record.image] = record
    images = tuple(sorted(set.intersection(*(set(lines) for lines in found.values()))))
    rows = tuple(_row(task, method, [lines[image] for image in images]) for method, lines in found.items() if images)
    return Ranking(task, factor, images, rows, tuple(sorted({record.processor for record in records})))


def _row(task: Task, method: str, lines: Sequence[Quality]) -> Row:
    peaks = [line.peak_bytes for line in lines if line.peak_bytes is not None]
    return Row(
        method,
        scores(task, [line.statistics for line in lines]),  # type: ignore[misc]  # nested lists, which numpy takes
        statistics.median(line.seconds for line in lines),
        max(peaks, default=None),
    )
