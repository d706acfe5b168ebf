"""Cut an attention into tiles: a few groups with their queries and keys, that fit the memory and the cache.

An embedding makes vectors of pixels and cells, group by group. The logarithm of how often a cell occurs in a pixel's
window is added to the logit as more coordinates of query and key (`groups.py`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from omniup.mixing.groups import Blocks, Groups, gather, groups, groups_at, read_pixels
from omniup.mixing.interruption import check_interruption
from omniup.mixing.kernels import Scratch, append_coordinates, pair_products, softmax
from omniup.mixing.radii import log_occurrences_at, may_be_smaller, radii_at
from omniup.mixing.windows import Windows

DEFAULT_MEMORY = 512 * 2**20

#: Pairs of a pixel and a candidate that are computed at a time, if the memory allows: on a CPU as many as stay in
#: its cache, on a GPU enough to keep it busy.
CPU_PAIRS = 3 * 2**17
GPU_PAIRS = 2**25

#: No group is higher or wider than so many pixels.
LONGEST_SIDE = 32


class TooLittleMemoryError(ValueError):
    """The working memory does not suffice for the window of a single pixel."""


class Embedding(Protocol):
    """Map of pixels and cells to the vectors whose inner product is the logit.

    It sees them group by group and may express both relative to the cell in the middle of the window: that keeps out
    large terms that would cancel. Keys are linear in the cells.
    """

    @property
    def width(self) -> int:
        """Length D of the vectors."""

    def query(self, pixels: Tensor, group: Groups, images: slice) -> Tensor:
        """Make queries of pixels: [B, F, n, P] to [B, D, n, P]."""

    def constants(self, group: Groups, images: slice) -> Tensor:
        """Return what the keys of some groups are made of besides the cells: [B, any, n, K]."""

    def key(self, cells: Tensor, group: Groups, constants: Tensor, out: Tensor) -> None:
        """Make keys of cells: [B, G, n, K] to `out` [B, D, n, K]."""

    def key_gradient(self, dkeys: Tensor, group: Groups, constants: Tensor) -> Tensor:
        """Apply the transpose of `key`, for the backward pass: [B, D, n, K], overwritten, to [B, G, n, K]."""


@dataclasses.dataclass(frozen=True)
class DotProduct:
    """The embedding of pixels and cells that are queries and keys already."""

    width: int

    def query(self, pixels: Tensor, group: Groups, images: slice) -> Tensor:
        """Return the pixels [B, D, n, P] unchanged."""
        return pixels

    def constants(self, group: Groups, images: slice) -> Tensor:
        """Return none."""
        return torch.empty(0)

    def key(self, cells: Tensor, group: Groups, constants: Tensor, out: Tensor) -> None:
        """Copy the cells [B, D, n, K]."""
        out.copy_(cells)

    def key_gradient(self, dkeys: Tensor, group: Groups, constants: Tensor) -> Tensor:
        """Return the gradient [B, D, n, K] unchanged."""
        return dkeys


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """A few groups with their vectors: little enough to hold all of their weights.

    Attributes:
        images: which images of the batch.
        group: which pixels and cells.
        at: [n, P], where the queries of chosen pixels lie among all queries, and their outputs among the outputs; None
            where all pixels are wanted.
        queries: [B, n, heads, D / heads + E, P].
        keys: [B, n, heads, D / heads + E, K]; the last E coordinates carry the logarithm of how often a cell occurs.
        width: D / heads.
        log_occurrences: [B, n, 1, K, P], that logarithm where radii differ from pixel to pixel; then E is 0.
    """

    images: slice
    group: Groups
    at: Tensor | None
    queries: Tensor
    keys: Tensor
    width: int
    log_occurrences: Tensor | None

    @property
    def places(self) -> Tensor:
        """Places of the pixels' queries among all queries, and of their outputs among the outputs: [n, P]."""
        return self.group.pixels if self.at is None else self.at

    @property
    def where(self) -> Blocks | Tensor:
        """Blocks that the pixels are, or else their places: what `read_pixels` and `write_pixels` take."""
        return self.group.blocks or self.places

    def weights(self, scratch: Scratch) -> Tensor:
        """Compute the weights of each head, [B, n, heads, K, P]."""
        return softmax(pair_products(self.keys, self.queries, scratch, more=self.log_occurrences), scratch)

    def values(self, maps: Tensor) -> Tensor:
        """Gather the candidates' values: [B, C, cells] to [B, n, C, K]."""
        return gather(maps[self.images], self.group.cells).to(self.keys.dtype).transpose(1, 2)


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The parameters of an attention without its tensors; `points` [B, N, 2] are the pixels wanted, None for all."""

    windows: Windows
    embed: Embedding
    reach: Tensor | None
    heads: int
    memory: int
    dtype: torch.dtype
    points: Tensor | None

    def tiles(
        self, query: Tensor, key: Tensor, *, channels: int, shape: tuple[int, int] | None = None
    ) -> Iterator[Tile]:
        """Cut the work into tiles that fit the memory.

        Args:
            query: [B, F, queries].
            key: [B, G, cells].
            channels: how many of the values the caller handles at a time for each pixel and candidate.
            shape: how large a tile is, as `tile_shape` has it, which is asked by default.
        """
        like = query.new_empty(0, dtype=self.dtype)
        smaller = None if self.reach is None else may_be_smaller(self.reach, self.windows)  # [B, cells]
        for images, group, at in self._groups(query, like, *(shape or self.tile_shape(query, key, channels))):
            check_interruption()
            where = group.blocks or (group.pixels if at is None else at)
            pixels = read_pixels(query[images], self.windows, where).transpose(1, 2).to(like.dtype)
            cells = gather(key[images], group.cells).to(like.dtype)  # [B, G, n, K], and pixels are [B, F, n, P]
            window, log, log_at = group.window[None], group.log_occurrences[None], None  # [1, E, n, P], [1, E, n, K]
            if self.reach is not None and smaller is not None and smaller[images][:, group.middle].any():
                radius = radii_at(self.reach[images], self.windows, group.pixels)  # [B, n, P]
                log_at = log_occurrences_at(self.windows, group.pixels, radius, cells.shape[3], like).unsqueeze(2)
                window, log = window[:, :0], log[:, :0]
            keys = cells.new_empty(len(cells), self.embed.width, *group.cells.shape)  # [B, D, n, K]
            self.embed.key(cells, group, self.embed.constants(group, images), keys)
            queries, keys = (
                append_coordinates(vectors.unflatten(1, (self.heads, -1)), more.unsqueeze(1))
                for vectors, more in ((self.embed.query(pixels, group, images), window), (keys, log))
            )
            yield Tile(images, group, at, queries, keys, self.embed.width // self.heads, log_at)

    def channel_chunks(self, channels: int) -> list[slice]:
        """Cut the channels of the values so that those of one window take a quarter of the memory at most."""
        most = max(1, self.memory // (4 * 3 * self.dtype.itemsize * (1 + self.windows.most_candidates)))
        return [slice(start, min(start + most, channels)) for start in range(0, channels, most)]

    def tile_shape(
        self, query: Tensor, key: Tensor, channels: int, *, more: int = 0, parts: int = 1
    ) -> tuple[int, int]:
        """Return how high and wide a group may be, and how many groups make a tile.

        Args:
            query: as in `tiles`.
            key: likewise.
            channels: likewise.
            more: numbers that the caller has for every pair of a pixel and a candidate, beside the heads' weights.
            parts: into how many equal parts the memory is divided, of which a tile takes one.

        Raises:
            TooLittleMemoryError: one pixel's window exceeds the memory.
        """
        longest, most, _ = tile_size(
            self.windows,
            numbers=query.shape[1] + key.shape[1] + 3 * (self.embed.width + channels),
            memory=self.memory,
            like=query.new_empty(0, dtype=self.dtype),
            longest=LONGEST_SIDE if self.points is None else 1,
            by_radius=self.reach is not None,
            heads=self.heads + more,
            parts=parts,
        )
        return longest, most

    def _groups(
        self, query: Tensor, like: Tensor, longest: int, most: int
    ) -> Iterator[tuple[slice, Groups, Tensor | None]]:
        """Yield images, groups, and of chosen pixels the places of their queries [n, P]."""
        if self.points is not None:
            for image, points in enumerate(self.points):
                for start in range(0, len(points), most):
                    group = groups_at(self.windows, points[start : start + most].cpu().numpy(), like=like)
                    at = torch.arange(start, start + len(group.first), device=like.device).unsqueeze(1)  # [n, 1]
                    yield slice(image, image + 1), group, at
            return
        # Images share a tile only where one alone would leave it part empty.
        together = max(1, most * self.windows.most_pixels(longest) // math.prod(self.windows.size))
        for start in range(0, len(query), together):
            for group in groups(self.windows, longest=longest, most=max(1, most // together), like=like):
                yield slice(start, min(start + together, len(query))), group, None


def tile_size(
    windows: Windows,
    *,
    numbers: int,
    memory: int,
    like: Tensor,
    longest: int,
    by_radius: bool,
    heads: int = 1,
    parts: int = 1,
    cpu_pairs: int = CPU_PAIRS,
) -> tuple[int, int, int]:
    """Return how high and wide a group may be, how many groups make a tile, and its bytes: for memory and cache.

    Args:
        windows: which cells each pixel draws from.
        numbers: how many are needed for every pixel, and for every candidate of a group.
        memory: bytes.
        like: gives the device and the floating-point type.
        longest: no group is higher or wider than so many pixels.
        by_radius: whether windows of several radii may meet in a group.
        heads: how many weights there are for every pixel and candidate.
        parts: into how many equal parts the memory is divided, of which a tile takes one.
        cpu_pairs: of a tile on a CPU.

    Raises:
        TooLittleMemoryError: one pixel's window exceeds the memory.
    """
    k, pairs = windows.most_candidates, cpu_pairs if like.device.type == "cpu" else GPU_PAIRS
    numbers += 12 + 3 * heads * (windows.most_coordinates - 1)
    while True:
        p = windows.most_pixels(longest)
        need = ((p + k) * numbers + (6 if by_radius else 5) * heads * p * k) * like.itemsize
        if parts * need <= memory:
            count = max(1, min(memory // (parts * need), pairs // (heads * p * k)))
            return longest, count, count * need
        if longest == 1:
            raise TooLittleMemoryError(f"memory is {memory} bytes: the window of one pixel takes {parts * need}")
        longest //= 2
