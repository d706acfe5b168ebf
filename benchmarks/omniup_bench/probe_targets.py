"""Define what probes read from features: labels of street scenes, depth, and surface normals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup.evaluation.metrics.depth import depth_scores, depth_sums
from omniup.evaluation.metrics.normals import THRESHOLDS, normal_scores, normal_sums, surface_normals
from omniup.evaluation.probes import LinearProbe, ridge_regression, softmax_regression
from omniup_bench.data import CLASSES, Folders, Split, depth_pairs, street_scenes
from omniup_bench.depth import DEPTH_METRICS
from omniup_bench.probabilities import METRICS, label_counts, label_scores
from omniup_bench.probing import Example, Regression
from omniup_bench.task import Statistics

FITTED = 24
"""Number of images that a probe of labels is fitted to: the first of the train split."""

RATIOS = (0.25, 0.5)
"""Ratios of the sides of smaller results to the image's."""


class Labels:
    """Classes of street scenes: the folder holds `camvid/train` and `camvid/val` (or `tune`); see `street_scenes`.

    Args:
        split: to evaluate on.
        ratio: of the results' sides to the image's. Results are compared with the nearest labels, at their own size.
        fitted: number of images that a probe is fitted to; all of the train split if None.
    """

    factors: tuple[int, ...] = (8, 16, 32)
    metrics: Mapping[str, bool] = METRICS

    def __init__(self, split: Split = "val", ratio: float = 1, fitted: int | None = FITTED) -> None:
        self.name = "labels" if ratio == 1 else f"labels@{ratio:g}"
        self.images = "CamVid" if ratio == 1 else f"CamVid, results {ratio:g} times the image's size"
        self.split, self.ratio, self.fitted = split, ratio, fitted
        self.regression: Regression = _fit_labels

    def fitting(self, folders: Folders) -> Iterator[Example]:
        """Read the images that probes are fitted to; see `ProbeTarget`."""
        return self._examples(folders, "train", self.fitted)

    def evaluation(self, folders: Folders, count: int | None) -> Iterator[Example]:
        """Read the images to evaluate on; see `ProbeTarget`."""
        for example in self._examples(folders, self.split, count):
            size = round(self.ratio * example.target.shape[2]), round(self.ratio * example.target.shape[3])
            target, counts = (
                F.interpolate(maps, size, mode="nearest-exact") for maps in (example.target, example.counts)
            )
            labels = torch.where(counts[:, 0] > 0, target.argmax(1), -1)[0]
            yield replace(example, evaluate=partial(label_counts, labels.numpy()), size=size)

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Compute scores; see `ProbeTarget`."""
        return label_scores(totals)

    def _examples(self, folders: Folders, split: str, count: int | None) -> Iterator[Example]:
        for picture in street_scenes(folders, split, count):
            labels = torch.from_numpy(picture.labels)[None]  # [1, H, W]
            target = F.one_hot(labels.clamp(min=0), CLASSES).movedim(3, 1).float()
            counts = (labels >= 0).float().unsqueeze(1)
            yield Example(picture.name, picture.image, target, counts, partial(label_counts, picture.labels))


class _Pairs(ABC):
    """Read a quantity of images with depth by ridge regression, leaving one out; see `depth_pairs`.

    With two pairs this is little: one image to fit to, another one to evaluate on.
    """

    images = "two pairs of Middlebury 2005, one for the other"
    factors: tuple[int, ...] = (8, 16)

    def __init__(self) -> None:
        self.regression: Regression = ridge_regression

    def fitting(self, folders: Folders) -> Iterator[Example]:
        """Read the images that probes are fitted to; see `ProbeTarget`."""
        return self.evaluation(folders, None)

    def evaluation(self, folders: Folders, count: int | None) -> Iterator[Example]:
        """Read the images to evaluate on; see `ProbeTarget`."""
        for name, image, depth in depth_pairs(folders, count):
            yield self._example(name, image, depth)

    @abstractmethod
    def _example(self, name: str, image: Tensor, depth: Tensor) -> Example: ...


class DepthMaps(_Pairs):
    """Depth itself."""

    name = "depth"
    metrics: Mapping[str, bool] = DEPTH_METRICS

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Compute scores; see `ProbeTarget`."""
        return depth_scores(totals)

    def _example(self, name: str, image: Tensor, depth: Tensor) -> Example:
        return Example(name, image, depth, torch.ones_like(depth), partial(_evaluate_depth, depth[0, 0].numpy()))


class Normals(_Pairs):
    """Surface normals, computed from depth; see `surface_normals`."""

    name = "normals"
    metrics: Mapping[str, bool] = {
        "mean": False,
        "median": False,
        **{f"within_{limit:g}": True for limit in THRESHOLDS},
    }

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Compute scores; see `ProbeTarget`."""
        return normal_scores(totals)

    def _example(self, name: str, image: Tensor, depth: Tensor) -> Example:
        truth, valid = surface_normals(depth[0, 0].numpy())
        target, counts = (torch.from_numpy(maps).float()[None] for maps in (truth, valid[None]))
        return Example(name, image, target, counts, partial(_evaluate_normals, truth, valid))


def _fit_labels(vectors: Tensor, targets: Tensor, counts: Tensor) -> LinearProbe:
    return softmax_regression(vectors, targets)  # whose sums are the counts


def _evaluate_depth(truth: NDArray[np.float32], read: Tensor) -> Statistics:
    return depth_sums(read[0, 0].numpy(), truth)


def _evaluate_normals(truth: NDArray[np.float64], valid: NDArray[np.bool_], read: Tensor) -> Statistics:
    return normal_sums(read[0].numpy(), truth, valid)
