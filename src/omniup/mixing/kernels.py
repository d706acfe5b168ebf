"""Multiply pixels with candidates, take softmaxes, and reuse the memory for both.

Vectors lie channels first, [.., D, P] and [.., D, K]: products with one short side are several times faster so. Dense
twins of all that is made of these: tests/oracles/attention.py.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: From so many on, pixels or candidates that lie side by side in memory are many enough for vector instructions.
MANY = 64

#: Weights below exp(-80) of the largest are set to that: exp(-90) to exp(-103) lie below the normal range of float32,
#: where a processor takes many times longer, and a wide window holds cells of far colours.
LEAST_LOGIT = -80.0

LOG2_E = math.log2(math.e)


class Scratch:
    """Memory by name, used again for every tile and growing to the largest.

    What is freed goes back to the operating system, and each page that comes anew costs more than what is computed on
    it: with fresh tensors for every tile, half of the time of a fit was that.
    """

    def __init__(self, like: Tensor) -> None:
        self._empty = like.new_empty(0)
        self._flat: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """Return a tensor with any contents; it shares its memory with the last one of that name."""
        size = math.prod(shape)
        flat = self._flat.get(name, self._empty)
        if flat.numel() < size:
            self._flat.pop(name, None)
            flat = self._flat[name] = self._empty.new_empty(size)
        return flat[:size].view(shape)


def pair_products(
    cells: Tensor, pixels: Tensor, scratch: Scratch, name: str = "products", *, more: Tensor | None = None
) -> Tensor:
    """Multiply every candidate with every pixel of a group: [.., D, K] and [.., D, P] to [.., K, P].

    Args:
        cells: vectors of candidates.
        pixels: vectors of pixels.
        scratch: whose memory holds the result.
        name: of that memory.
        more: [.., K, P], added to the products.
    """
    (*lead, _, k), p = cells.shape, pixels.shape[-1]
    left, right = cells.flatten(0, -3), pixels.flatten(0, -3)
    more = None if more is None else more.expand(*lead, k, p).flatten(0, -3)
    if candidates_adjoin := _candidates_adjoin(k, p, cells.device):
        left, right, more = right, left, None if more is None else more.mT
    out = scratch.take(name, len(left), left.shape[2], right.shape[2])
    products = torch.bmm(left.mT, right, out=out) if more is None else torch.baddbmm(more, left.mT, right, out=out)
    return (products.mT if candidates_adjoin else products).unflatten(0, lead)


def softmax(logits: Tensor, scratch: Scratch) -> Tensor:
    """Return the weights over the candidates, of logits [.., K, P] from `pair_products`, which are overwritten."""
    weights = exponentials(logits, scratch)
    return weights if _torch_is_quicker(logits) else weights.div_(weights.sum(-2, keepdim=True))


def exponentials(logits: Tensor, scratch: Scratch) -> Tensor:
    """Return numbers in proportion to the weights, likewise; a mix by them is divided by their sum."""
    dim = -2
    if candidates_adjoin := _candidates_adjoin(logits.shape[-2], logits.shape[-1], logits.device):
        logits, dim = logits.mT, -1
    if _torch_is_quicker(logits):
        out = torch.softmax(logits, dim, out=scratch.take("weights", *logits.shape))
    else:
        # Powers of 2 take a third of the time that powers of e take.
        largest = logits.amax(dim, keepdim=True).mul_(-LOG2_E)
        out = torch.add(largest, logits, alpha=LOG2_E, out=logits).clamp_(min=LEAST_LOGIT * LOG2_E).exp2_()
    return out.mT if candidates_adjoin else out


def _candidates_adjoin(k: int, p: int, device: torch.device) -> bool:
    """Return whether a pixel's candidates lie side by side in memory; else a candidate's pixels do."""
    return k >= MANY and (p < MANY or device.type != "cpu")


def _torch_is_quicker(logits: Tensor) -> bool:
    """Return whether torch's own softmax is quicker than ours: on a GPU, and if few numbers lie side by side."""
    return logits.device.type != "cpu" or max(logits.shape[-2:]) < MANY


def mean_of_heads(weights: Tensor) -> Tensor:
    """Average over the heads: [B, n, heads, K, P] to [B, n, K, P]."""
    return weights.mean(2) if weights.shape[2] > 1 else weights.squeeze(2)


def append_coordinates(vectors: Tensor, more: Tensor) -> Tensor:
    """Append coordinates to vectors: [B, .., D, n, m] and [B or 1, .., E, n, m] to [B, n, .., D + E, m]."""
    vectors, more = vectors.movedim(-2, 1), more.movedim(-2, 1)
    return torch.cat([vectors, more.expand(*vectors.shape[:-2], -1, -1)], dim=-2)
