"""Measure what a confidence is worth: its rank correlation with the error, and its reliability curve.

A confidence of 0..1 is calibrated if of the pixels that have the confidence c a fraction c turns out well (Guo et al.
2017, arXiv 1706.04599). What turning out well means depends on the signal's type: `class_outcomes`,
`measurement_outcomes`, `feature_outcomes`. Statistics add up over images, as those of a `Task`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup.upsamplers.confidence import CLOSE, LEAST_RANGE
from omniup_bench.task import Statistics

BINS = 10
"""Number of bins of the reliability curve, of equal width."""

FEWEST = 0.01
"""Minimum fraction of all pixels in a bin whose deviation counts by itself."""

Pixels: TypeAlias = NDArray[np.float64]
"""[n], a number for each pixel that has a truth."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The outcome of an upsampling at the pixels that have a truth.

    Attributes:
        valid: boolean [H, W], those pixels, n of them.
        outcome: [n], 0 to 1: whether a pixel turned out well.
        error: [n], 0 or more: by how much it did not.
    """

    valid: NDArray[np.bool_]
    outcome: Pixels
    error: Pixels


def class_outcomes(result: Tensor, truth: NDArray[Any]) -> Outcomes:
    """Compare the most probable class of [1, C, H, W] with the true one [H, W], negative where there is none."""
    valid = truth >= 0
    right = (result[0].argmax(0).numpy() == truth)[valid].astype(np.float64)
    return Outcomes(valid, right, 1 - right)


def measurement_outcomes(result: Tensor, truth: Tensor, signal: Tensor) -> Outcomes:
    """Compare a measurement with the truth: well is an error of at most `CLOSE` times the local range.

    The range is that of the signal in the 3 × 3 cells around a pixel's, at least `LEAST_RANGE` of the signal's whole
    range, as `omniup.upsamplers.confidence` has it; of several channels, the largest error counts.

    Args:
        result: [1, C, H, W].
        truth: [1, C, H, W].
        signal: [1, C, h, w], the upsampled one.
    """
    low = -F.max_pool2d(-signal, 3, stride=1, padding=1)  # [1, C, h, w]
    whole = signal.amax((2, 3), keepdim=True) - signal.amin((2, 3), keepdim=True)  # [1, C, 1, 1]
    cells = (F.max_pool2d(signal, 3, stride=1, padding=1) - low).clamp_min(LEAST_RANGE * whole)
    local_range = F.interpolate(cells, (result.shape[2], result.shape[3]), mode="nearest-exact")  # [1, C, H, W]
    error = (result - truth).abs()
    close = (error <= CLOSE * local_range).all(1)[0]  # [H, W]
    every = np.ones(close.shape, dtype=bool)
    return Outcomes(every, _flat(close), _flat(error.amax(1)[0]))


def feature_outcomes(result: Tensor, truth: Tensor) -> Outcomes:
    """Compare features [1, C, H, W] with a reference by their cosine similarity; what is below 0 counts as 0."""
    cosine = F.cosine_similarity(result.double(), truth.double(), dim=1)[0]  # [H, W]
    every = np.ones(cosine.shape, dtype=bool)
    return Outcomes(every, _flat(cosine.clamp(min=0)), _flat(1 - cosine))


def confidence_sums(confidence: Tensor, outcomes: Outcomes) -> Statistics:
    """Compare a confidence with what came out, in statistics that add up over images.

    Args:
        confidence: [1, 1, H, W] in 0..1.
        outcomes: of the same pixels.

    Returns:
        `images`, 1; `rank_correlation`; and `reliability` [3, BINS].
    """
    values = confidence[0, 0].double().numpy()[outcomes.valid]  # [n]
    return {
        "images": 1.0,
        "rank_correlation": rank_correlation(values, outcomes.error),
        "reliability": reliability(values, outcomes.outcome),
    }


def confidence_scores(totals: Statistics) -> dict[str, float]:
    """Compute scores from sums of `confidence_sums`.

    Returns:
        `rank_correlation`, the mean over images, `calibration_error` and `largest_deviation` of all pixels together.
    """
    bins = np.asarray(totals["reliability"])
    return {
        "rank_correlation": float(totals["rank_correlation"] / totals["images"]),
        "calibration_error": calibration_error(bins),
        "largest_deviation": largest_deviation(bins),
    }


def rank_correlation(confidence: Pixels, error: Pixels) -> float:
    """Compute Spearman's ρ of the error and the lack of confidence: 1 where more confidence always means less error.

    It is 0 where one of the two is constant: then nothing can be ranked.
    """
    from scipy.stats import spearmanr  # here, since it is slow to import

    if np.ptp(confidence) == 0 or np.ptp(error) == 0:
        return 0.0
    return float(spearmanr(-confidence, error).statistic)


def reliability(confidence: Pixels, outcome: Pixels) -> NDArray[np.float64]:
    """Sum pixels by their confidence, in `BINS` bins.

    Returns:
        [3, BINS]: the number of pixels in each, and the sums of their confidences and of their outcomes.
    """
    place = np.minimum((BINS * confidence).astype(np.int64), BINS - 1)
    return np.stack([np.bincount(place, weights, BINS) for weights in (np.ones_like(confidence), confidence, outcome)])


def reliability_curve(bins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the points of the curve, [2, BINS]: mean confidence and mean outcome of each bin; NaN of none."""
    count = np.where(bins[0] > 0, bins[0], np.nan)
    return bins[1:] / count


def calibration_error(bins: NDArray[np.float64]) -> float:
    """Compute the expected calibration error: the mean over all pixels of their bin's deviation from the diagonal."""
    count, confidence, outcome = bins
    return float(np.abs(confidence - outcome).sum() / max(count.sum(), 1))


def largest_deviation(bins: NDArray[np.float64]) -> float:
    """Compute the largest deviation from the diagonal of a bin that has `FEWEST` of the pixels; 0 without any."""
    counted = (bins[0] > 0) & (bins[0] >= FEWEST * bins[0].sum())
    confidence, outcome = reliability_curve(bins[:, counted])
    return float(np.abs(confidence - outcome).max(initial=0))


def _flat(maps: Tensor) -> Pixels:
    return maps.to(torch.float64).flatten().numpy()
