"""Upsample measurements, area-averages over the cells of something that has a value at each pixel: depth, an image.

The result can be compared with the signal, and the difference added back (back-projection, Irani & Peleg 1991). It is
no convex mix of the signal then: it may overshoot, as what has these means over the cells must. Probabilities stay
probabilities. The range sigma is chosen by the signal: the one that restores it best from one scale further down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from omniup.mixing import cell_means
from omniup.upsamplers.guided_filter import GuidedFilter
from omniup.upsamplers.pyramid_bilateral.probabilities import from_roots, to_roots
from omniup.upsamplers.pyramid_bilateral.pyramid import Pixels, Pyramid, halved
from omniup.upsamplers.signal_types import are_probabilities

if TYPE_CHECKING:
    from omniup.upsamplers.pyramid_bilateral.method import PyramidBilateral

Mix: TypeAlias = Callable[[Tensor], Tensor]
"""Upsamples [1, C, h, w] to [1, C, H, W], linearly and each channel independently."""


def render_measurement(pyramid: Pyramid, signal: Tensor, settings: PyramidBilateral, memory: int) -> Tensor:
    """Upsample means over cells, with the range sigma that would have served one scale further down.

    Guidance and signal are averaged over twice as large cells, and upsampled with each range sigma: the one that
    restores the signal best is taken. A linear model of the signal in the colours (`GuidedFilter`) takes part to the
    degree to which, channel by channel, it improves the restored signal.

    Args:
        pyramid: of the image.
        signal: [1, C, h, w].
        settings: the method's numbers.
        memory: bytes of working memory.

    Returns:
        [1, C, H, W], in the signal's dtype.
    """
    exact = signal.to(torch.promote_types(signal.dtype, pyramid.guidance.dtype))  # [1, C, h, w]
    grid, pixels, steps = (signal.shape[2], signal.shape[3]), Pixels(memory), settings.back_projections
    coarse = halved(exact)  # [1, C, ⌈h/2⌉, ⌈w/2⌉]
    coarse_grid = coarse.shape[2], coarse.shape[3]
    probabilities = are_probabilities(signal)[0]

    def project(kernels_mix: Mix, target: Tensor, start: Tensor | None = None) -> Tensor:
        if probabilities:
            return back_project_probabilities(kernels_mix, target, settings)
        return back_project(kernels_mix, target, kernels_mix(target) if start is None else start, steps)

    trials = []
    for candidate in range(settings.sigma_r_candidates):
        sigma_r = settings.sigma_r * 2**candidate
        kernels = pyramid.kernels(grid, coarse_grid, settings.sigma, sigma_r)
        restored = project(lambda x, kernels=kernels: pixels.mix(kernels, x), coarse)
        trials.append((float((restored - exact).detach().square().mean()), sigma_r, restored, kernels))
    _, sigma_r, plain, coarse_kernels = min(trials, key=lambda trial: trial[0])
    kernels = pyramid.kernels(pyramid.size, grid, settings.sigma, sigma_r)

    def upsample(values: Tensor) -> Tensor:
        return pixels.mix(kernels, values)

    if probabilities:
        return project(upsample, exact).to(signal.dtype)

    linear = GuidedFilter(settings.filter_radius, settings.filter_eps)
    modelled = linear.prepare(pyramid.average(grid), coarse_grid)._render(coarse, (), memory)
    other = project(lambda x: pixels.mix(coarse_kernels, x), coarse, modelled)
    part = _best_part(plain, other, exact)  # [1, C, 1, 1]

    filtered = linear.prepare(pyramid.guidance, grid)
    out = signal.new_empty(1, signal.shape[1], *pyramid.size)
    at_once = max(1, memory // (6 * exact.itemsize * math.prod(pyramid.size)))  # channels, half of the memory
    for start in range(0, signal.shape[1], at_once):
        channels = slice(start, start + at_once)
        value, share = exact[:, channels], part[:, channels]
        begin = (1 - share) * upsample(value)
        if bool((share > 0).any()):
            begin = begin + share * filtered._render(value, (), memory // 2)
        out[:, channels] = project(upsample, value, begin)
    return out


def back_project(upsample: Mix, signal: Tensor, start: Tensor, steps: int) -> Tensor:
    """Add to `start` [1, C, H, W] what its means over cells lack of the signal [1, C, h, w], upsampled, so often."""
    grid, out = (signal.shape[2], signal.shape[3]), start
    for _ in range(steps):
        out = out + upsample(signal - cell_means(out, grid))
    return out


def back_project_probabilities(upsample: Mix, signal: Tensor, settings: PyramidBilateral) -> Tensor:
    """Upsample probabilities [1, C, h, w] by their power mean, with back-projection of the roots.

    What is added at a step is the blend of what is lacking and of what was added before, as the plain step overshoots.
    """
    grid, step = (signal.shape[2], signal.shape[3]), settings.back_projection_step
    mixed = to_roots(signal, settings.power, settings.min_probability)  # [1, C, h, w]
    added = torch.zeros_like(mixed)
    out = from_roots(upsample(mixed), settings.power)
    for _ in range(settings.back_projections):
        added = (1 - step) * added + step * (signal - cell_means(out, grid))
        mixed = mixed + added
        del out  # before the next is made: it is as large as the result
        out = from_roots(upsample(mixed), settings.power)
    return out


def _best_part(plain: Tensor, other: Tensor, truth: Tensor) -> Tensor:
    """Return the part in 0..1 of `other` in the blend with `plain` nearest to the truth, channel by channel."""
    better = other - plain
    gain = ((truth - plain) * better).sum((2, 3), keepdim=True)
    return (gain / better.square().sum((2, 3), keepdim=True).clamp_min(1e-30)).clamp(0, 1)  # [1, C, 1, 1]
