"""Define the task `depth`: depth maps, area-averaged and upsampled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omniup.evaluation.metrics.depth import depth_scores, depth_sums
from omniup.mixing import cell_means
from omniup.upsamplers import SignalType
from omniup_bench.data import Folders, depth_pairs, grid_of
from omniup_bench.edges import flying_pixels
from omniup_bench.task import Sample, Statistics

DEPTH_METRICS: Mapping[str, bool] = {"rmse": False, "mae": False, "edge_mae": False, "delta1": True}
"""Metrics of depth pixel by pixel; true if more is better."""


class Depth:
    """Depth maps from their means over cells: errors in the maps' own unit.

    And flying pixels, in percent of those near edges. The maps are those of `depth_pairs`. There is one split only.
    """

    name: str = "depth"
    summary: str = "depth maps, area-averaged (Middlebury 2005)"
    signal_type: SignalType = "measurement"
    factors: tuple[int, ...] = (4, 8, 14, 16, 32)
    metrics: Mapping[str, bool] = {"rmse": False, "flying": False, **DEPTH_METRICS}

    def samples(self, folders: Folders, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images; see `Task`."""
        for name, image, depth in depth_pairs(folders, count):
            low = cell_means(depth, grid_of(image, factor))
            yield Sample(name, image, low, partial(_evaluate, depth[0, 0].numpy()))

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Score all images' pixels together; see `Task`."""
        flying = 100 * float(totals["flying"]) / max(float(totals["edge_pixels"]), 1)
        return {**depth_scores(totals), "flying": flying}


def _evaluate(truth: NDArray[np.float32], result: Tensor) -> Statistics:
    depth = result[0, 0].numpy()
    return {**depth_sums(depth, truth), "flying": float(flying_pixels(depth, truth))}
