"""Compare features by direction and by shape (arXiv 2510.12764, section 3), for training and for adaptation."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

EPS = 1e-6

FLAT = 0.1
"""The least range of a target's channels that counts, as a part of the mean over its pixels.

The paper has nothing but `EPS` here. But where a descriptor sees nothing at all (an overexposed sky), its vector is
constant, and dividing an error by a millionth makes one pixel outweigh all others. Networks are not that blind, and for
them this changes nothing.
"""


def distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute 1 - cosine similarity plus a scaled squared error, the mean over pixels.

    Each pixel is scaled by the least and the greatest value among its target's channels. So encoders weigh the same,
    whatever the size of their features, and the length of a vector, to which the cosine is blind, counts.

    Args:
        prediction: [B, C, h, w].
        target: [B, C, h, w].

    Returns:
        A scalar, at least 0; 0 where the two are equal.
    """
    similarity = F.cosine_similarity(prediction, target, dim=1)  # [B, h, w]
    low, high = target.aminmax(dim=1, keepdim=True)  # [B, 1, h, w] each
    span = high - low
    span = span.clamp(min=FLAT * span.mean()) + EPS
    error = (prediction - target) / span  # both are scaled by the same factor, so that the offset, `low`, cancels
    return (1 - similarity).mean() + error.square().mean()
