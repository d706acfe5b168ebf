"""Compare label maps with true ones: overall, near boundaries, and by where the boundaries lie.

Everything here counts pixels, so that what is found in two images can be added up: an intersection over union is had
from the counts of a whole data set, never averaged over images. Label maps are [H, W] whole numbers; where the truth
is negative, a pixel counts for nothing and bounds nothing.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from omniup.errors import InputError
from omniup.evaluation.metrics.lines import distance_to, lines

Labels: TypeAlias = NDArray[Any]
Counts: TypeAlias = NDArray[np.int64]


def confusion(predicted: Labels, truth: Labels, classes: int) -> Counts:
    """Count the pixels of each true class (rows) that were predicted as each class (columns): [classes, classes].

    Raises:
        InputError: the maps differ in shape, or a label is not below `classes`; so for all that count here.
    """
    _check(predicted, truth, classes)
    valid = truth >= 0
    pairs = truth[valid].astype(np.int64) * classes + predicted[valid]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def overlaps(predicted: Labels, truth: Labels, classes: int, where: NDArray[np.bool_]) -> Counts:
    """Count intersection and union of each class among chosen pixels [H, W]: [2, classes]."""
    _check(predicted, truth, classes)
    valid = where & (truth >= 0)
    predicted, truth = predicted[valid], truth[valid]
    both = np.bincount(truth[predicted == truth], minlength=classes)
    either = np.bincount(truth, minlength=classes) + np.bincount(predicted, minlength=classes) - both
    return np.stack([both, either])


def boundary_overlaps(predicted: Labels, truth: Labels, classes: int, width: float) -> Counts:
    """Count as `overlaps` does, of each class only what lies within `width` pixels of its own map's boundaries.

    Intersection over union is then the boundary IoU of Cheng et al. 2021 (arXiv 2103.16562), but that the image's
    border is no boundary.
    """
    _check(predicted, truth, classes)
    valid = truth >= 0
    near_true = (boundary_distance(truth) < width)[valid]
    near_predicted = (boundary_distance(np.where(valid, predicted, -1)) < width)[valid]
    predicted, truth = predicted[valid], truth[valid]
    both = np.bincount(truth[(predicted == truth) & near_true & near_predicted], minlength=classes)
    either = (
        np.bincount(truth[near_true], minlength=classes)
        + np.bincount(predicted[near_predicted], minlength=classes)
        - both
    )
    return np.stack([both, either])


def boundary_matches(predicted: Labels, truth: Labels, tolerance: float) -> Counts:
    """Count boundary pixels, and those with one of the other map's within `tolerance` pixels.

    Returns:
        [4]: matched of the predicted, all predicted, matched of the true, all true.

    Raises:
        InputError: the maps differ in shape.
    """
    _check(predicted, truth)
    maps = np.where(truth >= 0, predicted, -1), truth
    ours, theirs = (boundaries(labels) for labels in maps)
    to_ours, to_theirs = (boundary_distance(labels) for labels in maps)
    matched = (to_theirs[ours] <= tolerance).sum(), (to_ours[theirs] <= tolerance).sum()
    return np.array([matched[0], ours.sum(), matched[1], theirs.sum()], dtype=np.int64)


def boundaries(labels: Labels) -> NDArray[np.bool_]:
    """Mark pixels [H, W] with a neighbour (of four) of another label; negative labels have no boundaries."""
    return lines(labels, lambda first, second: (first != second) & (first >= 0) & (second >= 0))


def boundary_distance(labels: Labels) -> NDArray[np.float64]:
    """Compute the distance [H, W] of pixels to the nearest of the `boundaries`; infinite without any."""
    return distance_to(boundaries(labels))


def mean_iou(overlaps: NDArray[Any]) -> float:
    """Average intersection over union over the classes that occur, in percent; 0 of none. Counts as `overlaps`."""
    both, either = overlaps
    occurs = either > 0
    return 100 * float((both[occurs] / either[occurs]).mean()) if occurs.any() else 0.0


def confusion_overlaps(confusion: NDArray[Any]) -> NDArray[Any]:
    """Compute intersection and union of each class, [2, classes], from a confusion matrix."""
    both = np.diagonal(confusion)
    return np.stack([both, confusion.sum(0) + confusion.sum(1) - both])


def accuracy(confusion: NDArray[Any]) -> float:
    """Compute the percentage of pixels that have their true class; 0 of no pixels."""
    total = confusion.sum()
    return 100 * float(np.trace(confusion) / total) if total else 0.0


def boundary_f(matches: NDArray[Any]) -> float:
    """Compute the F1 score of `boundary_matches` in percent; 0 of none."""
    matched, predicted, recalled, true = (float(count) for count in matches)
    correct, found = matched / max(predicted, 1), recalled / max(true, 1)  # fractions of both maps' boundary pixels
    return 200 * correct * found / (correct + found) if correct + found > 0 else 0.0


def _check(predicted: Labels, truth: Labels, classes: int | None = None) -> None:
    if predicted.shape != truth.shape or predicted.ndim != 2:
        raise InputError(
            "predicted",
            "has the shape {predicted}, and truth {truth}",
            "maps of equal size",
            predicted=list(predicted.shape),
            truth=list(truth.shape),
        )
    if classes is None or truth.size == 0:
        return
    low, high = predicted.min(), max(predicted.max(), truth.max())
    if low < 0 or high >= classes:
        raise InputError(
            "labels",
            "has values from {low} to {high}",
            "0 to {most}, and below 0 in the truth",
            low=low,
            high=high,
            most=classes - 1,
        )
