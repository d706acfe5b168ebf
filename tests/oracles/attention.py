"""Softmax mixing with dense weights: every pixel against every cell."""

import math

import torch

from oracles.windows import relative_window


def dense_mix(query, key, value, counts):
    """Mix with weights ∝ count · exp⟨query, key⟩; all in the type of the inputs.

    query [B, D, N], key [B, D, cells], value [B, C, cells], counts [N, cells] or [B, N, cells] to [B, C, N].
    """
    logits = torch.einsum("bdn,bdk->bnk", query, key)
    logits = logits.masked_fill(counts == 0, -math.inf)
    weights = counts.to(logits) * torch.exp(logits - logits.amax(-1, keepdim=True))
    weights = weights / weights.sum(-1, keepdim=True)
    return torch.einsum("bnk,bck->bcn", weights, value)


def dense_entropy(query, key, counts, heads=1):
    """Entropy of the mean of the heads' weights, every occurrence of a cell a candidate of its own: [B, N]."""
    pairs = zip(query.chunk(heads, 1), key.chunk(heads, 1), strict=True)
    logits = torch.stack([torch.einsum("bdn,bdk->bnk", *pair) for pair in pairs], dim=2)  # [B, N, heads, cells]
    counts = counts.expand(len(query), -1, -1)
    out = torch.empty(logits.shape[:2], dtype=logits.dtype)
    for b in range(logits.shape[0]):
        for n in range(logits.shape[1]):
            one_by_one = logits[b, n].repeat_interleave(counts[b, n].long(), dim=1)
            w = torch.softmax(one_by_one, 1).mean(0)
            out[b, n] = -torch.special.xlogy(w, w).sum()
    return out


def anyup_window_attention(query, key, value, ratio):
    """AnyUp's windowed attention (facts/anyup.md, point 7) under a dense mask.

    query [B, D, H, W], key [B, D, h, w], value [B, C, h, w] to [B, C, H, W].
    """
    size, grid = query.shape[2:], key.shape[2:]
    allowed = torch.zeros(size[0] * size[1], grid[0] * grid[1], dtype=torch.bool)
    for y in range(size[0]):
        for x in range(size[1]):
            for qy, qx in relative_window(y, x, size, grid, ratio):
                allowed[y * size[1] + x, qy * grid[1] + qx] = True
    logits = query.flatten(2).mT @ key.flatten(2)
    weights = torch.where(allowed, logits, -math.inf).softmax(-1)
    return (value.flatten(2) @ weights.mT).unflatten(2, size)
