"""The fast guided filter (He & Sun 2015, arXiv 1505.00996): a linear model of the signal in the colour, cell by cell.

In every window of cells the signal is fitted by a · colour + b; the coefficients are averaged, brought to the pixels
bilinearly and applied to the pixels' colours. It is the one baseline here that is no convex mix: it may overshoot.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing import DEFAULT_MEMORY
from omniup.mixing.dtypes import widest
from omniup.upsamplers.base import ImageLike, Size, check_inputs, check_number, register, resize


@register("guided_filter", "a linear model of the signal in the colour around each cell; may overshoot")
@dataclasses.dataclass(frozen=True)
class GuidedFilter:
    """Fits the signal by the colour, linearly, around each cell.

    Attributes:
        radius: of the square window, in cells: 1 to 64.
        eps: how strongly slopes are held down, in squared guidance units: colour differences well below its root count
            for little.
    """

    radius: int = 2
    eps: float = 1e-3

    def __post_init__(self) -> None:
        check_number("radius", self.radius, 1, 64, whole=True)
        check_number("eps", self.eps, 1e-10, 1e4)

    def __call__(
        self, image: ImageLike, signal: Tensor, size: Size | None = None, *, memory: int = DEFAULT_MEMORY
    ) -> Tensor:
        """Upsample; see `Upsampler`. The signal is worked through in as many pieces as the memory asks for."""
        guidance, size = check_inputs(image, signal, size)
        guidance = resize(guidance, size)
        exactly = torch.promote_types(signal.dtype, guidance.dtype)
        colour = F.interpolate(guidance, signal.shape[2:], mode="area")  # [B, G, h, w]
        colour = colour.to(widest(guidance.device))  # variances cancel
        mean = self._mean(colour)  # [B, G, h, w]
        covariance = self._mean(_products(colour, colour)) - _products(mean, mean)  # [B, G G, h, w]
        g = colour.shape[1]
        covariance = covariance.unflatten(1, (g, g)).permute(0, 3, 4, 1, 2)  # [B, h, w, G, G]
        inverse = torch.linalg.inv(covariance + self.eps * torch.eye(g).to(covariance)).to(exactly)
        colour, mean = colour.to(exactly), mean.to(exactly)

        out = signal.new_empty(*signal.shape[:2], *size)  # [B, C, H, W]
        cells, pixels = len(signal) * math.prod(signal.shape[2:]), len(signal) * math.prod(size)
        left = memory - 8 * cells * g * (5 * g + 3)
        at_once = max(1, left // (exactly.itemsize * (5 * pixels + 6 * (g + 1) * cells)))  # channels
        for start in range(0, signal.shape[1], at_once):
            channels = slice(start, start + at_once)
            value = signal[:, channels].to(exactly)  # [B, C, h, w]
            mean_value = self._mean(value)
            cross = self._mean(_products(value, colour)) - _products(mean_value, mean)  # [B, C G, h, w]
            cross = cross.unflatten(1, (-1, g)).permute(0, 3, 4, 1, 2)  # [B, h, w, C, G]
            slope = (cross @ inverse).permute(0, 3, 4, 1, 2)  # [B, C, G, h, w]
            offset = mean_value - (slope * mean.unsqueeze(1)).sum(2)  # [B, C, h, w]
            fitted = F.interpolate(self._mean(offset), size, mode="bilinear")  # [B, C, H, W]
            for i in range(g):
                slopes = F.interpolate(self._mean(slope[:, :, i]), size, mode="bilinear")  # [B, C, H, W]
                fitted = fitted + slopes * guidance[:, i : i + 1]
            out[:, channels] = fitted
        return out

    def _mean(self, maps: Tensor) -> Tensor:
        """The mean over each cell's window, as far as it lies in the grid."""
        side = 2 * self.radius + 1
        return F.avg_pool2d(maps, side, stride=1, padding=self.radius, count_include_pad=False)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Every channel of one times every channel of the other: [B, C, h, w], [B, G, h, w] to [B, C G, h, w]."""
    return (a.unsqueeze(2) * b.unsqueeze(1)).flatten(1, 2)
