"""Score what bleeds over edges: flying pixels between two depths, classes on the wrong side of a boundary.

RMSE and IoU count such a pixel as one error among many; in a point cloud or a mask it is what the eye sees first. As in
the soft edge error (Chen et al. 2019; arXiv 2104.03866) an edge may be displaced by some pixels: only what
agrees with neither side counts as flying.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omniup.evaluation.metrics.depth import NEAR, edge_distance
from omniup.evaluation.metrics.labels import boundary_distance

REACH = int(NEAR) + 1
"""Half the side of the window that holds the surfaces on both sides of an edge, in pixels: the nearest pixel across is
one further than the edge."""

FLYING = 0.2
"""Minimum difference from every surface of a flying pixel, as a fraction of the range of depth in its window."""


def flying_pixels(predicted: NDArray[Any], truth: NDArray[Any]) -> int:
    """Count flying pixels: near an edge of depth, and far from the surfaces on both its sides.

    The pixel p flies if |predicted(p) - truth(q)| > `FLYING` (max truth(q) - min truth(q)) for all q in the window of
    11 × 11 pixels around p; p within 4 pixels of an edge of the truth, which `edge_distance` defines.

    Args:
        predicted: [H, W], in the truth's unit.
        truth: [H, W], above 0; other values are no surface.

    Returns:
        Their number, among the `edge_pixels` of `depth_sums`.
    """
    known = np.where(truth > 0, truth, np.nan).astype(np.float64)  # [H, W]
    near = (truth > 0) & (edge_distance(truth) <= NEAR)
    least, low, high = (np.full(truth.shape, limit) for limit in (np.inf, np.inf, -np.inf))
    for surface in _neighbours(known, [(y, x) for y in _span(REACH) for x in _span(REACH)]):
        least = np.fmin(least, np.abs(predicted - surface))
        low, high = np.fmin(low, surface), np.fmax(high, surface)
    return int((near & (least > FLYING * (high - low))).sum())


def bleeding(predicted: NDArray[Any], truth: NDArray[Any], width: int) -> NDArray[np.int64]:
    """Count what bleeds over the boundaries of a label map.

    Among the pixels less than `width` pixels from a true boundary, a wrong label bleeds if it is the true one of some
    pixel at most `width` + 1 pixels away, so that it comes from the other side of a boundary. It is spurious if it is
    not: what lies between two labels in a mix may be a third.

    Args:
        predicted: [H, W], labels.
        truth: [H, W], likewise; negative where there is none, which counts for nothing.
        width: in pixels.

    Returns:
        [3]: the pixels near a boundary, those that bleed and those that are spurious.
    """
    near = (truth >= 0) & (boundary_distance(truth) < width)
    wrong = near & (predicted != truth)
    span = _span(width + 1)
    disc = [(y, x) for y in span for x in span if y**2 + x**2 <= (width + 1) ** 2]
    occurs = np.zeros(truth.shape, dtype=bool)
    for label in _neighbours(truth, disc, outside=-1):
        occurs |= label == predicted
    return np.array([near.sum(), (wrong & occurs).sum(), (wrong & ~occurs).sum()], dtype=np.int64)


def bleeding_scores(counts: NDArray[Any]) -> dict[str, float]:
    """Compute `bleeding` and `spurious`, percentages of the pixels near boundaries, of sums of `bleeding`."""
    near, bled, spurious = (float(count) for count in counts)
    return {"bleeding": 100 * bled / max(near, 1), "spurious": 100 * spurious / max(near, 1)}


def _span(reach: int) -> range:
    return range(-reach, reach + 1)


def _neighbours(
    values: NDArray[Any], offsets: list[tuple[int, int]], outside: float = np.nan
) -> Iterator[NDArray[Any]]:
    """Shift a map [H, W] so that each pixel has the value of its neighbour at each offset; `outside` beyond borders."""
    height, width = values.shape
    reach = max(abs(step) for offset in offsets for step in offset)
    padded = np.pad(values, reach, constant_values=outside)
    for y, x in offsets:
        yield padded[reach + y : reach + y + height, reach + x : reach + x + width]
