import math

import numpy as np
import pytest

from omniup import InputError
from omniup_bench.catalogue import find_task
from omniup_bench.intervals import scores


class Mean:
    """A task whose score is the mean of numbers."""

    name = "mean"

    def scores(self, totals):
        return {"mean": float(totals["sum"] / totals["images"])}


def numbers(values):
    return [{"images": 1.0, "sum": value} for value in values]


def test_intervals_of_a_mean_are_those_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(10, 3, 400)
    estimate = scores(Mean(), numbers(values)).estimate("mean")
    error = 1.96 * values.std() / math.sqrt(len(values))
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - error, abs=0.15 * error)
    assert estimate.high == pytest.approx(values.mean() + error, abs=0.15 * error)


def test_intervals_hold_the_mean_as_often_as_they_say():
    random = np.random.default_rng(2)
    held = [scores(Mean(), numbers(random.normal(0, 1, 40))).estimate("mean") for _ in range(60)]
    share = np.mean([estimate.low <= 0 <= estimate.high for estimate in held])
    assert 0.85 <= share < 1


def test_differences_are_taken_image_by_image():
    values = np.random.default_rng(3).normal(10, 5, 50)  # images differ far more than the methods do
    one, other = scores(Mean(), numbers(values + 0.1)), scores(Mean(), numbers(values))
    gain = one.difference(other, "mean")
    assert gain.value == pytest.approx(0.1)
    assert gain.is_not_zero
    assert gain.high - gain.low < 1e-9
    assert not other.difference(other, "mean").is_not_zero


def test_few_images_have_scores_and_no_interval():
    found = scores(Mean(), numbers([1.0, 2.0])).estimate("mean")
    assert found.value == 1.5
    assert not found.known


def test_statistics_of_another_task_are_refused():
    with pytest.raises(InputError, match=r"^statistics are not those of masks .*; accepted: those of a new run$"):
        scores(find_task("masks"), numbers([1.0, 2.0]))
    with pytest.raises(InputError, match=r"^statistics are not those of mean .*; accepted: those of a new run$"):
        scores(Mean(), [{"images": 1.0, "sum": [1.0]}, {"images": 1.0, "sum": [1.0, 2.0]}])
