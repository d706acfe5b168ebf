"""Compute scores with confidence intervals by the bootstrap: images are resampled, their statistics added and scored.

All methods are scored on the same resamples, so differences between two have intervals of their own, which are narrower
than the methods' own suggest: an image that is hard for one is hard for the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omniup.errors import InputError
from omniup_bench.task import Statistics, Task

RESAMPLES = 1000
CONFIDENCE = 0.95

FEWEST = 5
"""Minimum number of images for an interval: resampling fewer says nothing of others."""


@dataclass(frozen=True)
class Estimate:
    """A score with its interval of `CONFIDENCE`: NaN where there are too few images."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """True if there is an interval."""
        return math.isfinite(self.low)

    @property
    def is_not_zero(self) -> bool:
        """True if the interval excludes zero; a difference is then significant."""
        return self.known and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Scores:
    """The scores of one method on a set of images.

    Attributes:
        values: by metric.
        resampled: by metric, [RESAMPLES], of each resample; none where there are too few images.
    """

    values: Mapping[str, float]
    resampled: Mapping[str, NDArray[np.float64]]

    def estimate(self, metric: str) -> Estimate:
        """Return a metric with its interval."""
        return _estimate(self.values[metric], self.resampled.get(metric))

    def difference(self, other: Scores, metric: str) -> Estimate:
        """Compute the difference of a metric from another method's on the same images, with its interval."""
        both = [scores.resampled.get(metric) for scores in (self, other)]
        resampled = None if both[0] is None or both[1] is None else both[0] - both[1]
        return _estimate(self.values[metric] - other.values[metric], resampled)


def scores(task: Task, statistics: Sequence[Statistics]) -> Scores:
    """Score a method on images.

    Args:
        task: that computes the scores.
        statistics: of each image, in the same order for all methods that are compared.

    Raises:
        InputError: the statistics are not the task's.
    """
    try:
        names = list(statistics[0])
        shapes = {name: np.shape(statistics[0][name]) for name in names}
        rows = np.stack(
            [np.concatenate([np.ravel(each[name]).astype(np.float64) for name in names]) for each in statistics]
        )  # [images, D]
        ends = np.cumsum([math.prod(shapes[name]) for name in names])

        def scored(totals: NDArray[np.float64]) -> dict[str, float]:
            parts: dict[str, Any] = dict(zip(names, np.split(totals, ends[:-1]), strict=True))
            return task.scores({name: part.reshape(shapes[name])[()] for name, part in parts.items()})

        values = scored(rows.sum(0))
        found = [scored(totals) for totals in _resamples(len(rows)) @ rows]
    except (KeyError, ValueError, TypeError, IndexError) as error:
        problem = "are not those of {task} ({error})"
        raise InputError("statistics", problem, "those of a new run", task=task.name, error=error) from error
    resampled = {metric: np.array([each[metric] for each in found]) for metric in values} if found else {}
    return Scores(values, resampled)


def _resamples(images: int) -> NDArray[np.float64]:
    """Draw how often each image occurs in each resample, [RESAMPLES, images]; always the same."""
    if images < FEWEST:
        return np.empty((0, images))
    random = np.random.default_rng(0)
    return random.multinomial(images, np.full(images, 1 / images), size=RESAMPLES).astype(np.float64)


def _estimate(value: float, resampled: NDArray[np.float64] | None) -> Estimate:
    if resampled is None:
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))
