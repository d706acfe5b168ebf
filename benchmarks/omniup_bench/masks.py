"""The task `masks`: human segmentations, brought down and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup.evaluation.metrics.labels import (
    boundary_distance,
    boundary_f,
    boundary_matches,
)
from omniup.mixing import cell_means
from omniup_bench.data import grid_of, held_back, labelled_pictures
from omniup_bench.task import Sample, Split, Statistics

NEAR = 6
"""Accuracy near boundaries is that of the pixels less than this far from a true boundary."""

TOLERANCE = 2
"""How far from a true boundary pixel one of the result's may lie, in pixels, and the other way round."""


class Masks:
    """Regions that a person outlined: the share of each in each cell is brought up, and the largest wins.

    The folder holds `bsds500/val` (for `split="tune"`: `bsds500/train`) with photographs `NAME.jpg` and
    `NAME.segments.png`, whole numbers that tell the regions apart.
    """

    name: str = "masks"
    summary: str = "human segmentations, brought down by area averaging (BSDS500)"
    signal: Literal["measurement", "prediction"] = "measurement"
    factors: tuple[int, ...] = (4, 8, 14, 16, 32)
    metrics: Mapping[str, bool] = {"near_accuracy": True, "boundary_f": True, "region_accuracy": True}

    def __init__(self, split: Split = "val") -> None:
        self.split = split

    def samples(self, data: Path, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images; see `Task`."""
        for picture in labelled_pictures(data, held_back("bsds500", self.split), ".segments.png", count):
            truth = np.unique(picture.labels, return_inverse=True)[1].reshape(picture.labels.shape)  # from 0 on
            regions = F.one_hot(torch.from_numpy(truth)).permute(2, 0, 1)[None].float()  # [1, R, H, W]
            shares = cell_means(regions, grid_of(picture.image, factor))
            yield Sample(picture.name, picture.image, shares, partial(_judge, truth))

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Of all images' pixels together, in percent; see `Task`."""
        return {
            "near_accuracy": 100 * float(totals["near_right"] / max(totals["near"], 1)),
            "boundary_f": boundary_f(np.asarray(totals["boundaries"])),
            "region_accuracy": 100 * float(totals["right"] / totals["pixels"]),
        }


def _judge(truth: NDArray[np.int64], result: Tensor) -> Statistics:
    predicted = result.argmax(1)[0].numpy()
    right = predicted == truth
    near = boundary_distance(truth) < NEAR
    return {
        "pixels": float(right.size),
        "right": float(right.sum()),
        "near": float(near.sum()),
        "near_right": float(right[near].sum()),
        "boundaries": boundary_matches(predicted, truth, TOLERANCE),
    }
