"""Compute surface normals from depth, and compare normals; sums that add up over images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omniup.errors import InputError
from omniup.evaluation.metrics.depth import edge_distance

RADIUS = 4
"""Radius of the squares that planes are fitted to: whole-numbered depths need some width to show a slope."""

STEP = 0.05
"""Bin width of the histogram of angles, in degrees; it divides the thresholds."""

THRESHOLDS = (11.25, 22.5, 30.0)
"""Customary ones, in degrees (Wang et al. 2015)."""


def surface_normals(depth: NDArray[Any], radius: int = RADIUS) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fit a plane to the depths around each pixel, by least squares.

    A pixel is taken to be as wide as the unit of depth, and rays to be parallel: nothing is known of the camera.

    Args:
        depth: [H, W], above 0.
        radius: of the square around a pixel, in pixels.

    Returns:
        Vectors [3, H, W] of length 1, (-dz/dx, -dz/dy, 1) scaled; and where they mean something, [H, W]: where the
        square lies in the map and holds no jump of depth (see `edge_distance`).
    """
    from scipy.ndimage import correlate1d  # here, since it is slow to import

    steps = np.arange(-radius, radius + 1, dtype=np.float64)
    slope, mean = steps / (steps**2).sum(), np.full(len(steps), 1 / len(steps))
    z = depth.astype(np.float64)
    along_y, along_x = (
        correlate1d(correlate1d(z, slope, axis), mean, 1 - axis) for axis in (0, 1)
    )  # slopes of the planes, [H, W] each
    normals = np.stack([-along_x, -along_y, np.ones_like(z)])
    inside = np.zeros(z.shape, dtype=bool)
    inside[radius : z.shape[0] - radius, radius : z.shape[1] - radius] = True
    far = edge_distance(depth) > np.sqrt(2) * radius
    return normals / np.linalg.norm(normals, axis=0), inside & far & (depth > 0)


def normal_sums(predicted: NDArray[Any], truth: NDArray[Any], valid: NDArray[np.bool_]) -> dict[str, Any]:
    """Sum up the angles between vectors, over the valid pixels.

    Args:
        predicted: [3, H, W], of any length above 0.
        truth: [3, H, W], of length 1.
        valid: [H, W].

    Returns:
        `pixels`, `angle` (the sum, in degrees) and `histogram`, counts in steps of `STEP` degrees from 0 to 180.

    Raises:
        InputError: the shapes differ.
    """
    if predicted.shape != truth.shape or predicted.shape != (3, *valid.shape):
        raise InputError(
            "predicted",
            "has the shape {predicted}, and truth {truth}",
            "[3, H, W]",
            predicted=list(predicted.shape),
            truth=list(truth.shape),
        )
    ours, theirs = (vectors.astype(np.float64)[:, valid] for vectors in (predicted, truth))
    # The angle by its tangent: the arc cosine of what rounds to 1 would be off by hundredths of a degree.
    across, along = np.linalg.norm(np.cross(ours, theirs, axis=0), axis=0), (ours * theirs).sum(0)
    angles = np.degrees(np.arctan2(across, along))
    bins = np.minimum((angles / STEP).astype(np.int64), round(180 / STEP) - 1)
    return {
        "pixels": float(len(angles)),
        "angle": float(angles.sum()),
        "histogram": np.bincount(bins, minlength=round(180 / STEP)),
    }


def normal_scores(sums: Mapping[str, Any]) -> dict[str, float]:
    """Compute `mean` and `median` angle in degrees, and `within_…` the thresholds, in percent, of sums."""
    histogram, pixels = np.asarray(sums["histogram"]), max(float(sums["pixels"]), 1)
    below = np.cumsum(histogram)
    return {
        "mean": float(sums["angle"] / pixels),
        "median": STEP * float(np.searchsorted(below, pixels / 2) + 0.5),
        **{f"within_{limit:g}": 100 * float(below[round(limit / STEP) - 1] / pixels) for limit in THRESHOLDS},
    }
