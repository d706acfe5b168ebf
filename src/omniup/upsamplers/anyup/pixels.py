"""Compute pixelwise layers strip by strip: an image of any size in little memory.

A group norm is the one thing in the way, since it needs the mean and variance of all pixels first. So its statistics
are gathered in a pass of their own; after that it is a factor and a summand for each channel. What is between the image
and the norm is computed in every such pass anew, from the last map that was kept: maps are kept if the memory allows.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniup.mixing import TooLittleMemoryError, pages
from omniup.mixing.interruption import check_interruption
from omniup.upsamplers.anyup.network import WIDTH, ResidualBlock, RotaryEmbedding
from omniup.upsamplers.checks import Size

Layer = Callable[[Tensor], Tensor]
"""Maps vectors of pixels [n, D] to others."""

#: Bytes that go through a layer at a time, if the memory allows: on a CPU as many as stay in a core's own cache.
CPU_BYTES, GPU_BYTES = 2**20, 2**29

#: Strips of the image that a band of the result is as high as: each band needs a row above and one below.
BAND_STRIPS = 8

#: Maps that exist at a time, if they are kept: the encoded image or the queries, and a block's input and middle.
KEPT_MAPS = 3

#: Tensors of the size of a layer's input that exist at a time; and those that are remembered, if maps
#: are not kept.
TEMPORARIES, REMEMBERED = 6, 16


#: Devices for which torch has no `batch_norm_update_stats`, which is several times as fast as `var_mean`.
WITHOUT_STATISTICS = ("mps",)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Division of the memory for one image.

    Attributes:
        dtype: what is computed in.
        keep: whether whole maps are kept.
        rows: of the image, how many go through a layer at a time.
        band: of the result, how many rows are made at a time.
        mixing: bytes for the mixing engine.
        places: memory of the maps that are kept, by their part in the network: those of the next encoder take it again,
            as fresh pages cost time.
    """

    dtype: torch.dtype
    keep: bool
    rows: int
    band: int
    mixing: int
    places: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, image: Tensor, size: Size, memory: int, dtype: torch.dtype) -> Plan:
        """Make the plan for an image [1, 3, H, W] and a result of (H', W').

        Raises:
            TooLittleMemoryError: a row of pixels exceeds the memory.
        """
        height, width = image.shape[2:]
        kept = KEPT_MAPS * height * width * WIDTH * dtype.itemsize
        row, result_row = (TEMPORARIES * side * WIDTH * image.itemsize for side in (width, size[1]))
        least = max(row, 3 * result_row)  # a row of the result needs those above and below
        keep = 4 * kept <= 3 * memory and memory - kept >= 2 * least
        if not keep:
            kept, row = 0, row + REMEMBERED * row // TEMPORARIES
            least = max(least, row)
        half = (memory - kept) // 2
        if half < least:
            raise TooLittleMemoryError(f"memory is {memory} bytes: a row of pixels takes {2 * least}")
        strip = CPU_BYTES if image.device.type == "cpu" else GPU_BYTES
        rows = max(1, min(half // row, strip // (width * WIDTH * dtype.itemsize), height))
        most = BAND_STRIPS * strip // (size[1] * WIDTH * image.itemsize)
        band = max(1, min(half // result_row - 2, most, size[0]))
        return cls(dtype, keep, rows, band, half)


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Vectors of an image's pixels that are computed where they are asked for.

    Attributes:
        compute: of rows `top` up to `bottom`: [n W, D], n rows of W pixels.
        size: (H, W).
        plan: how the memory is divided.
        vectors: [H W, D], of all pixels, if they were kept.
        moments: of the strips, if they were kept.
    """

    compute: Callable[[int, int], Tensor]
    size: Size
    plan: Plan
    vectors: Tensor | None = None
    moments: Moments | None = None

    @classmethod
    def of(cls, image: Tensor, plan: Plan) -> Pixels:
        """Wrap an image [1, 3, H, W]."""
        vectors = image[0].to(plan.dtype).movedim(0, -1).flatten(0, 1)  # [H W, 3]
        return cls._of_vectors(vectors, (image.shape[2], image.shape[3]), plan)

    @classmethod
    def _of_vectors(cls, vectors: Tensor, size: Size, plan: Plan, moments: Moments | None = None) -> Pixels:
        width = size[1]
        return cls(lambda top, bottom: vectors[top * width : bottom * width], size, plan, vectors, moments)

    def through(self, layer: Callable[..., Tensor], *others: Pixels) -> Pixels:
        """Apply a layer to these vectors, [n, D], and to `others` that are computed from them."""

        def compute(top: int, bottom: int) -> Tensor:
            return layer(self.compute(top, bottom), *(other.compute(top, bottom) for other in others))

        return Pixels(compute, self.size, self.plan)

    def rotated(self, rope: RotaryEmbedding) -> Pixels:
        """Rotate the vectors by their places."""
        rotation, width = rope.rotation(self.size), self.size[1]

        def compute(top: int, bottom: int) -> Tensor:
            return rotation.rotate(self.compute(top, bottom).unflatten(0, (-1, width)), top).flatten(0, 1)

        return Pixels(compute, self.size, self.plan)

    def through_encoder(self, encoder: nn.Sequential) -> Pixels:
        """Apply an encoder: a 1×1 convolution and residual blocks."""
        layers: list[Any] = list(encoder)
        conv, *blocks = layers
        weight = _matrix(conv, self.plan.dtype)
        pixels = self.through(lambda vectors: vectors @ weight)
        for block in blocks:
            pixels = pixels.kept("block's input").through_block(block)
        return pixels

    def through_block(self, block: ResidualBlock) -> Pixels:
        """Apply a residual block."""
        layers: list[Any] = list(block.block)
        first_norm, _, first_conv, second_norm, _, second_conv = layers
        first_weight, second_weight = (_matrix(conv, self.plan.dtype) for conv in (first_conv, second_conv))
        first = self._norm_and_silu(first_norm)
        half = self.through(lambda vectors: first(vectors) @ first_weight).kept("block's middle")
        second = half._norm_and_silu(second_norm)
        return self.through(lambda vectors, half: torch.addmm(vectors, second(half), second_weight), half)

    def kept(self, place: str) -> Pixels:
        """Compute these vectors now and once, if the memory allows, and take the moments of each strip.

        If it does not, the last rows are remembered, so that two layers that ask for the same rows use them.

        Args:
            place: where they are kept: in the memory of those that were kept there before, which they may be computed
                from, row by row.
        """
        if not self.plan.keep:
            return Pixels(functools.lru_cache(maxsize=1)(self.compute), self.size, self.plan)
        moments = Moments(len(self._strips(0, self.size[0])))
        vectors = self._assemble(0, self.size[0], self.plan.places.get(place), moments)
        self.plan.places[place] = vectors
        return self._of_vectors(vectors, self.size, self.plan, moments)

    def pooled(self, size: Size, top: int, bottom: int) -> Tensor:
        """Pool adaptively to a size (H', W'), rows `top` up to `bottom` only: [1, D, bottom - top, W']."""
        if size == self.size:
            return self._maps(top, bottom)
        height = self.size[0]
        rows = ((row * height // size[0], -(-(row + 1) * height // size[0])) for row in range(top, bottom))
        return torch.cat([F.adaptive_avg_pool2d(self._maps(*row), (1, size[1])) for row in rows], dim=2)

    def _maps(self, top: int, bottom: int) -> Tensor:
        """Compute rows `top` up to `bottom` as maps [1, D, bottom - top, W]."""
        vectors = self._assemble(top, bottom) if self.vectors is None else self.compute(top, bottom)
        return vectors.view(1, bottom - top, self.size[1], -1).movedim(3, 1)

    def _strips(self, top: int, bottom: int) -> list[tuple[int, int]]:
        """Cut rows into strips that go through a layer at a time."""
        return [(start, min(start + self.plan.rows, bottom)) for start in range(top, bottom, self.plan.rows)]

    def _assemble(self, top: int, bottom: int, whole: Tensor | None = None, moments: Moments | None = None) -> Tensor:
        """Compute rows strip by strip, in `whole` if that is given, and add the moments of each to `moments`."""
        width = self.size[1]
        for start, stop in self._strips(top, bottom):
            check_interruption()
            strip = self.compute(start, stop)
            if moments is not None:
                moments.add(strip)
            if whole is None:
                whole = pages.new_empty(strip, ((bottom - top) * width, strip.shape[1]))
            whole[(start - top) * width : (stop - top) * width] = strip
        assert whole is not None
        return whole

    def _gather_moments(self) -> Moments:
        """Compute all vectors for their moments alone."""
        strips = self._strips(0, self.size[0])
        moments = Moments(len(strips))
        for rows in strips:
            check_interruption()
            moments.add(self.compute(*rows))
        return moments

    def _norm_and_silu(self, norm: nn.GroupNorm) -> Layer:
        """Return a group norm and SiLU as a layer of single pixels, as the moments of all are known."""
        moments = self.moments or self._gather_moments()
        mean, variance = moments.of_groups(norm.num_groups)  # [D] each
        scale = norm.weight / (variance + norm.eps).sqrt()
        shift = norm.bias - mean * scale

        def layer(vectors: Tensor) -> Tensor:
            return F.silu(torch.addcmul(shift, vectors, scale), inplace=True).to(vectors.dtype)

        return layer


class Moments:
    """Mean and variance of each coordinate of the vectors of an image, strip by strip.

    Args:
        strips: how many there will be, all of one height but the last.
    """

    def __init__(self, strips: int) -> None:
        self._strips = strips
        self._counts: list[int] = []  # of vectors

    def add(self, vectors: Tensor) -> None:
        """Add those of the next strip, of vectors [n, D]."""
        if vectors.device.type in WITHOUT_STATISTICS:
            variance, mean = torch.var_mean(vectors.float(), 0, correction=0)
        else:
            mean, variance = torch.batch_norm_update_stats(vectors, None, None, 0.0)
        if not self._counts:
            # All at once: small tensors that stay would lie in the gaps that strips leave, where no strip fits then.
            dtype = torch.promote_types(mean.dtype, torch.float32)
            self._moments = mean.new_empty(2, self._strips, len(mean), dtype=dtype)
        self._moments[0, len(self._counts)], self._moments[1, len(self._counts)] = mean, variance
        self._counts.append(len(vectors))

    def of_groups(self, groups: int) -> tuple[Tensor, Tensor]:
        """Merge those of the strips, and of the coordinates of each group: mean and variance, [D] each.

        Variances are merged without a difference of large numbers (Chan, Golub & LeVeque, 1983), so float32 is enough:
        Apple's GPUs have no float64.
        """
        means, variances = self._moments  # [strips, D]
        mean, variance = means[-1], variances[-1]
        if self._strips > 1:
            others = means[:-1].mean(0), variances[:-1].mean(0) + means[:-1].var(0, correction=0)
            fraction = self._counts[-1] / sum(self._counts)
            step = mean - others[0]
            mean = others[0] + fraction * step
            variance = torch.lerp(others[1], variance, fraction) + fraction * (1 - fraction) * step.square()
        means, variances = (each.unflatten(0, (groups, -1)) for each in (mean, variance))  # [groups, D / groups]
        together = means.mean(1), variances.mean(1) + means.var(1, correction=0)
        mean, variance = (each.repeat_interleave(means.shape[1]) for each in together)
        return mean, variance


def _matrix(conv: nn.Conv2d, dtype: torch.dtype) -> Tensor:
    """Return the weights of a 1×1 convolution as a matrix of vectors [n, D] to [n, E]: [D, E]."""
    return conv.weight.flatten(1).to(dtype).T
