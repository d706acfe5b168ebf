"""Nearest, bilinear and bicubic interpolation: what everybody compares with. They do not look at the image."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from omniup.mixing import DEFAULT_MEMORY
from omniup.upsamplers.base import ImageLike, Size, check_inputs, register


@dataclasses.dataclass(frozen=True)
class _Interpolation:
    mode: ClassVar[str]

    def __call__(
        self, image: ImageLike, signal: Tensor, size: Size | None = None, *, memory: int = DEFAULT_MEMORY
    ) -> Tensor:
        """Upsample; see `Upsampler`. Needs no working memory."""
        _, size = check_inputs(image, signal, size)
        corners = None if self.mode == "nearest-exact" else False
        return F.interpolate(signal, size, mode=self.mode, align_corners=corners)


@register("nearest", "copies the cell that the pixel lies in; does not look at the image")
class Nearest(_Interpolation):
    """Copies the cell that the pixel lies in."""

    mode = "nearest-exact"


@register("bilinear", "linear interpolation between the four nearest cells; does not look at the image")
class Bilinear(_Interpolation):
    """Interpolates linearly between the four nearest cells."""

    mode = "bilinear"


@register("bicubic", "cubic interpolation over sixteen cells, may overshoot; does not look at the image")
class Bicubic(_Interpolation):
    """Interpolates with cubic polynomials (a = -0.75) over sixteen cells; overshoots at steps."""

    mode = "bicubic"
