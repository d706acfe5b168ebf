"""Scores with confidence intervals: images drawn again and again, their statistics added up, and scored (bootstrap).

All methods are scored on the same draws, so differences between two have intervals of their own, which are narrower
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

DRAWS = 1000
CONFIDENCE = 0.95

FEWEST = 5
"""Of fewer images there is no interval: drawing from so few again says nothing of others."""


@dataclass(frozen=True)
class Estimate:
    """A score, and where it lies with a probability of `CONFIDENCE`: NaN where there are too few images."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low)

    @property
    def is_not_zero(self) -> bool:
        """Whether the interval leaves zero out: of a difference, whether it can be told from noise."""
        return self.known and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Scores:
    """What one method has on a set of images.

    Attributes:
        values: by metric.
        draws: by metric, [DRAWS], on the images of each draw; none where there are too few images.
    """

    values: Mapping[str, float]
    draws: Mapping[str, NDArray[np.float64]]

    def estimate(self, metric: str) -> Estimate:
        """A metric, with its interval."""
        return _estimate(self.values[metric], self.draws.get(metric))

    def difference(self, other: Scores, metric: str) -> Estimate:
        """How much more of a metric than another method on the same images, with its interval."""
        both = [scores.draws.get(metric) for scores in (self, other)]
        draws = None if both[0] is None or both[1] is None else both[0] - both[1]
        return _estimate(self.values[metric] - other.values[metric], draws)


def scores(task: Task, statistics: Sequence[Statistics]) -> Scores:
    """Score a method on images.

    Args:
        task: whose scores.
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
        found = [scored(totals) for totals in _draws(len(rows)) @ rows]
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise InputError(f"statistics: these are not those of {task.name}: {error}; accepted is a new run") from error
    draws = {metric: np.array([each[metric] for each in found]) for metric in values} if found else {}
    return Scores(values, draws)


def _draws(images: int) -> NDArray[np.float64]:
    """How often each image occurs in each draw, [DRAWS, images]; always the same."""
    if images < FEWEST:
        return np.empty((0, images))
    random = np.random.default_rng(0)
    return random.multinomial(images, np.full(images, 1 / images), size=DRAWS).astype(np.float64)


def _estimate(value: float, draws: NDArray[np.float64] | None) -> Estimate:
    if draws is None:
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))
