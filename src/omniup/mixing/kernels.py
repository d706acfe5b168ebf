"""Multiply pixels with candidates, take softmaxes, and reuse the memory for both.

Vectors lie channels first, [.., D, P] and [.., D, K]: products with one short side are several times faster so. Dense
twins of all that is made of these: tests/oracles/attention.py.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

#: From so many on, the candidates of a pixel lie side by side in memory; fewer, and the pixels of a candidate do.
MANY_CANDIDATES = 64


class Scratch:
    """Memory for one tensor of products and one of weights, used again for every tile and growing to the largest.

    What is freed goes back to the operating system, and each page that comes anew costs more than what is computed on
    it: with fresh tensors for every tile, half of the time of a fit was that.
    """

    def __init__(self, like: Tensor) -> None:
        self._flat = {"products": like.new_empty(0), "weights": like.new_empty(0)}

    def take(self, name: Literal["products", "weights"], *shape: int) -> Tensor:
        """Return a tensor with any contents; it shares its memory with the last one of that name."""
        size = math.prod(shape)
        if self._flat[name].numel() < size:
            self._flat[name] = self._flat[name].new_empty(size)
        return self._flat[name][:size].view(shape)


def pair_products(cells: Tensor, pixels: Tensor, scratch: Scratch) -> Tensor:
    """Multiply every candidate with every pixel of a group: [.., D, K] and [.., D, P] to [.., K, P].

    Of the two layouts in memory it takes that in which a softmax over the candidates is quicker.
    """
    (*lead, _, k), p = cells.shape, pixels.shape[-1]
    cells, pixels = cells.flatten(0, -3), pixels.flatten(0, -3)
    if k < MANY_CANDIDATES:
        return torch.bmm(cells.mT, pixels, out=scratch.take("products", len(cells), k, p)).unflatten(0, lead)
    return torch.bmm(pixels.mT, cells, out=scratch.take("products", len(cells), p, k)).unflatten(0, lead).mT


def softmax(logits: Tensor, scratch: Scratch) -> Tensor:
    """Return the weights over the candidates, of logits [.., K, P] from `pair_products`, which are overwritten."""
    if logits.shape[-2] < MANY_CANDIDATES:
        return torch.softmax(logits, -2, out=scratch.take("weights", *logits.shape))
    logits = logits.mT  # [.., P, K]
    # A wide window holds cells of far colours, and exp(-90) to exp(-103) lie below the normal range of float32, where
    # a processor takes many times longer. At exp(-80) nobody sees them either.
    floor = logits.amax(-1, keepdim=True).sub_(80)
    torch.maximum(logits, floor, out=logits)
    return torch.softmax(logits, -1, out=scratch.take("weights", *logits.shape)).mT


def mean_of_heads(weights: Tensor) -> Tensor:
    """Average over the heads: [B, n, heads, K, P] to [B, n, K, P]."""
    return weights.mean(2) if weights.shape[2] > 1 else weights.squeeze(2)


def append_coordinates(vectors: Tensor, more: Tensor) -> Tensor:
    """Append coordinates to vectors: [B, .., D, n, m] and [B or 1, .., E, n, m] to [B, n, .., D + E, m]."""
    vectors, more = vectors.movedim(-2, 1), more.movedim(-2, 1)
    return torch.cat([vectors, more.expand(*vectors.shape[:-2], -1, -1)], dim=-2)
