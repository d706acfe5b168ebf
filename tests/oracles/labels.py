"""Metrics of label maps and depth maps, pixel by pixel."""

import itertools
import math


def pixels(labels):
    return itertools.product(range(labels.shape[0]), range(labels.shape[1]))


def neighbours(labels, y, x):
    steps = ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
    return [labels[i, j] for i, j in steps if 0 <= i < labels.shape[0] and 0 <= j < labels.shape[1]]


def boundary(labels):
    """The pixels with a neighbour of another label, where both have one."""
    return [
        (y, x)
        for y, x in pixels(labels)
        if labels[y, x] >= 0 and any(other >= 0 and other != labels[y, x] for other in neighbours(labels, y, x))
    ]


def distance(marked, y, x):
    return min((math.hypot(y - i, x - j) for i, j in marked), default=math.inf)


def ious(predicted, truth, classes, of_truth=lambda y, x: True, of_predicted=lambda y, x: True):
    """Intersection and union of each class, of the pixels of each map that a condition picks."""
    counts = []
    for label in range(classes):
        true = {(y, x) for y, x in pixels(truth) if truth[y, x] == label and of_truth(y, x)}
        found = {
            (y, x) for y, x in pixels(truth) if truth[y, x] >= 0 and predicted[y, x] == label and of_predicted(y, x)
        }
        counts.append((len(true & found), len(true | found)))
    return counts


def edges(depth, jump):
    """The pixels with a neighbour whose depth differs by more than a part of the nearer one's."""

    def jumps(first, second):
        return min(first, second) > 0 and abs(first - second) > jump * min(first, second)

    return [(y, x) for y, x in pixels(depth) if any(jumps(depth[y, x], other) for other in neighbours(depth, y, x))]
