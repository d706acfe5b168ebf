"""Compute the L1 loss of a mix against a target with its gradient: the inner loop of test-time optimisation.

The derivative of an L1 loss at a pixel needs nothing but that pixel's output, so the weights of a tile of groups are
computed once and serve the forward and the backward pass while they are in the cache. What does not change from one
step to the next (queries, values, targets, indices) is computed once and kept, if the memory allows; else it is
computed for one chunk of groups after the other, at each step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from omniup.mixing.dtypes import compute_dtype, exact_products
from omniup.mixing.groups import Groups, gather, groups, scatter_add
from omniup.mixing.kernels import Scratch, append_coordinates, exponentials, pair_products
from omniup.mixing.planner import DEFAULT_MEMORY, LONGEST_SIDE, Embedding, tile_size
from omniup.mixing.radii import log_occurrences_at, may_be_smaller, radii_at
from omniup.mixing.windows import Integers, Windows

#: Pairs of a tile on a CPU: twice as many as of a mix, since a step takes more operations, each of which has its cost.
CPU_PAIRS = 3 * 2**18

#: Candidates whose keys are made at a time on a CPU: as many as stay in its cache, and keep two cores busy.
CPU_CANDIDATES = 2**17


@dataclasses.dataclass(frozen=True, eq=False)
class _Operands:
    """Operands of n groups' matrix products that do not depend on the keys.

    Attributes:
        queries: [n, D + E, P].
        values: [n, C + 1, K]; the last channel is 1.
        targets: [C, n, P].
        count: [n], the lengths of the groups' lists.
    """

    queries: Tensor
    values: Tensor
    targets: Tensor
    count: Integers

    def select(self, index: Tensor) -> _Operands:
        """Select some of the groups."""
        queries, values = self.queries.index_select(0, index), self.values.index_select(0, index)
        return _Operands(queries, values, self.targets.index_select(1, index), self.count[index.cpu().numpy()])


@dataclasses.dataclass(frozen=True, eq=False)
class _Chunk:
    """Some groups of one image, ordered by the lengths of their lists, with what does not depend on the keys.

    Attributes:
        images: the one image.
        group: n groups.
        constants: of the embedding's keys.
        operands: of the products.
    """

    images: slice
    group: Groups
    constants: Tensor
    operands: _Operands

    @property
    def nbytes(self) -> int:
        """Bytes of all that."""
        parts = (*vars(self.group).values(), *vars(self.operands).values(), self.constants)
        tensors = [part.untyped_storage() for part in parts if isinstance(part, Tensor)]
        return sum({storage.data_ptr(): storage.nbytes() for storage in tensors}.values())


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
        self._longest, self._tile, tile_bytes = tile_size(
            windows,
            numbers=numbers,
            memory=memory,
            like=self._like,
            longest=LONGEST_SIDE,
            by_radius=windows.radius is not None,
            parts=2,
            cpu_pairs=CPU_PAIRS,
        )
        # A tile takes half of the memory at most, a chunk the other half; what they leave keeps chunks.
        p, k = windows.most_pixels(self._longest), windows.most_candidates
        group_bytes = (p + k) * (numbers + 2 * windows.most_coordinates + 12) * self._like.itemsize
        most = memory // 2 // group_bytes
        self._chunk = max(1, most if self._like.device.type != "cpu" else min(most, CPU_CANDIDATES // k))
        self._kept = self._keep(memory - tile_bytes - self._chunk * group_bytes)

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

    def _keep(self, most: int) -> list[_Chunk] | None:
        """Compute all chunks and keep them, if they take `most` bytes."""
        kept = []
        for chunk in self._compute_chunks():
            most -= chunk.nbytes
            if most < 0:
                return None
            kept.append(chunk)
        return kept

    def _compute_chunks(self) -> Iterator[_Chunk]:
        for image in range(len(self.query)):
            images = slice(image, image + 1)
            for group in groups(self.windows, longest=self._longest, most=self._chunk, like=self._like, by_count=True):
                queries = self.embed.query(gather(self.query[images], group.pixels), group, images)  # [1, D, n, P]
                values = gather(self.value[images], group.cells)  # [1, C, n, K]
                operands = _Operands(
                    append_coordinates(queries, group.window[None])[0].contiguous(),
                    append_coordinates(values, torch.ones_like(values[:, :1]))[0].contiguous(),
                    gather(self.target[images], group.pixels)[0],
                    group.count,
                )
                yield _Chunk(images, group, self.embed.constants(group, images), operands)

    def loss_and_gradient(self, key: Tensor, reach: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute the sum of |mix - target| of each image [B], and its gradient [B, G, cells]; arguments as `_L1`."""
        losses, dkey = key.new_zeros(len(key)), torch.zeros_like(key)
        smaller = None if reach is None else may_be_smaller(reach, self.windows)  # [B, cells]
        for chunk in self.chunks():
            images, group = chunk.images, chunk.group
            log, d = group.log_occurrences, self.embed.width  # [E, n, K]
            keys = self._scratch.take("keys", d + len(log), *group.cells.shape)  # [D + E, n, K]
            self.embed.key(gather(key[images], group.cells), group, chunk.constants, keys[None, :d])
            keys[d:] = log
            some = None if smaller is None else smaller[images, group.middle][0]  # [n]
            dkeys = self._scratch.take("key gradients", d, *group.cells.shape)  # [D, n, K]
            if reach is None or some is None or not bool(some.any()):
                losses[images] += self._tiles(chunk.operands, keys, dkeys)
            else:  # groups with smaller discs cost more, so they are worked on apart from the others
                small, large = some.nonzero().flatten(), (~some).nonzero().flatten()
                pixels = group.pixels[small]
                discs = pixels, radii_at(reach[images], self.windows, pixels)
                parts = dkeys.split([len(large), len(small)], dim=1)
                for index, out, of_index in ((large, parts[0], None), (small, parts[1], discs)):
                    operands = chunk.operands.select(index)
                    losses[images] += self._tiles(operands, keys.index_select(1, index), out, of_index)
                dkeys = dkeys.index_select(1, torch.cat([large, small]).argsort())
            dcells = self.embed.key_gradient(dkeys[None], group, chunk.constants)
            scatter_add(dkey[images], group.cells, dcells)
        return losses, dkey

    def _tiles(
        self, operands: _Operands, keys: Tensor, dkeys: Tensor, discs: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Compute loss and gradient of some groups, tile by tile.

        Args:
            operands: of the groups.
            keys: [D + E, n, K].
            dkeys: [D, n, K], where the gradient with respect to the embedded keys goes.
            discs: where they differ, pixels [n, P] and their radii [1, n, P].

        Returns:
            Sum of |mix - target|.
        """
        d, errors = self.embed.width, self._scratch.take("errors", *operands.targets.shape)  # [C, n, P]
        for start in range(0, keys.shape[1], self._tile):
            n = slice(start, start + self._tile)
            k = slice(int(operands.count[n].max()))
            query, key, value = operands.queries[n], keys[:, n, k].transpose(0, 1), operands.values[n, :, k]
            log_occurrences = None
            if discs is not None:
                pixels, radius = discs
                log_occurrences = log_occurrences_at(self.windows, pixels[n], radius[:, n], k.stop, key)[0]
                query, key = query[:, :d], key[:, :d]
            logits = pair_products(key, query, self._scratch, more=log_occurrences)
            weights = exponentials(logits, self._scratch)  # [n, K, P], to be divided by their sum
            mixed = value.bmm(weights).transpose(0, 1).contiguous()  # [C + 1, n, P]; the last channel is that sum
            total, mixed = mixed[-1], mixed[:-1].div_(mixed[-1])  # [n, P], [C, n, P]
            g = torch.sub(mixed, operands.targets[:, n], out=errors[:, n]).sign()  # the derivative of the loss by it
            # dlogits = w ⊙ (⟨g, v⟩ - ⟨g, mix⟩); the second term is the product with the channel of ones.
            g = torch.cat([g, mixed.mul_(g).sum(0, keepdim=True).neg_()]).div_(total)  # [C + 1, n, P]
            dlogits = pair_products(value, g.transpose(0, 1), self._scratch, "gradients").mul_(weights)  # [n, K, P]
            dkeys[:, n, k] = query[:, :d].bmm(dlogits.mT).transpose(0, 1)  # [D, n, K]
            dkeys[:, n, k.stop :] = 0
        return torch.linalg.vector_norm(errors, 1)


class _L1(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, key: Tensor, reach: Tensor | None, objective: L1Objective) -> Tensor:
        with exact_products(key.device):
            losses, dkey = objective.loss_and_gradient(key, reach)
        scale = 1 / (objective.target.shape[1] * objective.target.shape[2])  # the mean over channels and pixels
        ctx.save_for_backward(dkey.mul_(scale))
        return losses.mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dlosses: Tensor) -> tuple[Tensor, None, None]:
        (dkey,) = ctx.saved_tensors
        return dlosses.view(-1, 1, 1) * dkey, None, None
