"""Compute windowed attention for fixed sizes by plain tensor operations: for export, and for gradients of gradients.

The mixing engine works out tile by tile which pixels draw from which cells, and its backward pass has a closed form,
which is differentiable no further. With fixed sizes all that is a handful of index tensors, and autograd sees through.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omniup.mixing import Groups, Windows
from omniup.mixing.groups import groups
from omniup.upsamplers.anyup.network import HEADS


class FixedAttention(nn.Module):
    """Attention of `mixing.Attention` with AnyUp's heads, without a bound on its memory.

    Args:
        windows: which cells each pixel may draw from.
        like: of the type and on the device of queries and keys.
    """

    order: Tensor

    def __init__(self, windows: Windows, like: Tensor) -> None:
        super().__init__()
        self.size = windows.size
        found = list(groups(windows, longest=32, most=2**30, like=like))
        self.parts = nn.ModuleList(_Part(group) for group in found)
        order = torch.cat([group.pixels.flatten() for group in found]).argsort()
        self.register_buffer("order", order, persistent=False)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Mix values.

        Args:
            query: [B, D, H', W'].
            key: [B, D, h, w].
            value: [B, C, h, w].

        Returns:
            [B, C, H', W'].
        """
        flat = query.flatten(2), key.flatten(2), value.flatten(2)
        mixed = torch.cat([part(*flat) for part in self.parts], dim=2)  # [B, C, pixels]
        return mixed[:, :, self.order].unflatten(2, self.size)


class _Part(nn.Module):
    """Groups of pixels of one shape; see `Groups`."""

    pixels: Tensor  # [n, P]
    cells: Tensor  # [n, K]
    window: Tensor  # [E, n, P]
    log_occurrences: Tensor  # [E, n, K]

    def __init__(self, group: Groups) -> None:
        super().__init__()
        for name in ("pixels", "cells", "window", "log_occurrences"):
            self.register_buffer(name, getattr(group, name), persistent=False)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Mix flat values [B, C, cells] by queries [B, D, pixels] and keys [B, D, cells]: [B, C, n P]."""
        query, key, value = query[:, :, self.pixels], key[:, :, self.cells], value[:, :, self.cells]
        query, key = (vectors.unflatten(1, (HEADS, -1)).transpose(2, 3) for vectors in (query, key))
        allowed = self.window.permute(1, 2, 0) @ self.log_occurrences.transpose(0, 1)  # [n, P, K]
        logits = query.mT @ key + allowed  # [B, heads, n, P, K]
        weights = logits.softmax(-1).mean(1)  # [B, n, P, K]
        mixed = value.transpose(1, 2) @ weights.mT  # [B, n, C, P]
        return mixed.transpose(1, 2).flatten(2)
