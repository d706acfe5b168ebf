"""Upsample by the fast guided filter (He & Sun 2015, arXiv 1505.00996): a linear model of the signal in the colour.

In every window of cells the signal is fitted by a · colour + b; the coefficients are averaged, interpolated bilinearly
at the pixels and applied to their colours. It is no convex mix: it may overshoot.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing import cell_means, interpolate
from omniup.mixing.dtypes import widest
from omniup.mixing.interruption import check_interruption
from omniup.mixing.stencils import Stencil, interpolated_combs
from omniup.mixing.sums import Interpolation
from omniup.mixing.taps import Taps
from omniup.upsamplers.base import PreparedImage, Upsampler, check_image
from omniup.upsamplers.checks import DEFAULT_MEMORY, ImageLike, Size, check_number, resize
from omniup.upsamplers.interpolation import interpolate_at
from omniup.upsamplers.local import Local
from omniup.upsamplers.progress import ProgressLike
from omniup.upsamplers.registry import register
from omniup.upsamplers.signal_types import SignalType

#: Bytes that are worked on at once: more leave the cache.
CACHED = 2**24


@register(
    "guided_filter",
    "a linear model of the signal in the colour around each cell; may overshoot",
    summary_zh="在每个单元周围用颜色的线性模型表示信号；可能过冲",
    image_gradient=True,
)
@dataclasses.dataclass(frozen=True)
class GuidedFilter(Upsampler, Local):
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

    def reach(self, signal_type: SignalType) -> int:
        """Return how many cells around that of a pixel its result depends on: see `Local.reach`."""
        return 2 * self.radius + 1  # two means over windows, and bilinear interpolation

    def prepare(
        self,
        image: ImageLike,
        grid: Size,
        size: Size | None = None,
        *,
        progress: ProgressLike = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> PreparedGuidedFilter:
        """Invert the covariances of the colours around each cell; see `Upsampler`."""
        guidance, size = check_image(image, grid, size, differentiable=True)
        guidance = resize(guidance, size)
        colour = F.interpolate(guidance, (grid[0], grid[1]), mode="area")  # [B, G, h, w]
        colour = colour.to(widest(guidance.device))  # variances cancel
        return _prepare(guidance, colour, self)


def _prepare(
    guidance: Tensor, colour: Tensor, method: GuidedFilter, valid: Tensor | None = None
) -> PreparedGuidedFilter:
    """Compute the colours' means and covariances, over the valid cells of each window."""
    mean = window_mean(colour, method.radius, valid)  # [B, G, h, w]
    covariance = window_mean(_products(colour, colour), method.radius, valid) - _products(mean, mean)  # [B, G G, h, w]
    g = colour.shape[1]
    covariance = covariance.unflatten(1, (g, g)).permute(0, 3, 4, 1, 2)  # [B, h, w, G, G]
    inverse = torch.linalg.inv(covariance + method.eps * torch.eye(g).to(covariance))
    return PreparedGuidedFilter(method, guidance, colour, mean, inverse, valid)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PreparedGuidedFilter(PreparedImage):
    """Fit signals by the colours of an image.

    Attributes:
        method: its numbers.
        guidance: [B, G, H, W].
        colour: [B, G, h, w], the cells' colours.
        mean: [B, G, h, w], their means over the window around each cell.
        inverse: [B, h, w, G, G], the inverse of their covariance, regularised.
        valid: boolean [B, 1, h, w], the cells that count; None for all.
    """

    method: GuidedFilter
    guidance: Tensor
    colour: Tensor
    mean: Tensor
    inverse: Tensor
    valid: Tensor | None = None

    @property
    def batch(self) -> int:
        """Number of prepared images."""
        return len(self.guidance)

    @property
    def grid(self) -> Size:
        """Grid (h, w), in cells."""
        return self.colour.shape[2], self.colour.shape[3]

    @property
    def size(self) -> Size:
        """Size (H, W), in pixels."""
        return self.guidance.shape[2], self.guidance.shape[3]

    def only(self, image: int) -> PreparedGuidedFilter:
        """Return one image of the batch."""
        one = slice(image, image + 1)
        maps = (self.guidance[one], self.colour[one], self.mean[one], self.inverse[one])
        return PreparedGuidedFilter(self.method, *maps)

    @property
    def _radius(self) -> int:
        return self.method.radius

    def _render(self, signal: Tensor, types: tuple[SignalType, ...], memory: int, out: Tensor | None = None) -> Tensor:
        """Upsample in as many chunks of channels as the memory asks for."""
        dtype = torch.promote_types(signal.dtype, self.guidance.dtype)
        shape = (*signal.shape[:2], *self.size)
        out = out if out is not None and out.is_contiguous() else signal.new_empty(shape)  # [N, C, H, W]
        flat, result = self._flat(signal), out.view(self.batch, -1, *self.size)
        g, pixels, cells = self.colour.shape[1], self.batch * math.prod(self.size), self.batch * math.prod(self.grid)
        left = min(memory - 8 * cells * g * (5 * g + 3), CACHED)
        at_once = max(1, left // (dtype.itemsize * (5 * pixels + 6 * (g + 1) * cells)))  # channels
        for start in range(0, flat.shape[1], at_once):
            check_interruption()
            channels = slice(start, start + at_once)
            result[:, channels] = self.apply(self.coefficients(flat[:, channels].to(dtype)))
        return out

    def _render_valid(self, signal: Tensor, valid: Tensor, types: tuple[SignalType, ...], memory: int) -> Tensor:
        return self.fit(signal, valid, memory)

    def fit(self, signal: Tensor, valid: Tensor | None, memory: int) -> Tensor:
        """Upsample the valid cells of a checked signal [N, C, h, w], all where `valid` is None: [N, C, H, W]."""
        return self.masked(valid)._render(signal, (), memory)

    def masked(self, valid: Tensor | None) -> PreparedGuidedFilter:
        """Leave out cells that are not valid, of signals with a mask [N, 1, h, w] each; none where it is None."""
        if valid is None:
            return self
        every = (len(valid), -1, -1, -1)  # one image may serve several signals, each with cells of its own
        return _prepare(self.guidance.expand(every), self.colour.expand(every), self.method, valid)

    def apply(self, coefficients: Tensor) -> Tensor:
        """Interpolate coefficients [B, C, G + 1, h, w] and apply them to the pixels' colours: [B, C, H, W]."""
        out = interpolate(coefficients[:, :, -1], self.size, "bilinear")
        for i, colour in enumerate(self.guidance.to(out).split(1, dim=1)):
            out.addcmul_(interpolate(coefficients[:, :, i], self.size, "bilinear"), colour)
        return out

    @property
    def interpolation(self) -> Interpolation:
        """Interpolation of coefficients as in `apply`, to be added to other maps of one image."""
        return Interpolation(Taps.interpolation(self.size, self.grid, "bilinear"), self.guidance)

    def means(self, coefficients: Tensor) -> Tensor:
        """Return the cell means of what `apply` makes of one image's coefficients, without it: [1, C, h, w]."""
        pairs = zip(self._stencils, coefficients.unbind(2), strict=True)
        return torch.stack([stencil(each) for stencil, each in pairs]).sum(0)

    @functools.cached_property
    def _stencils(self) -> list[Stencil]:
        """Stencils from cells to the cell means of their bilinear interpolation: times each channel, and as it is."""
        rows, columns = (
            interpolated_combs(3, cells, side, "bilinear").to(self.guidance)
            for cells, side in zip(self.grid, self.size, strict=True)
        )  # [3, H], [3, W]
        stencils = []
        for image in [*self.guidance[0], torch.ones_like(self.guidance[0, 0])]:
            by_rows = [cell_means((image * row[:, None])[None, None], (self.grid[0], self.size[1])) for row in rows]
            products = torch.cat(by_rows) * columns[:, None]  # [3, 3, h, W]
            stencils.append(Stencil.of_responses(cell_means(products, self.grid)))
        return stencils

    def _render_at(self, signal: Tensor, points: Tensor, types: tuple[SignalType, ...], memory: int) -> Tensor:
        dtype = torch.promote_types(signal.dtype, self.guidance.dtype)
        coefficients = self.coefficients(signal.to(dtype)).flatten(1, 2)  # [N, C (G + 1), h, w]
        coefficients = interpolate_at(coefficients, points, self.size, "bilinear").unflatten(1, (signal.shape[1], -1))
        images = torch.arange(len(points), device=points.device)[:, None] % self.batch  # [N, 1]
        colour = self.guidance[images, :, points[..., 0], points[..., 1]].mT.unsqueeze(1)  # [N, 1, G, P]
        return ((coefficients[:, :, :-1] * colour).sum(2) + coefficients[:, :, -1]).to(signal.dtype)

    def _flat(self, signal: Tensor) -> Tensor:
        """Make channels of several signals of one image: [N, C, h, w] to [B, N C / B, h, w]."""
        return signal.reshape(self.batch, -1, *self.grid)

    def coefficients(self, value: Tensor) -> Tensor:
        """Fit a signal [N, C, h, w]: the averaged slopes and, last, offsets, [N, C, G + 1, h, w]."""
        colour, mean, inverse = (maps.to(value) for maps in (self.colour, self.mean, self.inverse))
        radius, valid = self.method.radius, self.valid
        mean_value = window_mean(value, radius, valid)
        cross = window_mean(_products(value, colour), radius, valid) - _products(mean_value, mean)  # [N, C G, h, w]
        cross = cross.unflatten(1, (-1, colour.shape[1])).permute(0, 3, 4, 1, 2)  # [N, h, w, C, G]
        slope = (cross @ inverse).permute(0, 3, 4, 1, 2)  # [N, C, G, h, w]
        offset = mean_value - (slope * mean.unsqueeze(1)).sum(2)  # [N, C, h, w]
        fitted = torch.cat([slope, offset.unsqueeze(2)], dim=2)
        return window_mean(fitted.flatten(1, 2), radius).view_as(fitted)


def window_mean(maps: Tensor, radius: int, valid: Tensor | None = None) -> Tensor:
    """Average maps [B, C, h, w] over each cell's window, as far as it lies in the grid.

    Where `valid` [B, 1, h, w] is given, over the valid cells of the window; over all, where it has none.
    """
    mean = partial(F.avg_pool2d, kernel_size=2 * radius + 1, stride=1, padding=radius, count_include_pad=False)
    if valid is None:
        return mean(maps)
    weight = mean(valid.to(maps))  # [B, 1, h, w]
    return torch.where(weight > 0, mean(maps * valid) / weight.clamp_min(1e-9), mean(maps))


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Multiply every channel of one with every channel of the other: [B, C, h, w], [B, G, h, w] to [B, C G, h, w]."""
    return (a.unsqueeze(2) * b.unsqueeze(1)).flatten(1, 2)
