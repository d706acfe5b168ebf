"""The task `resolutions`: labels by a probe, from grids of several sizes to results of several sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup.evaluation.benchmark.probing import Probe
from omniup.evaluation.benchmark.street_scenes import CLASSES, FEATURES, scaled, scenes, street_scenes
from omniup.evaluation.benchmark.task import Read, Sample, Split, Statistics
from omniup.evaluation.benchmark.truths import Labels
from omniup.evaluation.metrics.labels import confusion, confusion_overlaps, mean_iou
from omniup.upsamplers import Upsampler

SIZES = (Fraction(1, 4), Fraction(1, 2), Fraction(1))
"""Of the results' sides, as parts of the image's."""


class Resolutions:
    """Labels of street scenes, read by the probe of `probe-labels-lr`, at `SIZES`: mean intersection over union each.

    Grids are those of the factors: the network sees the image scaled so that 16 of its pixels make a cell. The folder
    is that of `Labels`. An image is a sample for each size, and is judged at that size, by the nearest labels.

    Args:
        split: see `tasks`.
    """

    name = "resolutions"
    summary = "labels by a linear probe, from several grids to several sizes (CamVid)"
    signal: Literal["measurement", "prediction"] = "prediction"
    factors: tuple[int, ...] = (8, 16, 32)
    metrics: Mapping[str, bool] = {f"miou@{size}": True for size in SIZES}

    def __init__(self, split: Split = "val") -> None:
        self.split = split
        self._probe = Probe(Labels(split), "features")

    def samples(self, data: Path, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images; see `Task`. Judges take what a probe has read."""
        network = street_scenes(data)
        for picture in scenes(data, self.split, count):
            features = scaled(network, picture.image, factor, FEATURES)
            labels = torch.from_numpy(picture.labels)[None, None].float()
            for place, part in enumerate(SIZES):
                height, width = (int(side * part) for side in picture.labels.shape)
                truth = F.interpolate(labels, (height, width), mode="nearest-exact")[0, 0].long().numpy()
                name = f"{picture.name}@{part}"
                yield Sample(name, picture.image, features, partial(_judge, truth, place), (height, width))

    def learn(self, method: Upsampler, data: Path, factor: int) -> Read:
        """Fit the probe, to low-resolution features; see `Learner`."""
        return self._probe.learn(method, data, factor)

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Of all images' pixels together, in percent; see `Task`."""
        matrices = np.asarray(totals["confusions"])
        return {name: mean_iou(confusion_overlaps(matrix)) for name, matrix in zip(self.metrics, matrices, strict=True)}


def _judge(truth: NDArray[np.int64], place: int, read: Tensor) -> Statistics:
    """Count at the place of the size among the others', which this sample says nothing of."""
    confusions = np.zeros((len(SIZES), CLASSES, CLASSES), dtype=np.int64)
    confusions[place] = confusion(read.argmax(1)[0].numpy(), truth, CLASSES)
    return {"confusions": confusions}
