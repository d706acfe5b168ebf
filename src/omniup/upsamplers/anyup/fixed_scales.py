"""Compute AnyUp's windowed attention for fixed sizes by plain operations: for export, and for gradients of gradients.

The mixing engine works out tile by tile which pixels draw from which cells, and its backward pass has a closed form,
which is differentiable no further. With fixed sizes all that is a handful of index tensors, and autograd sees through.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from omniup.mixing import Groups, Windows
from omniup.mixing.groups import groups
from omniup.upsamplers.anyup.implicit import slopes
from omniup.upsamplers.anyup.network import HEADS, Network
from omniup.upsamplers.anyup.pyramid import pooled
from omniup.upsamplers.anyup.scales import Scales, coefficients
from omniup.upsamplers.checks import Size


class FixedScales(nn.Module):
    """The mix of `Scales` for one size of result and one grid, without a bound on its memory.

    Args:
        network: whose extensions take part.
        size: (H', W').
        grid: (h, w).
        window_ratio: of the network's own window.
        like: of the type and on the device of queries and keys.
    """

    order: Tensor
    place: Tensor

    def __init__(self, network: Network, size: Size, grid: Size, window_ratio: float, like: Tensor) -> None:
        super().__init__()
        self.size = size
        scales = Scales.of(network, size, grid, window_ratio)
        found = [list(groups(windows, longest=32, most=2**30, like=like)) for windows in scales.windows]
        self.scales = nn.ModuleList(
            _Scale(*each, grid=grid, like=like) for each in zip(scales.windows, found, strict=True)
        )
        order = torch.cat([group.pixels.flatten() for group in found[0]]).argsort()
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("place", scales.places(scales.points(like.device), like), persistent=False)

    def forward(self, network: Network, query: Tensor, key: Tensor, features: Tensor) -> Tensor:
        """Mix features.

        Args:
            network: as above; it is no part of this module, which has no weights.
            query: [B, D, H', W'].
            key: [B, D, h, w].
            features: [B, C, h, w].

        Returns:
            [B, C, H', W'].
        """
        query = query.flatten(2)  # [B, D, pixels]
        each: Sequence[Tensor | None] = [None]
        values = features.unsqueeze(1)  # [B, J, C, h, w]
        if network.implicit is not None:
            values = torch.cat([values, slopes(features)], dim=1)
        if network.implicit is not None or network.pyramid is not None:
            found = coefficients(network, query, self.place, network.implicit is not None)
            each = found.split([values.shape[1], *([1] * (len(self.scales) - 1))], dim=1)  # [B, J, pixels]
        mixed = self.scales[0](query, key, values, each[0])  # [B, C, pixels]
        for number, scale in enumerate(self.scales[1:]):
            assert network.pyramid is not None
            tempered = network.pyramid.tempered(key, number)
            mixed = mixed + scale(query, tempered, features.unsqueeze(1), each[number + 1])
        return mixed[:, :, self.order].unflatten(2, self.size)


class _Scale(nn.Module):
    """An attention of all pixels to one grid, which cells are averaged over first."""

    rows: Tensor
    columns: Tensor

    def __init__(self, windows: Windows, found: list[Groups], *, grid: Size, like: Tensor) -> None:
        super().__init__()
        for name, cells, of in zip(("rows", "columns"), grid, windows.grid, strict=True):
            pool = pooled(torch.eye(cells).to(like)[None, None], (of, cells))[0, 0]  # [of, cells]
            self.register_buffer(name, pool, persistent=False)
        self.is_pooled = windows.grid != grid
        strides = like.new_tensor([windows.rows.stride, windows.columns.stride])
        self.parts = nn.ModuleList(_Part(group, strides) for group in found)

    def forward(self, query: Tensor, key: Tensor, values: Tensor, coefficients: Tensor | None) -> Tensor:
        """Mix values [B, J, C, h, w] by queries [B, D, pixels] and keys [B, D, h, w]: [B, C, pixels], by groups."""
        if self.is_pooled:
            key, values = (self.rows @ maps @ self.columns.mT for maps in (key, values))
        flat = key.flatten(2), values.flatten(3)
        return torch.cat([part(query, *flat, coefficients) for part in self.parts], dim=2)


class _Part(nn.Module):
    """Groups of pixels of one shape; see `Groups`."""

    pixels: Tensor  # [n, P]
    cells: Tensor  # [n, K]
    window: Tensor  # [E, n, P]
    log_occurrences: Tensor  # [E, n, K]
    pixel_offset: Tensor  # [2, n, P], here in cells
    cell_offset: Tensor  # [2, n, K], likewise

    def __init__(self, group: Groups, strides: Tensor) -> None:
        super().__init__()
        for name in ("pixels", "cells", "window", "log_occurrences"):
            self.register_buffer(name, getattr(group, name), persistent=False)
        for name in ("pixel_offset", "cell_offset"):
            self.register_buffer(name, getattr(group, name) / strides.view(2, 1, 1), persistent=False)

    def forward(self, query: Tensor, key: Tensor, values: Tensor, coefficients: Tensor | None) -> Tensor:
        """Mix flat values [B, J, C, cells] by queries [B, D, pixels] and keys [B, D, cells]: [B, C, n P].

        With coefficients [B, J, pixels] the values are multiplied by them, and slopes, which follow the values, by the
        distances too.
        """
        query, key = query[:, :, self.pixels], key[:, :, self.cells]
        query, key = (vectors.unflatten(1, (HEADS, -1)).transpose(2, 3) for vectors in (query, key))
        allowed = self.window.permute(1, 2, 0) @ self.log_occurrences.transpose(0, 1)  # [n, P, K]
        logits = query.mT @ key + allowed  # [B, heads, n, P, K]
        weights = logits.softmax(-1).mean(1)  # [B, n, P, K]
        mixed = self._mix(values[:, 0], weights if coefficients is None else weights * self._at(coefficients[:, 0]))
        for axis in range(values.shape[1] - 1):
            assert coefficients is not None
            distance = self.pixel_offset[axis].unsqueeze(2) - self.cell_offset[axis].unsqueeze(1)  # [n, P, K]
            mixed = mixed + self._mix(values[:, axis + 1], weights * self._at(coefficients[:, axis + 1]) * distance)
        return mixed

    def _at(self, coefficient: Tensor) -> Tensor:
        """Gather a coefficient [B, pixels] for each pixel of the groups: [B, n, P, 1]."""
        return coefficient[:, self.pixels].unsqueeze(3)

    def _mix(self, value: Tensor, weights: Tensor) -> Tensor:
        """Mix flat values [B, C, cells]: [B, C, n P]."""
        mixed = value[:, :, self.cells].transpose(1, 2) @ weights.mT  # [B, n, C, P]
        return mixed.transpose(1, 2).flatten(2)
