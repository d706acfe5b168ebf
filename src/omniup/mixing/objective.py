"""L1 distance between a mix and a target, with its gradient, in one pass: the inner loop of test-time optimisation.

The derivative of an L1 loss at a pixel needs nothing but that pixel's output, so each group's weights serve the forward
and the backward pass while they are in the cache, and are made once. What does not change from one step to the next
(queries, values, targets, which cell lies where) is laid out group by group once and kept, if the memory allows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from omniup.mixing.groups import Groups, gather, groups, scatter_add
from omniup.mixing.tiles import (
    DEFAULT_MEMORY,
    Embedding,
    Scratch,
    exact,
    may_be_smaller,
    occurrences,
    occurrences_by_radius,
    pair_products,
    precision,
    radii,
    softmax,
    stack,
    tile_size,
)
from omniup.mixing.windows import Integers, Windows


@dataclasses.dataclass(frozen=True, eq=False)
class _Layout:
    """n groups in the layout of the products.

    Attributes:
        queries: [B, n, D + 1, P].
        values: [B, n, C + 1, K]; the last channel is 1.
        targets: [B, n, C, P].
        count: [n], the lengths of their lists.
        kinds: ([n], [n]), which of the windows' lists they are.
    """

    queries: Tensor
    values: Tensor
    targets: Tensor
    count: Integers
    kinds: tuple[Integers, Integers]

    def select(self, index: Tensor) -> _Layout:
        """Some of the groups."""
        i = index.cpu().numpy()
        queries, values, targets = (
            tensor.index_select(1, index) for tensor in (self.queries, self.values, self.targets)
        )
        return _Layout(queries, values, targets, self.count[i], (self.kinds[0][i], self.kinds[1][i]))


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """Some groups, ordered by the lengths of their lists, and what of them never changes."""

    images: slice
    group: Groups
    layout: _Layout


class L1Objective:
    """mean |mix(key) - target| over the pixels and channels of each image, to be minimised over the keys.

    Args:
        query: [B, F, H, W], as in `mix`.
        value: [B, C, h, w], what is mixed.
        target: [B, C, H, W], what the mix should be.
        windows: as in `mix`.
        embed: as in `mix`.
        memory: as in `mix`; what is kept between calls counts.

    Raises:
        TooLittleMemoryError: one pixel's window exceeds half of `memory`.
    """

    def __init__(
        self,
        query: Tensor,
        value: Tensor,
        target: Tensor,
        windows: Windows,
        embed: Embedding,
        memory: int = DEFAULT_MEMORY,
    ) -> None:
        self.query, self.value, self.target = query.flatten(2), value.flatten(2), target.flatten(2)
        self.windows, self.embed = windows, embed
        self._like = query.new_empty(0, dtype=precision(query, value, target))
        self._pairs, self._weights = Scratch(self._like), Scratch(self._like)
        numbers = 2 * (embed.width + query.shape[1] + 2 * value.shape[1])
        # One half of the memory holds what is laid out: all of it, or else one part at a time.
        self._longest, self._block = tile_size(
            windows,
            numbers=numbers,
            memory=memory,
            like=self._like,
            longest=32,
            by_radius=windows.radius is not None,
            shares=2,
        )
        p, k = windows.most_pixels(self._longest), windows.most_candidates
        group_bytes = (p + k) * (numbers + 12) * self._like.itemsize
        self._most = max(1, memory // 2 // group_bytes)
        everything = len(query) * math.prod(windows.size) // p * group_bytes
        self._kept = list(self._lay_out()) if everything <= memory // 2 else None

    def __call__(self, key: Tensor, reach: Tensor | None = None) -> Tensor:
        """The loss of each image.

        Args:
            key: [B, G, h, w], as in `mix`.
            reach: [B, 1, h, w], as in `mix`.

        Returns:
            [B], differentiable (once) in `key`.
        """
        loss: Tensor = _L1.apply(key.flatten(2), reach, self)
        return loss

    def parts(self) -> Iterator[_Part]:
        """All pixels of all images."""
        return iter(self._kept) if self._kept is not None else self._lay_out()

    def _lay_out(self) -> Iterator[_Part]:
        for image in range(len(self.query)):
            images = slice(image, image + 1)
            for group in groups(self.windows, longest=self._longest, most=self._most, like=self._like, by_count=True):
                queries = self.embed.query(gather(self.query[images], group.pixels), group, images)  # [B, D, n, P]
                values = gather(self.value[images], group.cells)  # [B, C, n, K]
                one_hot, _ = occurrences(group)
                layout = _Layout(
                    stack(queries, one_hot).contiguous(),
                    stack(values, torch.ones_like(values[:, :1])).contiguous(),
                    gather(self.target[images], group.pixels).transpose(1, 2).contiguous(),
                    group.count,
                    group.kinds,
                )
                yield _Part(images, group, layout)

    def loss_and_gradient(self, part: _Part, keys: Tensor, reach: Tensor | None) -> tuple[Tensor, Tensor]:
        """Work through one part.

        Args:
            part: which.
            keys: [B, n, D + 1, K].
            reach: [B, 1, h, w] of its images, as in `mix`.

        Returns:
            Sum of |mix - target|, [B], and its gradient with respect to the keys proper, [B, n, D, K].
        """
        if reach is None:
            return self._loss_and_gradient(part.layout, keys, None)
        smaller = may_be_smaller(reach, self.windows, part.group)  # [n]
        if not bool(smaller.any()):
            return self._loss_and_gradient(part.layout, keys, None)
        # Groups with smaller discs cost more, so they are worked on apart from the others.
        loss, dkeys = keys.new_zeros(len(keys)), torch.empty_like(keys[:, :, : self.embed.width])
        few, most = smaller.nonzero().flatten(), (~smaller).nonzero().flatten()
        for index, radius in ((few, radii(reach, self.windows, part.group.pixels[few])), (most, None)):
            theirs = self._loss_and_gradient(part.layout.select(index), keys.index_select(1, index), radius)
            loss += theirs[0]
            dkeys.index_copy_(1, index, theirs[1])
        return loss, dkeys

    def _loss_and_gradient(self, layout: _Layout, keys: Tensor, radius: Tensor | None) -> tuple[Tensor, Tensor]:
        d = self.embed.width
        loss, dkeys = keys.new_zeros(len(keys)), torch.zeros_like(keys[:, :, :d])
        for start in range(0, keys.shape[1], self._block):
            n = slice(start, start + self._block)
            k = slice(int(layout.count[n].max()))
            query, key, value = layout.queries[:, n], keys[:, n, :, k], layout.values[:, n, :, k]
            if radius is not None:
                kinds = layout.kinds[0][n], layout.kinds[1][n]
                more = occurrences_by_radius(self.windows, kinds, radius[:, :, n], k.stop, key)
                query, key = (stack(a[:, :, :d].transpose(1, 2), b) for a, b in zip((query, key), more, strict=True))
            weights = softmax(pair_products(key, query, self._pairs), self._weights)  # [B, n, K, P]
            mixed = value[:, :, :-1] @ weights  # [B, n, C, P]
            error = mixed - layout.targets[:, n]
            loss += error.abs().sum((1, 2, 3))
            g = error.sign_()  # [B, n, C, P], the derivative of the loss by the mix
            # dlogits = w ⊙ (⟨g, v⟩ - ⟨g, mix⟩); the second term rides along as the product with a channel of ones.
            g = torch.cat([g, -(g * mixed).sum(2, keepdim=True)], dim=2)  # [B, n, C + 1, P]
            dlogits = pair_products(value, g, self._pairs).mul_(weights)  # [B, n, K, P]
            dkeys[:, n, :, k] = query[:, :, :d] @ dlogits.mT  # [B, n, D, K]
        return loss, dkeys


class _L1(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, key: Tensor, reach: Tensor | None, objective: L1Objective) -> Tensor:
        losses = key.new_zeros(len(key))
        dkey = torch.zeros_like(key)
        with exact(key.device):
            for part in objective.parts():
                cells = gather(key[part.images], part.group.cells)  # [B, G, n, K]
                keys = objective.embed.key(cells, part.group, part.images)  # [B, D, n, K]
                keys = stack(keys, occurrences(part.group)[1])  # [B, n, D + 1, K]
                loss, dkeys = objective.loss_and_gradient(part, keys, None if reach is None else reach[part.images])
                dcells = objective.embed.key_gradient(dkeys.transpose(1, 2), part.group, part.images)
                losses[part.images] += loss
                scatter_add(dkey[part.images], part.group.cells, dcells)
        scale = 1 / (objective.target.shape[1] * objective.target.shape[2])  # the mean over channels and pixels
        ctx.save_for_backward(dkey.mul_(scale))
        return losses.mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dlosses: Tensor) -> tuple[Tensor, None, None]:
        (dkey,) = ctx.saved_tensors
        return dlosses.view(-1, 1, 1) * dkey, None, None
