"""What probes read off features: labels of street scenes, depth, and which way surfaces face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup.evaluation.metrics.depth import depth_scores, depth_sums
from omniup.evaluation.metrics.normals import THRESHOLDS, normal_scores, normal_sums, surface_normals
from omniup.evaluation.probes import LinearProbe, ridge_regression, softmax_regression
from omniup_bench.depth import Depth, depth_pairs
from omniup_bench.probabilities import METRICS, label_counts, label_scores
from omniup_bench.probing import Example, Fit
from omniup_bench.street_scenes import CLASSES, scenes
from omniup_bench.task import Split, Statistics

FITTED = 24
"""Images that a probe of labels is fitted to: the first of the train split."""

PARTS = (0.25, 0.5)
"""Of an image's sides, those of smaller results."""


class Labels:
    """Classes of street scenes: the folder holds `camvid/train` and `camvid/val` (or `tune`); see `scenes`.

    Args:
        split: to judge on.
        part: of the image's sides, those of the results. They are judged at their own size, by the nearest labels.
        fitted: how many images a probe is fitted to.
    """

    factors: tuple[int, ...] = (8, 16, 32)
    metrics: Mapping[str, bool] = METRICS

    def __init__(self, split: Split = "val", part: float = 1, fitted: int = FITTED) -> None:
        self.name = "labels" if part == 1 else f"labels@{part:g}"
        self.images = "CamVid" if part == 1 else f"CamVid, results {part:g} times the image's size"
        self.split, self.part, self.fitted = split, part, fitted
        self.fit: Fit = _fit_labels

    def fitting(self, data: Path) -> Iterator[Example]:
        """See `Truth`."""
        return self._examples(data, "train", self.fitted)

    def judging(self, data: Path, count: int | None) -> Iterator[Example]:
        """See `Truth`."""
        for example in self._examples(data, self.split, count):
            size = round(self.part * example.target.shape[2]), round(self.part * example.target.shape[3])
            target, counts = (
                F.interpolate(maps, size, mode="nearest-exact") for maps in (example.target, example.counts)
            )
            labels = torch.where(counts[:, 0] > 0, target.argmax(1), -1)[0]
            yield replace(example, judge=partial(label_counts, labels.numpy()), size=size)

    def scores(self, totals: Statistics) -> dict[str, float]:
        """See `Truth`."""
        return label_scores(totals)

    def _examples(self, data: Path, split: str, count: int | None) -> Iterator[Example]:
        for picture in scenes(data, split, count):
            labels = torch.from_numpy(picture.labels)[None]  # [1, H, W]
            target = F.one_hot(labels.clamp(min=0), CLASSES).movedim(3, 1).float()
            counts = (labels >= 0).float().unsqueeze(1)
            yield Example(picture.name, picture.image, target, counts, partial(label_counts, picture.labels))


class _Pairs(ABC):
    """What ridge regression reads of photographs with depth, `depth/NAME.npz`: see `Depth`. Each by the others' probe.

    With the two pairs that there are, this is little: one photograph to learn from, another one to judge on.
    """

    images = "two pairs of Middlebury 2005, one for the other"
    factors: tuple[int, ...] = (8, 16)

    def __init__(self) -> None:
        self.fit: Fit = ridge_regression

    def fitting(self, data: Path) -> Iterator[Example]:
        """See `Truth`."""
        return self.judging(data, None)

    def judging(self, data: Path, count: int | None) -> Iterator[Example]:
        """See `Truth`."""
        for name, image, depth in depth_pairs(data, count):
            yield self._example(name, image, depth)

    @abstractmethod
    def _example(self, name: str, image: Tensor, depth: Tensor) -> Example: ...


class DepthMaps(_Pairs):
    """Depth itself."""

    name = "depth"
    metrics: Mapping[str, bool] = Depth.metrics

    def scores(self, totals: Statistics) -> dict[str, float]:
        """See `Truth`."""
        return depth_scores(totals)

    def _example(self, name: str, image: Tensor, depth: Tensor) -> Example:
        return Example(name, image, depth, torch.ones_like(depth), partial(_judge_depth, depth[0, 0].numpy()))


class Normals(_Pairs):
    """Which way surfaces face, worked out from depth; see `surface_normals`."""

    name = "normals"
    metrics: Mapping[str, bool] = {
        "mean": False,
        "median": False,
        **{f"within_{limit:g}": True for limit in THRESHOLDS},
    }

    def scores(self, totals: Statistics) -> dict[str, float]:
        """See `Truth`."""
        return normal_scores(totals)

    def _example(self, name: str, image: Tensor, depth: Tensor) -> Example:
        truth, valid = surface_normals(depth[0, 0].numpy())
        target, counts = (torch.from_numpy(maps).float()[None] for maps in (truth, valid[None]))
        return Example(name, image, target, counts, partial(_judge_normals, truth, valid))


def _fit_labels(vectors: Tensor, targets: Tensor, counts: Tensor) -> LinearProbe:
    return softmax_regression(vectors, targets)  # whose sums are the counts


def _judge_depth(truth: NDArray[np.float32], read: Tensor) -> Statistics:
    return depth_sums(read[0, 0].numpy(), truth)


def _judge_normals(truth: NDArray[np.float64], valid: NDArray[np.bool_], read: Tensor) -> Statistics:
    return normal_sums(read[0].numpy(), truth, valid)
