"""Compute the three losses (arXiv 2510.12764, section 3), which compare features by direction and by shape."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from omniup.upsamplers.anyup.distance import distance

__all__ = ["distance", "input_consistency", "segment_distance", "self_consistency"]


def self_consistency(changed: Tensor, clean: Tensor) -> Tensor:
    """Compute the distance between the results of changed and of clean guidance.

    Args:
        changed: [B, C, H, W], from the changed guidance.
        clean: [B, C, H, W], from the clean one; it is what the other should be, and gets no gradient.
    """
    return distance(changed, clean.detach())


def input_consistency(result: Tensor, features: Tensor) -> Tensor:
    """Compute the distance between the result, averaged over each cell, and the features.

    Args:
        result: [B, C, H, W].
        features: [B, C, h, w], with h ≤ H and w ≤ W.
    """
    height, width = features.shape[2:]
    return distance(F.adaptive_avg_pool2d(result, (height, width)), features)


def segment_distance(fractions: Tensor, segments: Tensor) -> Tensor:
    """Compute the Brier score of segments' upsampled fractions: squared distances from 0 and 1, summed over segments.

    Args:
        fractions: [B, K, H, W].
        segments: [B, K, H, W], each segment's part of a pixel.

    Returns:
        A scalar, the mean over pixels.
    """
    return (fractions - segments).square().sum(1).mean()
