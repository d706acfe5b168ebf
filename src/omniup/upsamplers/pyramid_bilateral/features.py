"""Upsample features of a network: denoise them in feature space, and add the image's detail to a cubic spline.

    out = F y' + d (U y' - F D U y')        F bicubic, U the coarse-to-fine mix, D means over the cells

U is convex, and smears what is thin; F is smooth, and knows nothing of the image. What U has beyond the cubic spline
through its own means is the detail that it owes to the image. With d = 1, all of it, this is U with one step of
back-projection (see `consistency.py`).

y' is the signal after a third of a step of bilateral denoising on its own grid (Tomasi & Manduchi 1998), with distances
in feature space. Results are clamped to the interval of the signal's values, as a cubic spline overshoots.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing import cell_means, interpolate
from omniup.mixing.dtypes import exact_products
from omniup.upsamplers.holes import fill_nearest
from omniup.upsamplers.interpolation import interpolate_at
from omniup.upsamplers.pyramid_bilateral.pyramid import Pixels, Stages

if TYPE_CHECKING:
    from omniup.upsamplers.pyramid_bilateral.method import PyramidBilateral

#: Bytes that are worked on at once: more leave the cache.
CACHED = 2**24

#: So few channels are mixed and added to the spline one after the other: making one product of both costs more.
FEW = 8


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Statistics of a whole signal that the features of its parts need.

    Attributes:
        denoised: [1, C, h, w], the signal denoised: distances are measured in those of all adjacent cells.
        least: [1, C, 1, 1], of each channel.
        most: likewise.
    """

    denoised: Tensor
    least: Tensor
    most: Tensor

    @classmethod
    def of(cls, signal: Tensor, settings: PyramidBilateral, memory: int, valid: Tensor | None) -> FeatureStatistics:
        """Compute them of a signal [1, C, h, w], float32 or float64."""
        least, most = signal.amin((2, 3), keepdim=True), signal.amax((2, 3), keepdim=True)
        return cls(denoise(signal, settings, memory, valid), least, most)

    def part(self, rows: slice, columns: slice) -> FeatureStatistics:
        """Cut the maps of cells to some rows and columns."""
        return dataclasses.replace(self, denoised=self.denoised[:, :, rows, columns])


def render_features(
    stages: Stages,
    signal: Tensor,
    settings: PyramidBilateral,
    pixels: Pixels,
    valid: Tensor | None = None,
    out: Tensor | None = None,
    statistics: FeatureStatistics | None = None,
) -> Tensor:
    """Upsample features.

    Args:
        stages: kernels from the signal's grid to the pixels.
        signal: [1, C, h, w].
        settings: the method's numbers.
        pixels: where they are wanted.
        valid: boolean [1, 1, h, w], the cells that count, of all pixels only; None for all.
        out: [1, C, H, W], where the result may be written, if no gradient is wanted.
        statistics: of the whole signal, where this is a part of it.

    Returns:
        [1, C, ...] at those pixels, in the signal's dtype, or `out`. Each channel stays within the interval of its
        values; scaled and shifted features give scaled and shifted results.
    """
    wide = signal.to(torch.promote_types(signal.dtype, torch.float32))
    whole = statistics or FeatureStatistics.of(wide, settings, pixels.memory, valid)
    denoised = whole.denoised  # [1, C, h, w]
    if pixels.points is not None:
        return _at_points(stages, whole, settings.detail, pixels).to(signal.dtype)
    value, mask = denoised, valid
    for kernels in stages[:-1]:
        value, mask = pixels.mix(kernels, value, mask), None  # [1, C, h', w']
    wanted = torch.is_grad_enabled() and (signal.requires_grad or stages[-1].guidance.requires_grad)
    few = signal.shape[1] <= FEW and 2 * wide[0, :, 0, 0].nbytes * math.prod(stages[-1].size) <= pixels.memory // 4
    if wanted or mask is not None or few:
        mixed = pixels.mix(stages[-1], value, mask)  # [1, C, H, W]
        result = _add_spline(mixed, whole, settings.detail).to(signal.dtype)
        if pixels.inside is not None:
            result = result[:, :, pixels.inside[0], pixels.inside[1]]
        return result if out is None or wanted else out.copy_(result)
    bounds = whole.least, whole.most
    return pixels.mix_residual(stages[-1], value, denoised, settings.detail, bounds, out, signal.dtype)


def _add_spline(mixed: Tensor, whole: FeatureStatistics, detail: float) -> Tensor:
    """Add to a mix [1, C, H, W] the spline through what its means lack of the denoised signal."""
    grid, size = (whole.denoised.shape[2], whole.denoised.shape[3]), (mixed.shape[2], mixed.shape[3])
    with exact_products(mixed.device):
        rest = whole.denoised - detail * cell_means(mixed, grid)
        return interpolate(rest, size, "bicubic").add_(mixed, alpha=detail).clamp_(whole.least, whole.most)


def denoise(signal: Tensor, settings: PyramidBilateral, memory: int, valid: Tensor | None = None) -> Tensor:
    """Move each cell towards the mean of the cells around it whose features are similar.

    Args:
        signal: [1, C, h, w], float32 or float64.
        settings: the method's numbers.
        memory: bytes of working memory beyond the signal and a few of its size.
        valid: boolean [1, 1, h, w], the cells that means are taken of; None for all. Others keep the nearest one's.

    Returns:
        [1, C, h, w], each cell a convex mix of cells: all channels choose together.
    """
    radius = settings.denoise_radius
    steps = [
        (y, x) for y in range(-radius, radius + 1) for x in range(-radius, radius + 1) if y * y + x * x <= radius**2
    ]
    _, channels, height, width = signal.shape
    centred = signal - signal.mean((2, 3), keepdim=True)  # or squares would cancel; and divided, or overflow
    centred = centred / centred.detach().abs().amax().clamp_min(torch.finfo(signal.dtype).tiny)
    down, across = (centred.diff(dim=dim).square().sum() for dim in (2, 3))
    adjacent = max(1, (height - 1) * width + height * (width - 1))
    variance = settings.denoise_sigma**2 * ((down + across) / adjacent).clamp_min(1e-30)
    counts = signal.new_ones(1, 1, height, width) if valid is None else valid.to(signal)
    out = torch.empty_like(signal)
    for rows in _chunks(height, 4 * signal.itemsize * width * (channels + len(steps)), memory):
        first, last = max(0, rows.start - radius), min(height, rows.stop + radius)
        near = slice(None), slice(None), slice(first, last)
        mean = _mean_of_similar(signal[near], centred[near], counts[near], variance, steps, radius)
        mean = mean[:, :, rows.start - first : rows.stop - first]
        out[:, :, rows] = torch.lerp(signal[:, :, rows], mean, settings.denoise)
    return out if valid is None else fill_nearest(out, valid)


def _at_points(stages: Stages, whole: FeatureStatistics, detail: float, pixels: Pixels) -> Tensor:
    """Upsample at points [1, P, 2] only: [1, C, P]. Means over cells need all pixels, some channels at a time."""
    assert pixels.points is not None
    denoised, size, (y, x) = whole.denoised, stages[-1].size, pixels.points[0].unbind(-1)
    grid = denoised.shape[2], denoised.shape[3]
    at_once = max(1, pixels.memory // (4 * denoised.itemsize * math.prod(size)))  # channels
    parts = []
    for value in denoised.split(at_once, dim=1):
        mixed = Pixels(pixels.memory).mix_through(stages, value)  # [1, C, H, W]
        rest = value - detail * cell_means(mixed, grid)  # [1, C, h, w]
        parts.append(interpolate_at(rest, pixels.points, size, "bicubic") + detail * mixed[:, :, y, x])
    return torch.cat(parts, dim=1).clamp(whole.least[..., 0], whole.most[..., 0])


def _mean_of_similar(
    signal: Tensor, centred: Tensor, counts: Tensor, variance: Tensor, steps: list[tuple[int, int]], radius: int
) -> Tensor:
    """Average [1, C, h, w] with the weights exp(-d² / 2 variance), d being distances of the centred features.

    Cells that do not count, 0 in [1, 1, h, w], have no weight; the mean of a window without any is 0.
    """
    squares = centred.square().sum(1, keepdim=True)  # [1, 1, h, w]
    maps = (signal, centred, squares, counts)
    neighbours = zip(*(_shifted(each, steps, radius) for each in maps), strict=True)
    total, out = torch.zeros_like(squares), torch.zeros_like(signal)
    for value, vector, square, inside in neighbours:
        distances = squares + square - 2 * (centred * vector).sum(1, keepdim=True)
        weight = inside * (-distances.clamp_min(0) / (2 * variance)).exp()  # [1, 1, h, w]
        total, out = total + weight, out + weight * value
    return out / total.clamp_min(torch.finfo(total.dtype).tiny)


def _shifted(maps: Tensor, steps: list[tuple[int, int]], radius: int) -> Iterator[Tensor]:
    """Yield [1, C, h, w] shifted by each step; zero beyond the border."""
    height, width = maps.shape[2:]
    padded = F.pad(maps, (radius,) * 4)
    for dy, dx in steps:
        yield padded[:, :, radius + dy : radius + dy + height, radius + dx : radius + dx + width]


def _chunks(count: int, each: int, memory: int) -> Iterator[slice]:
    """Cut `count` items of `each` bytes into chunks that fit half of the memory, and the cache."""
    at_once = max(1, min(memory // 2, CACHED) // each)
    return (slice(start, min(start + at_once, count)) for start in range(0, count, at_once))
