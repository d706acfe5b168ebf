"""Compute the L1 loss of a mix against a target with its gradient: the inner loop of test-time optimisation.

The derivative of an L1 loss at a pixel needs nothing but that pixel's output, so the weights of a tile of groups are
computed once and serve the forward and the backward pass while they are in the cache. What does not change from one
step to the next (queries, values, targets, indices) is computed once and kept, if the memory allows; else it is
computed for one chunk of groups after the other, at each step.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from omniup.mixing.dtypes import compute_dtype, exact_products
from omniup.mixing.groups import Groups, gather, groups, scatter_add
from omniup.mixing.kernels import Scratch, append_coordinates, pair_products, softmax
from omniup.mixing.planner import DEFAULT_MEMORY, LONGEST_SIDE, Embedding, tile_size
from omniup.mixing.radii import may_be_smaller, occurrence_coordinates, radii_at
from omniup.mixing.windows import Integers, Windows


@dataclasses.dataclass(frozen=True, eq=False)
class _Operands:
    """Operands of n groups' matrix products that do not depend on the keys.

    Attributes:
        queries: [B, n, D + 1, P].
        values: [B, n, C + 1, K]; the last channel is 1.
        targets: [B, n, C, P].
        count: [n], the lengths of the groups' lists.
        classes: ([n], [n]), as in `Groups`.
    """

    queries: Tensor
    values: Tensor
    targets: Tensor
    count: Integers
    classes: tuple[Integers, Integers]

    def select(self, index: Tensor) -> _Operands:
        """Select some of the groups."""
        i = index.cpu().numpy()
        queries, values, targets = (
            tensor.index_select(1, index) for tensor in (self.queries, self.values, self.targets)
        )
        return _Operands(queries, values, targets, self.count[i], (self.classes[0][i], self.classes[1][i]))


@dataclasses.dataclass(frozen=True, eq=False)
class _Chunk:
    """Some groups, ordered by the lengths of their lists, with the operands that do not depend on the keys."""

    images: slice
    group: Groups
    operands: _Operands


class L1Objective:
    """Loss mean |mix(key) - target| over the pixels and channels of each image, to be minimised over the keys.

    Oracle: `Attention.mix` and autograd, in tests/mixing/test_objective.py.

    Args:
        query: [B, F, H, W], as in `Attention.mix`.
        value: [B, C, h, w], what is mixed.
        target: [B, C, H, W], what the mix should be.
        windows: as in `Attention`, likewise the others.
        embed: makes queries and keys.
        memory: bytes, with what is kept between calls.

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
        self._like = query.new_empty(0, dtype=compute_dtype(query, value, target))
        self._scratch = Scratch(self._like)
        numbers = 2 * (embed.width + query.shape[1] + 2 * value.shape[1])
        # One half of the memory holds operands: all of them, or else one chunk at a time.
        self._longest, self._tile = tile_size(
            windows,
            numbers=numbers,
            memory=memory,
            like=self._like,
            longest=LONGEST_SIDE,
            by_radius=windows.radius is not None,
            parts=2,
        )
        p, k = windows.most_pixels(self._longest), windows.most_candidates
        group_bytes = (p + k) * (numbers + 12) * self._like.itemsize
        self._chunk = max(1, memory // 2 // group_bytes)
        everything = len(query) * math.prod(windows.size) // p * group_bytes
        self._kept = list(self._compute_chunks()) if everything <= memory // 2 else None

    def __call__(self, key: Tensor, reach: Tensor | None = None) -> Tensor:
        """Compute the loss of each image.

        Args:
            key: [B, G, h, w], as in `Attention`.
            reach: [B, 1, h, w], as in `Attention`.

        Returns:
            [B], differentiable (once) in `key`.
        """
        loss: Tensor = _L1.apply(key.flatten(2), reach, self)
        return loss

    def chunks(self) -> Iterator[_Chunk]:
        """Yield chunks that hold all pixels of all images."""
        return iter(self._kept) if self._kept is not None else self._compute_chunks()

    def _compute_chunks(self) -> Iterator[_Chunk]:
        for image in range(len(self.query)):
            images = slice(image, image + 1)
            for group in groups(self.windows, longest=self._longest, most=self._chunk, like=self._like, by_count=True):
                queries = self.embed.query(gather(self.query[images], group.pixels), group, images)  # [B, D, n, P]
                values = gather(self.value[images], group.cells)  # [B, C, n, K]
                operands = _Operands(
                    append_coordinates(queries, group.window[None]).contiguous(),
                    append_coordinates(values, torch.ones_like(values[:, :1])).contiguous(),
                    gather(self.target[images], group.pixels).transpose(1, 2).contiguous(),
                    group.count,
                    group.classes,
                )
                yield _Chunk(images, group, operands)

    def loss_and_gradient(self, chunk: _Chunk, keys: Tensor, reach: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute loss and gradient of one chunk.

        Args:
            chunk: its groups.
            keys: [B, n, D + 1, K].
            reach: [B, 1, h, w] of its images, as in `Attention`.

        Returns:
            Sum of |mix - target|, [B], and its gradient with respect to the embedded keys, [B, n, D, K].
        """
        if reach is None:
            return self._loss_and_gradient(chunk.operands, keys, None)
        smaller = may_be_smaller(reach, self.windows, chunk.group)  # [n]
        if not bool(smaller.any()):
            return self._loss_and_gradient(chunk.operands, keys, None)
        # Groups with smaller discs cost more, so they are worked on apart from the others.
        loss, dkeys = keys.new_zeros(len(keys)), torch.empty_like(keys[:, :, : self.embed.width])
        small, large = smaller.nonzero().flatten(), (~smaller).nonzero().flatten()
        for index, radius in ((small, radii_at(reach, self.windows, chunk.group.pixels[small])), (large, None)):
            operands, some_keys = chunk.operands.select(index), keys.index_select(1, index)
            some_loss, some_dkeys = self._loss_and_gradient(operands, some_keys, radius)
            loss += some_loss
            dkeys.index_copy_(1, index, some_dkeys)
        return loss, dkeys

    def _loss_and_gradient(self, operands: _Operands, keys: Tensor, radius: Tensor | None) -> tuple[Tensor, Tensor]:
        d = self.embed.width
        loss, dkeys = keys.new_zeros(len(keys)), torch.zeros_like(keys[:, :, :d])
        for start in range(0, keys.shape[1], self._tile):
            n = slice(start, start + self._tile)
            k = slice(int(operands.count[n].max()))
            query, key, value = operands.queries[:, n], keys[:, n, :, k], operands.values[:, n, :, k]
            if radius is not None:
                classes = operands.classes[0][n], operands.classes[1][n]
                more = occurrence_coordinates(self.windows, classes, radius[:, :, n], k.stop, key)
                query, key = (
                    append_coordinates(vectors[:, :, :d].transpose(1, 2), coordinates)
                    for vectors, coordinates in zip((query, key), more, strict=True)
                )
            weights = softmax(pair_products(key, query, self._scratch), self._scratch)  # [B, n, K, P]
            mixed = value[:, :, :-1] @ weights  # [B, n, C, P]
            error = mixed - operands.targets[:, n]
            loss += error.abs().sum((1, 2, 3))
            g = error.sign_()  # [B, n, C, P], the derivative of the loss by the mix
            # dlogits = w ⊙ (⟨g, v⟩ - ⟨g, mix⟩); the second term is the product with the channel of ones.
            g = torch.cat([g, -(g * mixed).sum(2, keepdim=True)], dim=2)  # [B, n, C + 1, P]
            dlogits = pair_products(value, g, self._scratch).mul_(weights)  # [B, n, K, P]
            dkeys[:, n, :, k] = query[:, :, :d] @ dlogits.mT  # [B, n, D, K]
        return loss, dkeys


class _L1(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, key: Tensor, reach: Tensor | None, objective: L1Objective) -> Tensor:
        losses = key.new_zeros(len(key))
        dkey = torch.zeros_like(key)
        with exact_products(key.device):
            for chunk in objective.chunks():
                cells = gather(key[chunk.images], chunk.group.cells)  # [B, G, n, K]
                keys = objective.embed.key(cells, chunk.group, chunk.images)  # [B, D, n, K]
                keys = append_coordinates(keys, chunk.group.log_occurrences[None])  # [B, n, D + 1, K]
                loss, dkeys = objective.loss_and_gradient(chunk, keys, None if reach is None else reach[chunk.images])
                dcells = objective.embed.key_gradient(dkeys.transpose(1, 2), chunk.group, chunk.images)
                losses[chunk.images] += loss
                scatter_add(dkey[chunk.images], chunk.group.cells, dcells)
        scale = 1 / (objective.target.shape[1] * objective.target.shape[2])  # the mean over channels and pixels
        ctx.save_for_backward(dkey.mul_(scale))
        return losses.mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dlosses: Tensor) -> tuple[Tensor, None, None]:
        (dkey,) = ctx.saved_tensors
        return dlosses.view(-1, 1, 1) * dkey, None, None
