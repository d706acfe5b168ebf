"""Interpolate by nearest, bilinear and bicubic kernels: the baselines, which do not look at the image."""

from __future__ import annotations

import dataclasses
import itertools
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing import axis_taps
from omniup.upsamplers.base import PreparedImage, Upsampler, check_image
from omniup.upsamplers.checks import DEFAULT_MEMORY, ImageLike, Size
from omniup.upsamplers.local import Local
from omniup.upsamplers.progress import ProgressLike
from omniup.upsamplers.registry import register
from omniup.upsamplers.signal_types import SignalType


@dataclasses.dataclass(frozen=True, repr=False)
class PreparedInterpolation(PreparedImage):
    """Interpolate between the cells, whatever the image shows.

    Attributes:
        mode: of `torch.nn.functional.interpolate`.
        batch: how many images there are.
        grid: (h, w), in cells.
        size: (H, W), in pixels.
    """

    mode: str
    batch: int
    grid: Size
    size: Size

    @property
    def _is_linear_mix(self) -> bool:
        return self.mode != "bicubic"  # which has negative weights

    def _render(self, signal: Tensor, types: tuple[SignalType, ...], memory: int, out: Tensor | None = None) -> Tensor:
        return F.interpolate(signal, self.size, mode=self.mode)

    def _render_at(self, signal: Tensor, points: Tensor, types: tuple[SignalType, ...], memory: int) -> Tensor:
        return interpolate_at(signal, points, self.size, self.mode)

    def only(self, image: int) -> PreparedInterpolation:
        """Return one image of the batch."""
        return dataclasses.replace(self, batch=1)


@dataclasses.dataclass(frozen=True)
class _Interpolation(Upsampler, Local):
    mode: ClassVar[str]

    def reach(self, signal_type: SignalType) -> int:
        """Return how many cells around that of a pixel its result depends on: see `Local.reach`."""
        return {"nearest-exact": 0, "bilinear": 1, "bicubic": 2}[self.mode]

    def prepare(
        self,
        image: ImageLike,
        grid: Size,
        size: Size | None = None,
        *,
        progress: ProgressLike = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> PreparedInterpolation:
        """Check the arguments; see `Upsampler`. Needs no working memory."""
        guidance, size = check_image(image, grid, size)
        return PreparedInterpolation(self.mode, len(guidance), (grid[0], grid[1]), size)


@register(
    "nearest",
    "copies the cell that the pixel lies in; does not look at the image",
    summary_zh="复制像素所在的单元；不看图像",
    image_gradient=True,
)
class Nearest(_Interpolation):
    """Copies the cell that the pixel lies in."""

    mode = "nearest-exact"


@register(
    "bilinear",
    "linear interpolation between the four nearest cells; does not look at the image",
    summary_zh="在最近的四个单元之间线性插值；不看图像",
    image_gradient=True,
)
class Bilinear(_Interpolation):
    """Interpolates linearly between the four nearest cells."""

    mode = "bilinear"


@register(
    "bicubic",
    "cubic interpolation over sixteen cells, may overshoot; does not look at the image",
    summary_zh="在十六个单元上三次插值，可能过冲；不看图像",
    image_gradient=True,
)
class Bicubic(_Interpolation):
    """Interpolates with cubic polynomials (a = -0.75) over sixteen cells; overshoots at steps."""

    mode = "bicubic"


def interpolate_at(maps: Tensor, points: Tensor, size: Size, mode: str) -> Tensor:
    """Interpolate at some pixels of a result: [N, C, h, w] at points [N, P, 2] to [N, C, P].

    Takes as much memory as a few results, however long the axes are.
    """
    wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
    flat, width = wide.flatten(2), maps.shape[3]  # [N, C, h w]
    rows, down = axis_taps(points[..., 0].to(wide), maps.shape[2], size[0], mode)  # [N, P, taps] each
    columns, across = axis_taps(points[..., 1].to(wide), width, size[1], mode)
    out = wide.new_zeros(*maps.shape[:2], points.shape[1])
    for i, j in itertools.product(range(rows.shape[-1]), range(columns.shape[-1])):
        index = (rows[..., i] * width + columns[..., j]).unsqueeze(1)  # [N, 1, P]
        weight = (down[..., i] * across[..., j]).unsqueeze(1)
        out = out + weight * flat.gather(2, index.expand(-1, maps.shape[1], -1))
    return out.to(maps.dtype)
