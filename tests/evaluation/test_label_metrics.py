import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from omniup import InputError
from omniup.evaluation.metrics import labels as metrics
from oracles import labels as oracle

CLASSES = 4


@st.composite
def maps(draw):
    """A predicted map and a true one, in which some pixels count for nothing."""
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    lowest = draw(st.sampled_from([-1, 0]))
    return random.integers(0, CLASSES, shape), random.integers(lowest, CLASSES, shape)


@given(maps())
def test_distance_to_boundaries(pair):
    for labels in pair:
        found, marked = metrics.boundary_distance(labels), oracle.boundary(labels)
        for y, x in oracle.pixels(labels):
            assert found[y, x] == pytest.approx(oracle.distance(marked, y, x))


@given(maps())
def test_mean_iou_and_accuracy_are_torchmetrics(pair):
    predicted, truth = pair
    if (truth < 0).all():
        return
    matrix = metrics.confusion(predicted, truth, CLASSES)
    ours = torch.from_numpy(predicted), torch.from_numpy(truth)
    accuracy = MulticlassAccuracy(CLASSES, average="micro", ignore_index=-1)(*ours)
    assert metrics.accuracy(matrix) == pytest.approx(100 * float(accuracy), abs=1e-4)
    # torchmetrics counts classes that do not occur as 0 in the mean of all, so each is compared by itself
    each = MulticlassJaccardIndex(CLASSES, average="none", ignore_index=-1)(*ours)
    occurs = metrics.confusion_overlaps(matrix)[1] > 0
    expected = 100 * float(each[torch.from_numpy(occurs)].mean())
    assert metrics.mean_iou(metrics.confusion_overlaps(matrix)) == pytest.approx(expected, abs=1e-4)


@given(maps(), st.integers(1, 4))
def test_overlaps_near_true_boundaries(pair, width):
    predicted, truth = pair
    marked = oracle.boundary(truth)

    def near(y, x):
        return oracle.distance(marked, y, x) < width

    found = metrics.overlaps(predicted, truth, CLASSES, metrics.boundary_distance(truth) < width)
    assert found.T.tolist() == [list(counts) for counts in oracle.ious(predicted, truth, CLASSES, near, near)]


@given(maps(), st.integers(1, 4))
def test_boundary_overlaps_look_at_each_map_near_its_own_boundaries(pair, width):
    predicted, truth = pair
    valid = np.where(truth >= 0, predicted, -1)
    marked_true, marked_found = oracle.boundary(truth), oracle.boundary(valid)
    expected = oracle.ious(
        predicted,
        truth,
        CLASSES,
        lambda y, x: oracle.distance(marked_true, y, x) < width,
        lambda y, x: oracle.distance(marked_found, y, x) < width,
    )
    assert metrics.boundary_overlaps(predicted, truth, CLASSES, width).T.tolist() == [list(each) for each in expected]


@given(maps(), st.integers(0, 3))
def test_boundary_matches(pair, tolerance):
    predicted, truth = pair
    ours, theirs = oracle.boundary(np.where(truth >= 0, predicted, -1)), oracle.boundary(truth)
    expected = [
        sum(oracle.distance(theirs, *pixel) <= tolerance for pixel in ours),
        len(ours),
        sum(oracle.distance(ours, *pixel) <= tolerance for pixel in theirs),
        len(theirs),
    ]
    assert metrics.boundary_matches(predicted, truth, tolerance).tolist() == expected


@given(maps(), maps())
def test_counts_of_two_images_add_up(first, second):
    def beside(one, other):  # with pixels between them that count for nothing
        gap = np.full((8, 8, 1), -1)
        padded = [
            np.pad(each, [(0, 8 - each.shape[0]), (0, 8 - each.shape[1])], constant_values=-1) for each in (one, other)
        ]
        return np.concatenate([padded[0], gap[:, :1, 0], padded[1]], axis=1)

    truth, predicted = beside(first[1], second[1]), np.maximum(beside(first[0], second[0]), 0)
    together = metrics.confusion(predicted, truth, CLASSES)
    apart = sum(metrics.confusion(*pair, CLASSES) for pair in (first, second))
    assert together.tolist() == apart.tolist()
    bands = metrics.boundary_overlaps(predicted, truth, CLASSES, 1)
    assert bands.tolist() == sum(metrics.boundary_overlaps(*pair, CLASSES, 1) for pair in (first, second)).tolist()


def test_the_truth_is_perfect_and_a_shift_is_not():
    truth = np.zeros((12, 12), dtype=int)
    truth[:, 6:] = 1
    shifted = np.roll(truth, 3, axis=1)
    shifted[:, :3] = 0
    for predicted, perfect in ((truth, True), (shifted, False)):
        scores = (
            metrics.mean_iou(metrics.boundary_overlaps(predicted, truth, 2, 3)),
            metrics.boundary_f(metrics.boundary_matches(predicted, truth, 1)),
            metrics.accuracy(metrics.confusion(predicted, truth, 2)),
        )
        assert all(score == 100 for score in scores) == perfect
    assert metrics.boundary_f(metrics.boundary_matches(shifted, truth, 1)) == 0
    assert metrics.boundary_f(metrics.boundary_matches(shifted, truth, 3)) == 100


def test_f_by_hand():
    assert metrics.boundary_f(np.array([1, 2, 1, 4])) == pytest.approx(100 / 3)  # precision 1/2, recall 1/4


def test_nothing_to_count_scores_nothing():
    nothing = np.full((3, 3), -1)
    found = np.zeros((3, 3), dtype=int)
    assert metrics.accuracy(metrics.confusion(found, nothing, 2)) == 0
    assert metrics.mean_iou(metrics.boundary_overlaps(found, nothing, 2, 3)) == 0
    assert metrics.boundary_f(metrics.boundary_matches(found, nothing, 3)) == 0
    assert math.isinf(metrics.boundary_distance(found)[0, 0])


def test_maps_that_do_not_fit_are_refused():
    zeros = np.zeros((3, 4), dtype=int)
    with pytest.raises(
        InputError, match=r"^predicted has the shape \[3, 4\], and truth \[4, 3\]; accepted: maps of equal"
    ):
        metrics.confusion(zeros, zeros.T, 2)
    with pytest.raises(InputError, match=r"^labels has values from 0 to 5; accepted: 0 to 1"):
        metrics.confusion(zeros, zeros + 5, 2)
    with pytest.raises(InputError, match=r"^labels has values from -1 to 0"):
        metrics.boundary_overlaps(zeros - 1, zeros, 2, 1)
