"""Define the task `masks`: human segmentations, area-averaged and upsampled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup.evaluation.metrics.labels import boundary_distance, boundary_f, boundary_matches
from omniup.mixing import cell_means
from omniup.upsamplers import SignalType
from omniup_bench.data import Folders, Split, bsds_folder, grid_of, labelled_images
from omniup_bench.edges import bleeding, bleeding_scores
from omniup_bench.task import Sample, Statistics

NEAR = 6
"""Distance from a true boundary, in pixels, below which a pixel counts for the accuracy near boundaries."""

TOLERANCE = 2
"""Maximum distance between matching boundary pixels of result and truth, in pixels."""


class Masks:
    """Regions that a person outlined: the fraction of each in each cell is upsampled, and the argmax taken.

    The folder holds `bsds500/val` (for `split="tune"`: `bsds500/train`) with photographs `NAME.jpg` and
    `NAME.segments.png`, a number for each region.
    """

    name: str = "masks"
    summary: str = "human segmentations, area-averaged (BSDS500)"
    signal_type: SignalType = "measurement"
    factors: tuple[int, ...] = (4, 8, 14, 16, 32)
    metrics: Mapping[str, bool] = {
        "near_accuracy": True,
        "bleeding": False,
        "spurious": False,
        "boundary_f": True,
        "region_accuracy": True,
    }

    def __init__(self, split: Split = "val") -> None:
        self.split = split

    def samples(self, folders: Folders, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images; see `Task`."""
        for picture in labelled_images(folders, bsds_folder(self.split), ".segments.png", count):
            truth = np.unique(picture.labels, return_inverse=True)[1].reshape(picture.labels.shape)  # from 0 on
            regions = F.one_hot(torch.from_numpy(truth)).permute(2, 0, 1)[None].float()  # [1, R, H, W]
            fractions = cell_means(regions, grid_of(picture.image, factor))
            yield Sample(picture.name, picture.image, fractions, partial(_evaluate, truth))

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Score all images' pixels together, in percent; see `Task`."""
        return {
            "near_accuracy": 100 * float(totals["near_right"] / max(totals["near"], 1)),
            **bleeding_scores(np.asarray(totals["edges"])),
            "boundary_f": boundary_f(np.asarray(totals["boundaries"])),
            "region_accuracy": 100 * float(totals["right"] / totals["pixels"]),
        }


def _evaluate(truth: NDArray[np.int64], result: Tensor) -> Statistics:
    predicted = result.argmax(1)[0].numpy()
    right = predicted == truth
    near = boundary_distance(truth) < NEAR
    return {
        "pixels": float(right.size),
        "right": float(right.sum()),
        "near": float(near.sum()),
        "near_right": float(right[near].sum()),
        "edges": bleeding(predicted, truth, NEAR),
        "boundaries": boundary_matches(predicted, truth, TOLERANCE),
    }
