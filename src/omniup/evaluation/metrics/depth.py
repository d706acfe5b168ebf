"""Compare depth maps with true ones, overall and at the edges of depth; sums that add up over images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omniup.errors import InputError
from omniup.evaluation.metrics.lines import distance_to, lines

DELTA = 1.25
"""δ1 counts the pixels whose depth is wrong by less than this factor (Eigen et al. 2014)."""

JUMP = 0.05
"""Neighbouring depths that differ by more than this part of the nearer one lie at an edge."""

NEAR = 4.0
"""Error at edges is that of pixels within so many pixels of one."""


def depth_sums(predicted: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """Sum errors over the pixels of a depth map.

    Args:
        predicted: [H, W], in the truth's unit.
        truth: [H, W], above 0; where it is not, nothing is counted.

    Returns:
        `pixels`, `squared`, `absolute`, `within` (pixels within `DELTA`), and of the pixels near edges `edge_pixels`
        and `edge_absolute`.

    Raises:
        InputError: the shapes differ.
    """
    if predicted.shape != truth.shape or truth.ndim != 2:
        raise InputError(
            "predicted",
            "has the shape {predicted}, and truth {truth}",
            "maps of equal size",
            predicted=list(predicted.shape),
            truth=list(truth.shape),
        )
    valid = truth > 0
    error = np.where(valid, np.abs(predicted.astype(np.float64) - truth), 0)  # [H, W]
    near = valid & (edge_distance(truth) <= NEAR)
    within = valid & (np.maximum(predicted, truth) < DELTA * np.minimum(predicted, truth))
    return {
        "pixels": float(valid.sum()),
        "squared": float((error**2).sum()),
        "absolute": float(error.sum()),
        "within": float(within.sum()),
        "edge_pixels": float(near.sum()),
        "edge_absolute": float(error[near].sum()),
    }


def depth_scores(sums: Mapping[str, Any]) -> dict[str, float]:
    """Compute `rmse`, `mae` and `edge_mae` (near edges) in the truth's unit, and `delta1` in percent, of sums."""
    pixels, edge_pixels = max(sums["pixels"], 1), max(sums["edge_pixels"], 1)
    return {
        "rmse": math.sqrt(sums["squared"] / pixels),
        "mae": float(sums["absolute"] / pixels),
        "edge_mae": float(sums["edge_absolute"] / edge_pixels),
        "delta1": float(100 * sums["within"] / pixels),
    }


def edge_distance(depth: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the distance [H, W] of pixels to the nearest `JUMP` of depth; infinite where there is none."""

    def jumps(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
        nearer = np.minimum(first, second)
        return (nearer > 0) & (np.abs(first - second) > JUMP * nearer)

    return distance_to(lines(depth, jumps))
