"""Compute maps of cosine similarity with the features of one pixel."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from omniup.visualize.tensors import check_map, check_point, pieces

SMALLEST = torch.finfo(torch.float32).tiny  # only zero vectors are shorter; a larger epsilon would bend the cosine


def similarity_map(features: Tensor, point: tuple[int, int], *, of: Tensor | None = None) -> Tensor:
    """Compare every pixel's feature vector with that of one pixel.

    Args:
        features: [1, C, h, w], any dtype.
        point: (y, x) of the pixel to compare with, in pixels of its map.
        of: the map [1, C, h', w'] that the point lies in; by default the same.

    Returns:
        [1, 1, h, w] float32, the cosine in -1..1; 0 where either vector is zero.

    Raises:
        InputError: the features are no such map, or the point lies outside of its own.
    """
    check_map("features", features)
    source = features if of is None else of
    check_map("of", source, channels=(features.shape[1],))
    _, _, height, width = source.shape
    check_point("point", point, height, width)
    y, x = point
    vector = source[0, :, y, x].detach().float().to(features.device)
    direction = F.normalize(vector, dim=0, eps=SMALLEST)  # [C]
    return torch.cat([_cosine(piece, direction) for piece in pieces(features)], dim=2)


def lengths(features: Tensor) -> Tensor:
    """Compute the lengths of feature vectors: [1, C, h, w], any dtype, to [1, 1, h, w] float32."""
    check_map("features", features)
    return torch.cat([torch.linalg.vector_norm(piece, dim=1, keepdim=True) for piece in pieces(features)], dim=2)


def mixed_similarity(
    render: Callable[[Tensor], Tensor], features: Tensor, vector: Tensor, mixed_lengths: Tensor
) -> Tensor:
    """Compare a vector with features upsampled by mixing, without upsampling them.

    Mixing is linear: the inner products with the mixed features are the mixed inner products, which is one channel.

    Args:
        render: mixes, [1, 1, h, w] to [1, 1, H, W].
        features: [1, C, h, w], any dtype, what is mixed.
        vector: [C], what to compare with.
        mixed_lengths: [1, 1, H, W], `lengths` of the mixed features.

    Returns:
        [1, 1, H, W] float32, the cosine in -1..1; 0 where either vector is zero.
    """
    check_map("features", features)
    direction = F.normalize(vector.detach().float(), dim=0, eps=SMALLEST)  # [C]
    products = torch.einsum("bchw,c->bhw", features.detach().float(), direction).unsqueeze(1)  # [1, 1, h, w]
    return (render(products) / mixed_lengths.clamp_min(SMALLEST)).clamp(-1, 1)


def _cosine(vectors: Tensor, direction: Tensor) -> Tensor:
    """Compute cosines of [1, C, r, w] with a vector [C] of length 1: [1, 1, r, w]."""
    lengths = torch.linalg.vector_norm(vectors, dim=1).clamp_min(SMALLEST)  # [1, r, w]
    cosines: Tensor = torch.einsum("bchw,c->bhw", vectors, direction) / lengths  # [1, r, w]
    return cosines.clamp(-1, 1).unsqueeze(1)
