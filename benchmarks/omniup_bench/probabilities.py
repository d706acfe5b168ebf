"""Define the task `probabilities`: class probabilities of a network, upsampled to the pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omniup.evaluation.metrics.labels import (
    Labels,
    accuracy,
    boundary_distance,
    boundary_overlaps,
    confusion,
    confusion_overlaps,
    mean_iou,
    overlaps,
)
from omniup.upsamplers import SignalType
from omniup_bench.data import CLASSES, Folders, Split, street_scenes
from omniup_bench.edges import bleeding, bleeding_scores
from omniup_bench.networks import probabilities
from omniup_bench.task import Sample, Statistics

WIDTHS = tuple(range(1, 11))
"""Half-widths of the trimaps: distances from a true boundary, in pixels."""

NEAR = 6
"""Distance from a true boundary, in pixels, below which bleeding is counted."""

BOUNDARY = 0.02
"""Width of the bands of boundary IoU, as a fraction of the image's diagonal (arXiv 2103.16562)."""

METRICS: Mapping[str, bool] = {
    "miou": True,
    "trimap_miou@6": True,
    "boundary_iou": True,
    "bleeding": False,
    "spurious": False,
    "pixel_accuracy": True,
    **{f"trimap_miou@{width}": True for width in WIDTHS},
}
"""Metrics of label maps; true if more is better."""


class Probabilities:
    """Class probabilities of street scenes; the argmax at each pixel is compared with the true class.

    The scenes are those of `street_scenes`, in `camvid/val` (or `camvid/tune`), the network that of
    `load_street_network`.
    """

    name: str = "probabilities"
    summary: str = "class probabilities of a street-scene network (CamVid)"
    signal_type: SignalType = "probabilities"
    factors: tuple[int, ...] = (4, 8, 14, 16, 32)
    metrics: Mapping[str, bool] = METRICS

    def __init__(self, split: Split = "val") -> None:
        self.split = split

    def samples(self, folders: Folders, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images; see `Task`."""
        for scene in street_scenes(folders, self.split, count):
            low = probabilities(scene.image, factor, folders.models)
            yield Sample(scene.name, scene.image, low, partial(label_counts, scene.labels))

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Score all images' pixels together, in percent; see `Task`."""
        return label_scores(totals)


def label_scores(totals: Statistics) -> dict[str, float]:
    """Compute each of `METRICS` from sums of `label_counts`."""
    matrix = np.asarray(totals["confusion"])
    trimaps = [mean_iou(band) for band in np.asarray(totals["trimaps"])]
    return {
        "miou": mean_iou(confusion_overlaps(matrix)),
        **bleeding_scores(np.asarray(totals["edges"])),
        "boundary_iou": mean_iou(np.asarray(totals["boundaries"])),
        "pixel_accuracy": accuracy(matrix),
        **{f"trimap_miou@{width}": score for width, score in zip(WIDTHS, trimaps, strict=True)},
    }


def label_counts(truth: NDArray[np.int64], result: Tensor) -> Statistics:
    """Compare the argmax with the true classes.

    Args:
        truth: [H, W], -1 for no class, which is left out.
        result: [1, classes, H, W], probabilities or scores.

    Returns:
        `confusion` [classes, classes], `boundaries` [2, classes], `edges` [3] and `trimaps` [10, 2, classes].
    """
    predicted: Labels = result.argmax(1)[0].numpy()
    distance = boundary_distance(truth)
    return {
        "confusion": confusion(predicted, truth, CLASSES),
        "boundaries": boundary_overlaps(predicted, truth, CLASSES, BOUNDARY * float(np.hypot(*truth.shape))),
        "edges": bleeding(predicted, truth, NEAR),
        "trimaps": np.stack([overlaps(predicted, truth, CLASSES, distance < width) for width in WIDTHS]),
    }
