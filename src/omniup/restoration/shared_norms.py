"""Normalise all tiles of a picture with the same statistics, as its GroupNorms would if it were in one piece.

A GroupNorm takes mean and variance of each group of channels over all that it is given: of a tile, the tile's. So
tiles of one picture are normalised differently, and their brightness, contrast and texture differ. Here the statistics
are gathered once, from samples of the picture, and then stay fixed; what is left is a stack of convolutions, whose
tiles agree wherever they show what a pixel depends on, and attention, which sees its tile only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@contextmanager
def shared_norms(*networks: nn.Module, gather: Callable[[], object]) -> Iterator[None]:
    """Fix the statistics of all GroupNorms of some networks; they are as before when the context ends.

    Args:
        networks: whose GroupNorms are replaced meanwhile, by modules that share their weights.
        gather: runs the networks on samples of the picture, on several at a time or one after the other. Samples of one
            batch are normalised together; batches by themselves, and their statistics are pooled.

    Raises:
        RuntimeError: a norm has seen nothing while `gather` ran, and is used.
    """
    replaced = [
        (parent, name, norm)
        for network in networks
        for parent in network.modules()
        for name, norm in parent.named_children()
        if isinstance(norm, nn.GroupNorm)
    ]
    shared = [_SharedNorm(norm) for _, _, norm in replaced]
    try:
        for (parent, name, _), norm in zip(replaced, shared, strict=True):
            setattr(parent, name, norm)
        gather()
        for norm in shared:
            norm.gathering = False
        yield
    finally:
        for parent, name, original in replaced:
            setattr(parent, name, original)


class _SharedNorm(nn.Module):
    """A GroupNorm that pools the statistics of what it is given, and then keeps to them.

    Args:
        norm: whose weights and settings it takes.

    Attributes:
        gathering: whether it gathers still, and normalises each batch with the batch's own statistics.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm, self.gathering = norm, True
        self._count = 0
        self._mean = self._variance = torch.zeros(())  # [G] once something has been seen

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise maps [B, C, …]."""
        if self.gathering:
            mean, variance = _statistics(maps, self.norm.num_groups)  # [G], [G]
            self._pool(maps.numel() // self.norm.num_groups, mean, variance)
        elif self._count == 0:
            raise RuntimeError("a norm has no statistics: the samples did not reach it")
        else:
            mean, variance = self._mean, self._variance
        return _normalise(maps, mean, variance, self.norm)

    def _pool(self, count: int, mean: Tensor, variance: Tensor) -> None:
        """Add a batch to the statistics, by the law of total variance."""
        total = self._count + count
        part = count / total
        offset = mean - self._mean
        self._mean = self._mean + part * offset
        self._variance = (1 - part) * self._variance + part * variance + part * (1 - part) * offset.square()
        self._count = total


def _statistics(maps: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Compute mean and variance of each group of channels over a batch [B, C, …]: [G], [G], in float32.

    Group by group, so that a map in half precision is never converted as a whole.
    """
    found = [torch.var_mean(group.float(), correction=0) for group in maps.unflatten(1, (groups, -1)).unbind(1)]
    variances, means = zip(*found, strict=True)
    return torch.stack(means), torch.stack(variances)


def _normalise(maps: Tensor, mean: Tensor, variance: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Normalise maps [B, C, …] with statistics [G] of their groups, as a batch norm does in use."""
    width = norm.num_channels // norm.num_groups
    weight, bias = (None if each is None else each.to(mean) for each in (norm.weight, norm.bias))  # [C]
    each_channel = mean.repeat_interleave(width), variance.repeat_interleave(width)  # [C]
    return F.batch_norm(maps, *each_channel, weight, bias, eps=norm.eps)
