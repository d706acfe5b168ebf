"""Define the task `canopy`: heights of vegetation, area-averaged and upsampled by the bands of a satellite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial

from torch import Tensor

from omniup.mixing import cell_means
from omniup.upsamplers import SignalType
from omniup_bench.data import Folders, canopy_scenes, grid_of
from omniup_bench.task import Sample, Statistics


class Canopy:
    """Heights of vegetation from their means over cells: errors in metres, means over images.

    The scenes are those of `canopy_scenes`; there is one split only. Their guidance has any number of bands, so methods
    that need three channels are not measured here.
    """

    name: str = "canopy"
    summary: str = "heights of vegetation, area-averaged (Sentinel-2 and lidar)"
    signal_type: SignalType = "measurement"
    factors: tuple[int, ...] = (4, 8, 16)
    metrics: Mapping[str, bool] = {"rmse": False, "mae": False}

    def samples(self, folders: Folders, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images; see `Task`."""
        for name, bands, height in canopy_scenes(folders, count):
            low = cell_means(height, grid_of(bands, factor))
            yield Sample(name, bands, low, partial(_evaluate, height))

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Average over images; see `Task`."""
        return {name: float(totals[name] / totals["images"]) for name in self.metrics}


def _evaluate(truth: Tensor, result: Tensor) -> Statistics:
    error = result.double() - truth  # [1, 1, H, W]
    return {"images": 1.0, "rmse": math.sqrt(error.square().mean()), "mae": float(error.abs().mean())}
