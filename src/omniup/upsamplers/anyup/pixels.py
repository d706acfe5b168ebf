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

from omniup.mixing import TooLittleMemoryError
from omniup.mixing.interruption import check_interruption
from omniup.upsamplers.anyup.network import WIDTH, ResidualBlock, RotaryEmbedding
from omniup.upsamplers.checks import Size

Layer = Callable[[Tensor], Tensor]

#: Pixels that go through a layer at a time, if the memory allows: on a CPU as many as stay in its cache.
CPU_PIXELS, GPU_PIXELS = 2**13, 2**20

#: Maps that exist at a time, if they are kept: the encoded image, and a block's input and output.
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
        spare: maps that were kept and are not needed any more; their memory is used again, as fresh pages cost time.
    """

    dtype: torch.dtype
    keep: bool
    rows: int
    band: int
    mixing: int
    spare: list[Tensor] = dataclasses.field(default_factory=list)

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
        pixels = CPU_PIXELS if image.device.type == "cpu" else GPU_PIXELS
        rows = max(1, min(half // row, pixels // width, height))
        band = max(1, min(half // result_row - 2, 2 * pixels // size[1], size[0]))
        return cls(dtype, keep, rows, band, half)


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Maps [1, D, H, W] that are computed where they are asked for.

    Attributes:
        compute: rows `top` up to `bottom`: [1, D, bottom - top, W].
        size: (H, W).
        plan: how the memory is divided.
        maps: all of it, if it was kept.
    """

    compute: Callable[[int, int], Tensor]
    size: Size
    plan: Plan
    maps: Tensor | None = None

    @classmethod
    def of(cls, image: Tensor, plan: Plan) -> Pixels:
        """Wrap an image [1, 3, H, W]."""
        image = image.to(plan.dtype, memory_format=torch.channels_last)
        return cls(lambda top, bottom: image[:, :, top:bottom], (image.shape[2], image.shape[3]), plan)

    def through(self, layer: Callable[..., Tensor], *others: Pixels) -> Pixels:
        """Apply a layer to these maps, [1, D, n, W], and to `others` that are computed from them."""

        def compute(top: int, bottom: int) -> Tensor:
            return layer(self.compute(top, bottom), *(other.compute(top, bottom) for other in others))

        return Pixels(compute, self.size, self.plan)

    def rotated(self, rope: RotaryEmbedding) -> Pixels:
        """Rotate the maps' vectors by their places."""
        height = self.size[0]
        return Pixels(lambda top, bottom: rope(self.compute(top, bottom), top, height), self.size, self.plan)

    def through_encoder(self, encoder: nn.Sequential) -> Pixels:
        """Apply an encoder: a 1×1 convolution and residual blocks."""
        layers: list[Any] = list(encoder)
        conv, *blocks = layers
        pixels = self.through(functools.partial(convolve, conv)).kept()
        for block in blocks:
            pixels = pixels.through_block(block)
        return pixels

    def through_block(self, block: ResidualBlock) -> Pixels:
        """Apply a residual block, and release the memory of these maps."""
        layers: list[Any] = list(block.block)
        first_norm, _, first_conv, second_norm, _, second_conv = layers
        first = self._norm_layer(first_norm)
        half = self.through(lambda maps: convolve(first_conv, F.silu(first(maps), inplace=True))).kept()
        second = half._norm_layer(second_norm)
        whole = self.through(
            lambda maps, half: convolve(second_conv, F.silu(second(half), inplace=True)).add_(maps), half
        )
        half.release()
        self.release()
        return whole.kept()

    def kept(self) -> Pixels:
        """Compute these maps now and once, if the memory allows.

        If it does not, the last rows are remembered, so that two layers that ask for the same rows use them.
        """
        if not self.plan.keep:
            return Pixels(functools.lru_cache(maxsize=1)(self.compute), self.size, self.plan)
        maps = self.band(0, self.size[0], self.plan.spare)
        return Pixels(lambda top, bottom: maps[:, :, top:bottom], self.size, self.plan, maps)

    def release(self) -> None:
        """Release the memory of this map to the next that is kept, even if that is computed from it."""
        if self.maps is not None:
            self.plan.spare.append(self.maps)

    def band(self, top: int, bottom: int, spare: list[Tensor] | None = None) -> Tensor:
        """Compute rows `top` up to `bottom`: [1, D, bottom - top, W], in one of the `spare` tensors if any."""
        if bottom - top <= self.plan.rows:
            return self.compute(top, bottom)
        if self.maps is not None:
            return self.maps[:, :, top:bottom]
        whole = spare.pop() if spare else None
        for start in range(top, bottom, self.plan.rows):
            strip = self.compute(start, min(start + self.plan.rows, bottom))
            if whole is None:
                whole = strip.new_empty(1, bottom - top, *strip.shape[3:], strip.shape[1]).movedim(3, 1)
            whole[:, :, start - top : start - top + strip.shape[2]] = strip
        assert whole is not None
        return whole

    def pooled(self, size: Size, top: int, bottom: int) -> Tensor:
        """Pool adaptively to a size (H', W'), rows `top` up to `bottom` only: [1, D, bottom - top, W']."""
        if size == self.size:
            return self.band(top, bottom)
        height = self.size[0]
        rows = ((row * height // size[0], -(-(row + 1) * height // size[0])) for row in range(top, bottom))
        return torch.cat([F.adaptive_avg_pool2d(self.band(*row), (1, size[1])) for row in rows], dim=2)

    def _norm_layer(self, norm: nn.GroupNorm) -> Layer:
        """Gather the statistics of a group norm, and return it as a pixelwise layer.

        Means and variances of strips are merged without a difference of large numbers (Chan, Golub & LeVeque, 1983), so
        float32 is enough: Apple's GPUs have no float64.
        """
        mean = variance = torch.zeros_like(norm.weight)  # [D]
        for top in range(0, self.size[0], self.plan.rows):
            check_interruption()
            bottom = min(top + self.plan.rows, self.size[0])
            strip_mean, strip_variance = (values.to(mean) for values in _moments(self.compute(top, bottom)))
            fraction = (bottom - top) / bottom  # of the strip, in all rows so far
            step = strip_mean - mean
            mean = mean + fraction * step
            variance = variance + fraction * (strip_variance - variance) + fraction * (1 - fraction) * step.square()
        grouped = (norm.num_groups, norm.num_channels // norm.num_groups)
        means, variances = mean.view(grouped), variance.view(grouped)
        together = means.mean(1), variances.mean(1) + means.var(1, correction=0)  # [groups], each
        mean, variance = (values.repeat_interleave(grouped[1]) for values in together)  # [D]
        return lambda maps: F.batch_norm(maps, mean, variance, norm.weight, norm.bias, eps=norm.eps)


def _moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean and the variance of each channel of maps [1, D, n, W]: [D], each."""
    if maps.device.type in WITHOUT_STATISTICS:
        variance, mean = torch.var_mean(maps.float(), (0, 2, 3), correction=0)
        return mean, variance
    return torch.batch_norm_update_stats(maps, None, None, 0.0)


def convolve(conv: nn.Conv2d, maps: Tensor) -> Tensor:
    """Convolve in the maps' dtype, whatever that of the weights is."""
    return F.conv2d(maps, conv.weight.to(maps.dtype), padding=conv.padding)
