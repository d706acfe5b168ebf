"""The task `depth`: depth maps, brought down and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omniup.errors import InputError
from omniup.evaluation.metrics.depth import depth_scores, depth_sums
from omniup.files import read_signal
from omniup.mixing import cell_means
from omniup_bench.data import grid_of
from omniup_bench.task import Sample, Statistics


class Depth:
    """Depth maps from their means over cells: errors in the maps' own unit.

    The folder holds `depth/NAME.npz` with the arrays `guide`, 8-bit [3, H, W], and `depth`, [H, W], above 0. There is
    one split only.
    """

    name: str = "depth"
    summary: str = "depth maps, brought down by area averaging (Middlebury 2005)"
    signal: Literal["measurement", "prediction"] = "measurement"
    factors: tuple[int, ...] = (4, 8, 14, 16, 32)
    metrics: Mapping[str, bool] = {"rmse": False, "mae": False, "edge_mae": False, "delta1": True}

    def samples(self, data: Path, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images; see `Task`."""
        for name, image, depth in depth_pairs(data, count):
            low = cell_means(depth, grid_of(image, factor))
            yield Sample(name, image, low, partial(_judge, depth[0, 0].numpy()))

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Of all images' pixels together; see `Task`."""
        return depth_scores(totals)


def depth_pairs(data: Path, count: int | None = None) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Read photographs with depth: names, images [1, 3, H, W] in 0..1 and depth maps [1, 1, H, W] above 0.

    Args:
        data: the folder of all data sets; see `Depth`.
        count: of pairs; all if None.

    Raises:
        InputError: there are none, or one is something else.
    """
    paths = sorted((data / "depth").glob("*.npz"))
    if not paths:
        raise InputError(f"data: {data} has no depth/NAME.npz; accepted are files with arrays guide and depth")
    for path in paths[:count]:
        guide, depth = (read_signal(path, name=name).float() for name in ("guide", "depth"))
        if guide.shape[1] != 3 or depth.shape[1] != 1 or guide.shape[2:] != depth.shape[2:]:
            shapes = f"guide {list(guide.shape[1:])} and depth {list(depth.shape[1:])}"
            raise InputError(f"data: {path} holds {shapes}; accepted are [3, H, W] and [H, W]")
        if not (guide.min() >= 0 and guide.max() <= 255 and depth.min() > 0):
            raise InputError(f"data: {path}: accepted are guides of 0 to 255 and depths above 0")
        yield f"depth/{path.stem}", guide / 255, depth


def _judge(truth: NDArray[np.float32], result: Tensor) -> Statistics:
    return depth_sums(result[0, 0].numpy(), truth)
