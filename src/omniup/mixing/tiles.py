"""Work cut into tiles: a few groups at a time, with their queries and keys, little enough for the memory and the cache.

Here pixels and cells become vectors, through an `Embedding`, and the logarithm of how often a cell occurs in a window
is added to the logit as one more coordinate of query and key. What is done with the weights is the caller's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing.groups import Groups, gather, groups, groups_at, interpolate, read
from omniup.mixing.windows import Integers, Windows

DEFAULT_MEMORY = 512 * 2**20

#: How many pairs of a pixel and a candidate are worked on at a time, if the memory allows: on a CPU as many as stay in
#: its cache, on a GPU enough to keep it busy.
CPU_PAIRS = 3 * 2**17
GPU_PAIRS = 2**25

#: From so many on, the candidates of a pixel lie side by side in memory; fewer, and the pixels of a candidate do.
MANY_CANDIDATES = 64


class TooLittleMemoryError(ValueError):
    """The working memory does not suffice for the window of a single pixel."""


class Embedding(Protocol):
    """How pixels and cells become the vectors whose inner product is the logit.

    It sees them group by group and may express both relative to the cell in the middle of the window: that keeps out
    large terms that would cancel. Keys are linear in the cells.
    """

    @property
    def width(self) -> int:
        """D, the length of the vectors."""

    def query(self, pixels: Tensor, group: Groups, images: slice) -> Tensor:
        """[B, F, n, P], what is known of the pixels, to [B, D, n, P]."""

    def key(self, cells: Tensor, group: Groups, images: slice) -> Tensor:
        """[B, G, n, K], what is known of the cells, to [B, D, n, K]."""

    def key_gradient(self, dkeys: Tensor, group: Groups, images: slice) -> Tensor:
        """The transpose of `key`, for the backward pass: [B, D, n, K] to [B, G, n, K]."""


@dataclasses.dataclass(frozen=True)
class DotProduct:
    """The embedding of pixels and cells that are queries and keys already."""

    width: int

    def query(self, pixels: Tensor, group: Groups, images: slice) -> Tensor:
        """[B, D, n, P], as they are."""
        return pixels

    def key(self, cells: Tensor, group: Groups, images: slice) -> Tensor:
        """[B, D, n, K], as they are."""
        return cells

    def key_gradient(self, dkeys: Tensor, group: Groups, images: slice) -> Tensor:
        """[B, D, n, K], as they are."""
        return dkeys


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """A few groups with their vectors: little enough to hold all of their weights.

    Attributes:
        images: which images of the batch.
        group: which pixels and cells.
        places: [n, P], where the queries of those pixels lie among all queries, and their outputs among the outputs.
        queries: [B, n, heads, D / heads + E, P].
        keys: [B, n, heads, D / heads + E, K]; the last E coordinates carry the logarithm of how often a cell occurs.
        width: D / heads.
    """

    images: slice
    group: Groups
    places: Tensor
    queries: Tensor
    keys: Tensor
    width: int

    def values(self, maps: Tensor) -> Tensor:
        """The candidates' values: [B, C, cells] to [B, n, C, K]."""
        return gather(maps[self.images], self.group.cells).to(self.keys.dtype).transpose(1, 2)


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """What is to be done, all but the tensors: in which precision, and at which points [B, N, 2] if not everywhere."""

    windows: Windows
    embed: Embedding
    reach: Tensor | None
    memory: int
    dtype: torch.dtype
    points: Tensor | None = None
    heads: int = 1

    def tiles(self, query: Tensor, key: Tensor, *, channels: int) -> Iterator[Tile]:
        """Cut the work into tiles that fit the memory.

        Args:
            query: [B, F, queries].
            key: [B, G, cells].
            channels: of the values that the caller handles for each pixel and candidate.
        """
        like = query.new_empty(0, dtype=self.dtype)
        for images, group, places in self._groups(query, key, channels, like):
            pixels = read(query[images], self.windows, group, places).transpose(1, 2).to(like.dtype)  # [B, F, n, P]
            cells = gather(key[images], group.cells).to(like.dtype)  # [B, G, n, K]
            if self.reach is None or not may_be_smaller(self.reach[images], self.windows, group).any():
                one_hot, log = occurrences(group)
            else:
                radius = radii(self.reach[images], self.windows, group.pixels)  # [B, 1, n, P]
                one_hot, log = occurrences_by_radius(self.windows, group.kinds, radius, cells.shape[3], like)
            queries, keys = (
                stack(vectors.unflatten(1, (self.heads, -1)), more.unsqueeze(1))
                for vectors, more in (
                    (self.embed.query(pixels, group, images), one_hot),
                    (self.embed.key(cells, group, images), log),
                )
            )
            yield Tile(images, group, places, queries, keys, self.embed.width // self.heads)

    def slabs(self, channels: int) -> list[slice]:
        """Cut the channels of the values so that those of one window take a quarter of the memory at most."""
        most = max(1, self.memory // (4 * 3 * self.dtype.itemsize * (1 + self.windows.most_candidates)))
        return [slice(start, min(start + most, channels)) for start in range(0, channels, most)]

    def _groups(
        self, query: Tensor, key: Tensor, channels: int, like: Tensor
    ) -> Iterator[tuple[slice, Groups, Tensor]]:
        longest, most = tile_size(
            self.windows,
            numbers=query.shape[1] + key.shape[1] + 3 * (self.embed.width + channels),
            memory=self.memory,
            like=like,
            longest=32 if self.points is None else 1,
            by_radius=self.reach is not None,
            heads=self.heads,
        )
        if self.points is not None:
            for image, points in enumerate(self.points):
                for start in range(0, len(points), most):
                    group = groups_at(self.windows, points[start : start + most].cpu().numpy(), like=like)
                    places = torch.arange(start, start + len(group.pixels), device=like.device).unsqueeze(1)  # [n, 1]
                    yield slice(image, image + 1), group, places
            return
        # Images share a tile only where one alone would leave it part empty.
        together = max(1, most * self.windows.most_pixels(longest) // math.prod(self.windows.size))
        for start in range(0, len(query), together):
            for group in groups(self.windows, longest=longest, most=max(1, most // together), like=like):
                yield slice(start, min(start + together, len(query))), group, group.pixels


def tile_size(
    windows: Windows,
    *,
    numbers: int,
    memory: int,
    like: Tensor,
    longest: int,
    by_radius: bool,
    heads: int = 1,
    shares: int = 1,
) -> tuple[int, int]:
    """How much fits the memory, and for speed the cache.

    Args:
        windows: who draws from where.
        numbers: how many are needed for every pixel, and for every candidate of a group.
        memory: bytes.
        like: gives the device and the floating-point type.
        longest: no group should be higher or wider than so many pixels.
        by_radius: whether windows of several radii may meet in a group.
        heads: how many weights there are for every pixel and candidate.
        shares: into how many equal parts the memory is divided, of which this may have one.

    Returns:
        How high and wide a group may be, in pixels, and how many groups make a tile.

    Raises:
        TooLittleMemoryError: one pixel's window exceeds the memory.
    """
    k, pairs = windows.most_candidates, CPU_PAIRS if like.device.type == "cpu" else GPU_PAIRS
    intervals = windows.rows.most_intervals + windows.columns.most_intervals
    numbers += 12 + 3 * heads * (len(windows.squared_radii) if by_radius else intervals - 1)
    while True:
        p = windows.most_pixels(longest)
        need = shares * ((p + k) * numbers + 5 * heads * p * k) * like.itemsize
        if need <= memory:
            return longest, max(1, min(memory // need, pairs // (heads * p * k)))
        if longest == 1:
            raise TooLittleMemoryError(f"memory is {memory} bytes: the window of one pixel takes {need}")
        longest //= 2


def may_be_smaller(reach: Tensor, windows: Windows, group: Groups) -> Tensor:
    """Which groups may have smaller discs, going by the cells around them: [B, 1, h, w] to [n] booleans."""
    assert windows.radius is not None
    least = -F.max_pool2d(-reach.amin(0), 3, stride=1, padding=1)  # [1, h, w]
    return least.flatten()[group.middle] < windows.radius


def radii(reach: Tensor, windows: Windows, pixels: Tensor) -> Tensor:
    """The radii of pixels [n, P], from those of the cells: [B, 1, h, w] to [B, 1, n, P], of the `widest` type."""
    # So that a radius on the edge of taking in a cell falls on the right side.
    return interpolate(reach.flatten(2).to(widest(reach.device)), windows, pixels)


def occurrences(group: Groups) -> tuple[Tensor, Tensor]:
    """What adds log m to the logits of a candidate that occurs m times in a window, as one more coordinate.

    Returns:
        For the queries [1, E, n, P], ones and zeros; for the keys [1, E, n, K], log m.
    """
    return group.window[None], group.log_occurrences[None]


def occurrences_by_radius(
    windows: Windows, kinds: tuple[Integers, Integers], radius: Tensor, k: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """The same where the discs of a group's pixels differ: one coordinate for each radius.

    Args:
        windows: where the discs come from.
        kinds: ([n], [n]), which of the windows' lists the groups have.
        radius: [B, 1, n, P].
        k: how many candidates.
        like: gives the floating-point type.

    Returns:
        For the queries [B, E, n, P], 1 at the entry for the pixel's radius, else 0; for the keys [1, E, n, k], log m.
    """
    # Between two sums of two squares a disc takes in no cell, so few radii are told apart; of those, some occur.
    rounding = max(1e-12, 4 * torch.finfo(radius.dtype).eps)
    squares = torch.from_numpy(windows.squared_radii).to(radius) * (1 - rounding)
    entry = torch.searchsorted(squares, radius.square(), right=True) - 1
    found, which = entry.unique(return_inverse=True)  # [E], [B, 1, n, P]
    one_hot = which == torch.arange(len(found), device=radius.device).view(-1, 1, 1)  # [B, E, n, P]
    tables = [windows.log_occurrences_within(int(windows.squared_radii[i])) for i in found.tolist()]
    log = torch.from_numpy(np.stack([table[kinds[0], kinds[1], :k] for table in tables]))  # [E, n, k]
    return one_hot.to(like.dtype), log.to(like)[None]


class Scratch:
    """Memory that is used again and again, growing to the largest tensor asked for.

    What is freed goes back to the operating system, and each page that comes anew costs more than what is computed on
    it: with fresh tensors for every tile, half of the time of a fit was that.
    """

    def __init__(self, like: Tensor) -> None:
        self._flat = like.new_empty(0)

    def take(self, *shape: int) -> Tensor:
        """A tensor with any contents; it shares its memory with the one taken before."""
        size = math.prod(shape)
        if self._flat.numel() < size:
            self._flat = self._flat.new_empty(size)
        return self._flat[:size].view(shape)


def pair_products(cells: Tensor, pixels: Tensor, scratch: Scratch) -> Tensor:
    """Inner products of every candidate with every pixel of a group: [.., D, K] and [.., D, P] to [.., K, P].

    Of the two ways to lay them out in memory, that in which a softmax over the candidates is quicker.
    """
    (*lead, _, k), p = cells.shape, pixels.shape[-1]
    cells, pixels = cells.flatten(0, -3), pixels.flatten(0, -3)
    if k < MANY_CANDIDATES:
        return torch.bmm(cells.mT, pixels, out=scratch.take(len(cells), k, p)).unflatten(0, lead)
    return torch.bmm(pixels.mT, cells, out=scratch.take(len(cells), p, k)).unflatten(0, lead).mT


def softmax(logits: Tensor, scratch: Scratch) -> Tensor:
    """Weights over the candidates, of logits [.., K, P] from `pair_products`, which are overwritten."""
    if logits.shape[-2] < MANY_CANDIDATES:
        return torch.softmax(logits, -2, out=scratch.take(*logits.shape))
    logits = logits.mT  # [.., P, K]
    # A wide window holds cells of far colours, and exp(-90) to exp(-103) lie below the normal range of float32, where
    # a processor takes many times longer. At exp(-80) nobody sees them either.
    floor = logits.amax(-1, keepdim=True).sub_(80)
    torch.maximum(logits, floor, out=logits)
    return torch.softmax(logits, -1, out=scratch.take(*logits.shape)).mT


def mean(weights: Tensor) -> Tensor:
    """The mean over the heads: [B, n, heads, K, P] to [B, n, K, P]."""
    return weights.mean(2) if weights.shape[2] > 1 else weights.squeeze(2)


def stack(vectors: Tensor, more: Tensor) -> Tensor:
    """Append coordinates: [B, .., D, n, m] and [B or 1, .., E, n, m] to [B, n, .., D + E, m]."""
    vectors, more = vectors.movedim(-2, 1), more.movedim(-2, 1)
    return torch.cat([vectors, more.expand(*vectors.shape[:-2], -1, -1)], dim=-2)


def precision(*inputs: Tensor) -> torch.dtype:
    """What is computed in: float64 where an input is, else float32."""
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in inputs), torch.float32)


def widest(device: torch.device) -> torch.dtype:
    """The widest floating point that a device has: float64; on Apple's GPUs float32."""
    return torch.float32 if device.type == "mps" else torch.float64


@contextlib.contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Matrix products in full float32, whatever autocast and matmul precision the caller has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
