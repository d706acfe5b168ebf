"""Mark pixels that differ from a neighbour, and compute the distance of others to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def lines(values: NDArray[Any], apart: Callable[[NDArray[Any], NDArray[Any]], NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Mark the pixels of a map [H, W] that differ from one of their four neighbours, on both sides."""
    marks = np.zeros(values.shape, dtype=bool)
    rows, columns = (
        apart(first, second) for first, second in ((values[1:], values[:-1]), (values[:, 1:], values[:, :-1]))
    )
    marks[1:] |= rows
    marks[:-1] |= rows
    marks[:, 1:] |= columns
    marks[:, :-1] |= columns
    return marks


def distance_to(marks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the distance [H, W] of each pixel to the nearest marked one; infinite where none is."""
    from scipy.ndimage import distance_transform_edt  # here, since it is slow to import

    return distance_transform_edt(~marks) if marks.any() else np.full(marks.shape, np.inf)
