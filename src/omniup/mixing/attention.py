"""The one engine: every output pixel is a softmax-weighted mean of the LR values in its window.

    out(p) = Σ_q w(p, q) value(q),    w(p, ·) = softmax over the window of ⟨query(p), key(q)⟩

The pixels are worked through in groups that share their candidates (`groups.py`), so a group is a small dense
attention: two matrix products and a softmax. Weights are made, used and forgotten while they lie in the cache. The
backward pass makes them anew, and what is of their size there is in closed form:

    dlogit = w ⊙ (dw - Σ_q w dw),    dw(p, q) = ⟨dout(p), value(q)⟩

so nothing of the size pixels × candidates outlives its group, forward or backward.

Logits are computed in full float32, or in float64 where the input is: the terms of a Gaussian's exponent cancel, and a
reduced format (TF32, bfloat16, autocast) would leave noise. Vectors lie channels first, [.., D, P] and [.., D, K]:
products with one short side are several times faster so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from omniup.mixing.groups import Groups, gather, groups, groups_at, interpolate, read, scatter_add, write
from omniup.mixing.windows import Integers, Windows

DEFAULT_MEMORY = 512 * 2**20

#: How many pairs of a pixel and a candidate are worked on at a time, if the memory allows: on a CPU as many as stay in
#: its cache, on a GPU enough to keep it busy.
CPU_PAIRS = 2**19
GPU_PAIRS = 2**25


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


def mix(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    windows: Windows,
    *,
    embed: Embedding | None = None,
    reach: Tensor | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Tensor:
    """Blend low-resolution values with softmax weights, window by window.

    Args:
        query: [B, D, H, W], one vector per output pixel; with `embed`, whatever that takes.
        key: [B, D, h, w], one vector per low-resolution cell; with `embed`, whatever that takes.
        value: [B, C, h, w], what is blended; any floating-point type.
        windows: which cells each output pixel may draw from.
        embed: how logits come from `query` and `key`; by default their inner product.
        reach: [B, 1, h, w], for discs: a radius for each cell, in cells, brought to the pixels bilinearly. A pixel
            draws from where dy² + dx² <= radius², but not beyond `windows.radius`. Not differentiable.
        memory: bytes of scratch space beyond inputs, outputs and gradients of inputs; the work is cut to fit.

    Returns:
        [B, C, H, W] in the type of `value`. Every output lies in the convex hull of its window's values. Differentiable
        (once) in key and value, and without `embed` in query.

    Raises:
        ValueError: shapes disagree, or the query of an embedding asks for a gradient.
        TooLittleMemoryError: one pixel's window alone exceeds `memory`.

    Example:
        >>> windows = Windows.square(size=(8, 8), grid=(2, 2), radius=1)
        >>> mix(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 2, 2), torch.ones(1, 5, 2, 2), windows).shape
        torch.Size([1, 5, 8, 8])
    """
    _check(query, key, value, windows, embed, reach)
    if query.shape[2:] != windows.size:
        raise ValueError(f"query is {tuple(query.shape)}: its last two sides must be {windows.size}")
    work = Work(windows, embed or DotProduct(query.shape[1]), reach, memory)
    out: Tensor = _Mix.apply(query.flatten(2), key.flatten(2), value.flatten(2), work)
    return out.unflatten(2, windows.size)


def mix_at(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    windows: Windows,
    points: Tensor,
    *,
    embed: Embedding | None = None,
    reach: Tensor | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Tensor:
    """`mix` at chosen pixels only, at the cost of those.

    Args:
        query: [B, D, N], one vector per point.
        key: [B, D, h, w].
        value: [B, C, h, w].
        windows: which cells each output pixel may draw from.
        points: [B, N, 2], whole numbers: (y, x) of pixels of the output.
        embed: as in `mix`.
        reach: as in `mix`.
        memory: as in `mix`.

    Returns:
        [B, C, N], as `mix`.

    Raises:
        ValueError: as `mix`; or a point lies outside the output.
    """
    _check(query, key, value, windows, embed, reach)
    if points.shape != (query.shape[0], query.shape[2], 2):
        raise ValueError(f"points is {tuple(points.shape)}: query {tuple(query.shape)} asks for [B, N, 2]")
    outside = ((points < 0) | (points >= points.new_tensor(windows.size))).any(-1)
    if outside.any():
        raise ValueError(f"points: {int(outside.sum())} of {outside.numel()} lie outside the output, {windows.size}")
    work = Work(windows, embed or DotProduct(query.shape[1]), reach, memory, points)
    out: Tensor = _Mix.apply(query, key.flatten(2), value.flatten(2), work)
    return out


def entropy(
    query: Tensor,
    key: Tensor,
    windows: Windows,
    *,
    embed: Embedding | None = None,
    reach: Tensor | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Tensor:
    """Entropy of each pixel's weights, in nats; its exponential is how many candidates a pixel really draws from.

    A border cell that clamping repeats counts as that many candidates, so equal weights have the entropy
    log(number of places in the window).

    Args:
        query: [B, D, H, W], as in `mix`.
        key: [B, D, h, w], as in `mix`.
        windows: as in `mix`.
        embed: as in `mix`.
        reach: as in `mix`.
        memory: as in `mix`.

    Returns:
        [B, 1, H, W], float32 or float64; not differentiable.

    Raises:
        ValueError: as `mix`.
    """
    _check(query, key, key, windows, embed, reach)
    if query.shape[2:] != windows.size:
        raise ValueError(f"query is {tuple(query.shape)}: its last two sides must be {windows.size}")
    work = Work(windows, embed or DotProduct(query.shape[1]), reach, memory)
    query, key = query.detach().flatten(2), key.detach().flatten(2)
    out = query.new_empty(len(query), 1, query.shape[2], dtype=precision(query, key))
    with torch.no_grad(), exact(query.device):
        for tile in work.tiles(query, key, channels=1):
            logits = tile.queries.mT @ tile.keys  # [B, n, P, K], with log m of a candidate that occurs m times
            weights = logits.softmax(-1)  # [B, n, P, K], of all m together
            plain = tile.queries[:, :, : tile.width].mT @ tile.keys[:, :, : tile.width]  # [B, n, P, K], without log m
            values = logits.logsumexp(-1) - (weights * plain).sum(-1)  # [B, n, P] = -Σ w log(w / m)
            write(out[tile.images], values.unsqueeze(2), windows, tile.group, tile.places)
    return out.unflatten(2, windows.size)


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """A few groups with their vectors: little enough to hold all of their weights.

    Attributes:
        images: which images of the batch.
        group: which pixels and cells.
        places: [n, P], where the queries of those pixels lie among all queries, and their outputs among the outputs.
        queries: [B, n, D + E, P].
        keys: [B, n, D + E, K]; the last E coordinates carry the logarithm of how often a cell occurs.
        width: D.
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
    """What is to be done, all but the tensors. `points` [B, N, 2] asks for those pixels only."""

    windows: Windows
    embed: Embedding
    reach: Tensor | None
    memory: int
    points: Tensor | None = None

    def tiles(self, query: Tensor, key: Tensor, *, channels: int) -> Iterator[Tile]:
        """Cut the work into tiles that fit the memory.

        Args:
            query: [B, F, queries].
            key: [B, G, cells].
            channels: of the values that the caller handles for each pixel and candidate.
        """
        like = query.new_empty(0, dtype=precision(query, key))
        for images, group, places in self._groups(query, key, channels, like):
            pixels = gather(query[images], places).to(like.dtype)  # [B, F, n, P]
            cells = gather(key[images], group.cells).to(like.dtype)  # [B, G, n, K]
            radius = None if self.reach is None else radii(self.reach[images], self.windows, group)
            one_hot, log = occurrences(group, self.windows, radius, slice(None), cells.shape[3])
            queries = stack(self.embed.query(pixels, group, images), one_hot)
            keys = stack(self.embed.key(cells, group, images), log)
            yield Tile(images, group, places, queries, keys, self.embed.width)

    def slabs(self, channels: int, like: Tensor) -> list[slice]:
        """Cut the channels of the values so that those of one window take a quarter of the memory at most."""
        most = max(1, self.memory // (4 * 3 * like.itemsize * (1 + self.windows.most_candidates)))
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


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, work: Work) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.work = work
        out = value.new_empty(*value.shape[:2], query.shape[2])  # [B, C, pixels]
        with exact(query.device):
            for channels in work.slabs(value.shape[1], query):
                for tile in work.tiles(query, key, channels=channels.stop - channels.start):
                    weights = (tile.queries.mT @ tile.keys).softmax(-1)  # [B, n, P, K]
                    mixed = tile.values(value[:, channels]) @ weights.mT  # [B, n, C, P]
                    write(out[tile.images, channels], mixed, work.windows, tile.group, tile.places)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        work: Work = ctx.work
        need_query, need_key, need_value, _ = ctx.needs_input_grad
        exactly = precision(query, key)
        dquery, dkey, dvalue = (torch.zeros_like(tensor, dtype=exactly) for tensor in (query, key, value))
        with exact(query.device):
            for channels in work.slabs(value.shape[1], query):
                for tile in work.tiles(query, key, channels=channels.stop - channels.start):
                    queries, keys = tile.queries[:, :, : tile.width], tile.keys[:, :, : tile.width]
                    weights = (tile.queries.mT @ tile.keys).softmax(-1)  # [B, n, P, K]
                    g = read(dout[tile.images, channels], work.windows, tile.group, tile.places).to(
                        exactly
                    )  # [B, n, C, P]
                    if need_value:
                        dvalues = (g @ weights).transpose(1, 2)  # [B, C, n, K]
                        scatter_add(dvalue[tile.images, channels], tile.group.cells, dvalues)
                    if need_query or need_key:
                        dlogits = g.mT @ tile.values(value[:, channels])  # [B, n, P, K]: dw
                        dlogits = weights * (dlogits - (weights * dlogits).sum(-1, keepdim=True))
                        dqueries = (keys @ dlogits.mT).transpose(1, 2)  # [B, D, n, P]
                        dkeys = (queries @ dlogits).transpose(1, 2)  # [B, D, n, K]
                        if need_query:
                            scatter_add(dquery[tile.images], tile.places, dqueries)
                        dcells = work.embed.key_gradient(dkeys, tile.group, tile.images)  # [B, G, n, K]
                        scatter_add(dkey[tile.images], tile.group.cells, dcells)
        return (
            dquery.to(query.dtype) if need_query else None,
            dkey.to(key.dtype) if need_key else None,
            dvalue.to(value.dtype) if need_value else None,
            None,
        )


def tile_size(
    windows: Windows, *, numbers: int, memory: int, like: Tensor, longest: int, by_radius: bool, shares: int = 1
) -> tuple[int, int]:
    """How much fits the memory, and for speed the cache.

    Args:
        windows: who draws from where.
        numbers: how many are needed for every pixel, and for every candidate of a group.
        memory: bytes.
        like: gives the device and the floating-point type.
        longest: no group should be higher or wider than so many pixels.
        by_radius: whether windows of several radii may meet in a group.
        shares: into how many equal parts the memory is divided, of which this may have one.

    Returns:
        How high and wide a group may be, in pixels, and how many groups make a tile.

    Raises:
        TooLittleMemoryError: one pixel's window exceeds the memory.
    """
    k, pairs = windows.most_candidates, CPU_PAIRS if like.device.type == "cpu" else GPU_PAIRS
    numbers += 12 + (3 * len(windows.squared_radii) if by_radius else 0)
    while True:
        p = windows.most_pixels(longest)
        need = shares * ((p + k) * numbers + 5 * p * k) * like.itemsize
        if need <= memory:
            return longest, max(1, min(memory // need, pairs // (p * k)))
        if longest == 1:
            raise TooLittleMemoryError(f"memory is {memory} bytes: the window of one pixel takes {need}")
        longest //= 2


def radii(reach: Tensor, windows: Windows, group: Groups) -> Tensor | None:
    """The radius of each pixel [B, 1, n, P] from those of the cells [B, 1, h, w]; None where none is below the most."""
    assert windows.radius is not None
    # In float64: a radius on the edge of taking in a cell falls on the right side.
    radius = interpolate(reach.flatten(2).double(), windows, group.pixels)  # [B, 1, n, P]
    return radius if bool((radius < windows.radius).any()) else None


def occurrences(
    group: Groups, windows: Windows, radius: Tensor | None, some: slice | Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """What adds log m to the logits of a candidate that occurs m times in a window, as more coordinates.

    Args:
        group: whose windows.
        windows: where they come from.
        radius: [B, 1, n, P], or None where all have the largest.
        some: which of the groups.
        k: how many candidates.

    Returns:
        [B or 1, E, n, P], for the queries: 1 at the entry for the pixel's radius, else 0. [1, E, n, K], for the keys:
        log m for each radius. E is 1 where all have the largest.
    """
    log = group.log_occurrences[:, some, :k]  # [1, n, K]
    if radius is None:
        return group.pixel_offset.new_ones(1, 1, *group.pixels[some].shape), log[None]
    # Between two sums of two squares a disc takes in no cell, so few radii are told apart; of those, some occur.
    squares = torch.from_numpy(windows.squared_radii).to(radius) * (1 - 1e-12)
    found, which = (torch.searchsorted(squares, radius[:, :, some].square(), right=True) - 1).unique(
        return_inverse=True
    )
    one_hot = which == torch.arange(len(found), device=radius.device).view(-1, 1, 1)  # [B, E, n, P]
    rows, columns = (kinds[as_numpy(some)] for kinds in group.kinds)
    within = [windows.log_occurrences_within(int(windows.squared_radii[i])) for i in found.tolist()]
    by_radius = np.stack([table[rows, columns, :k] for table in within])  # [E, n, K]
    return one_hot.to(log.dtype), torch.from_numpy(by_radius).to(log)[None]


def as_numpy(some: slice | Tensor) -> slice | Integers:
    """What numpy takes for the same selection."""
    return some if isinstance(some, slice) else some.cpu().numpy()


def stack(vectors: Tensor, more: Tensor) -> Tensor:
    """Append coordinates: [B, D, n, m] and [B or 1, E, n, m] to [B, n, D + E, m]."""
    return torch.cat([vectors, more.expand(len(vectors), -1, -1, -1)], dim=1).transpose(1, 2)


def precision(query: Tensor, key: Tensor) -> torch.dtype:
    """What logits are computed in: float64 where an input is, else float32."""
    return torch.promote_types(torch.promote_types(query.dtype, key.dtype), torch.float32)


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


def _check(
    query: Tensor, key: Tensor, value: Tensor, windows: Windows, embed: Embedding | None, reach: Tensor | None
) -> None:
    for name, maps in (("key", key), ("value", value)):
        if maps.ndim != 4 or maps.shape[2:] != windows.grid or len(maps) != len(query):
            raise ValueError(f"{name} is {tuple(maps.shape)}: accepted is [{len(query)}, channels, *{windows.grid}]")
    if reach is not None and (windows.radius is None or reach.shape != (len(query), 1, *windows.grid)):
        raise ValueError(f"reach is {tuple(reach.shape)}: accepted is [{len(query)}, 1, *{windows.grid}], for discs")
    if embed is not None and query.requires_grad:
        raise ValueError("query requires a gradient: with an embedding only key and value are differentiable")
    if embed is None and query.shape[1] != key.shape[1]:
        raise ValueError(f"query has {query.shape[1]} channels and key {key.shape[1]}: accepted are equal numbers")
