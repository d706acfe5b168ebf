"""The task `probabilities`: what a network says of an image, in coarse cells, brought to the pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

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
from omniup_bench.street_scenes import CLASSES, probabilities, scenes, street_scenes
from omniup_bench.task import Sample, Split, Statistics

WIDTHS = tuple(range(1, 11))
"""Of the trimaps: how far they reach on either side of a true boundary, in pixels."""

BOUNDARY = 0.02
"""Width of the bands of boundary IoU, of the image's diagonal (arXiv 2103.16562)."""

METRICS: Mapping[str, bool] = {
    "miou": True,
    "trimap_miou@6": True,
    "boundary_iou": True,
    "pixel_accuracy": True,
    **{f"trimap_miou@{width}": True for width in WIDTHS},
}
"""Of label maps, and whether more is better."""


class Probabilities:
    """Class probabilities of street scenes; the likeliest class of each pixel is compared with the true one.

    The folder holds `camvid/val` (or `camvid/tune`) with photographs `NAME.jpg` and label maps `NAME.labels.png`, 0 to
    10 for classes and 11 for what counts for nothing; and beside the folder lies the network, see `street_scenes`.

    Four rows of pixels at the top and at the bottom are cut off, so that the network's cells divide the images.
    """

    name: str = "probabilities"
    summary: str = "class probabilities of a street-scene network (CamVid)"
    signal: Literal["measurement", "prediction"] = "prediction"
    factors: tuple[int, ...] = (4, 8, 14, 16, 32)
    metrics: Mapping[str, bool] = METRICS

    def __init__(self, split: Split = "val") -> None:
        self.split = split

    def samples(self, data: Path, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images; see `Task`."""
        network = street_scenes(data)
        for picture in scenes(data, self.split, count):
            low = probabilities(network, picture.image, factor)
            yield Sample(picture.name, picture.image, low, partial(label_counts, picture.labels))

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Of all images' pixels together, in percent; see `Task`."""
        return label_scores(totals)


def label_scores(totals: Statistics) -> dict[str, float]:
    """A value for each of `METRICS`, of sums of `label_counts`."""
    matrix = np.asarray(totals["confusion"])
    trimaps = [mean_iou(band) for band in np.asarray(totals["trimaps"])]
    return {
        "miou": mean_iou(confusion_overlaps(matrix)),
        "boundary_iou": mean_iou(np.asarray(totals["boundaries"])),
        "pixel_accuracy": accuracy(matrix),
        **{f"trimap_miou@{width}": score for width, score in zip(WIDTHS, trimaps, strict=True)},
    }


def label_counts(truth: NDArray[np.int64], result: Tensor) -> Statistics:
    """Compare the likeliest classes with the true ones.

    Args:
        truth: [H, W], -1 for what counts for nothing.
        result: [1, classes, H, W], probabilities or scores.

    Returns:
        `confusion` [classes, classes], `boundaries` [2, classes] and `trimaps` [10, 2, classes].
    """
    predicted: Labels = result.argmax(1)[0].numpy()
    distance = boundary_distance(truth)
    return {
        "confusion": confusion(predicted, truth, CLASSES),
        "boundaries": boundary_overlaps(predicted, truth, CLASSES, BOUNDARY * float(np.hypot(*truth.shape))),
        "trimaps": np.stack([overlaps(predicted, truth, CLASSES, distance < width) for width in WIDTHS]),
    }
