"""Upsample measurements: area-averages over the cells of something with a value at each pixel, such as depth.

The result can be compared with the signal, and the difference added back (back-projection, Irani & Peleg 1991). It is
no convex mix of the signal then: it may overshoot, as what has these means over the cells must. Probabilities stay
probabilities. The range sigma is chosen by the signal: the one that restores it best from one scale further down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
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


def render_measurement(
    pyramid: Pyramid, signal: Tensor, settings: PyramidBilateral, memory: int, valid: Tensor | None = None
) -> Tensor:
    """Upsample means over cells, with the range sigma that restores the signal best from a coarser one.

    Guidance and signal are averaged over twice as large cells, and upsampled with each range sigma: the one that
    restores the signal best is taken. A linear model of the signal in the colours (`GuidedFilter`) takes part to the
    degree to which, channel by channel, it improves the restored signal.

    Args:
        pyramid: of the image.
        signal: [1, C, h, w].
        settings: the method's numbers.
        memory: bytes of working memory.
        valid: boolean [1, 1, h, w], the cells that count; None for all.

    Returns:
        [1, C, H, W], in the signal's dtype.
    """
    wide = signal.to(torch.promote_types(signal.dtype, pyramid.guidance.dtype))  # [1, C, h, w]
    grid, pixels, steps = (signal.shape[2], signal.shape[3]), Pixels(memory), settings.back_projections
    coarse, coarse_valid = halved(wide, valid)  # [1, C, ⌈h/2⌉, ⌈w/2⌉]
    counts = torch.ones_like(wide[:, :1]) if valid is None else valid.to(wide)  # [1, 1, h, w]
    coarse_grid = coarse.shape[2], coarse.shape[3]
    probabilities = are_probabilities(signal)[0]
    unit = wide.detach().abs().amax().clamp_min(torch.finfo(wide.dtype).tiny)  # or squares of errors would overflow

    def project(kernels_mix: Mix, target: Tensor, mask: Tensor | None, start: Tensor | None = None) -> Tensor:
        if probabilities:
            return back_project_probabilities(kernels_mix, target, settings, mask)
        return back_project(kernels_mix, target, kernels_mix(target) if start is None else start, steps, mask)

    trials = []
    for candidate in range(settings.sigma_r_candidates):
        sigma_r = settings.sigma_r * 2**candidate
        kernels = pyramid.kernels(grid, coarse_grid, settings.sigma, sigma_r)
        restored = project(partial(pixels.mix, kernels, valid=coarse_valid), coarse, coarse_valid)
        errors = ((restored - wide) * counts / unit).detach().square()
        trials.append((float(errors.mean()), sigma_r, restored, kernels))
    _, sigma_r, plain, coarse_kernels = min(trials, key=lambda trial: trial[0])
    upsample = partial(pixels.mix, pyramid.kernels(pyramid.size, grid, settings.sigma, sigma_r), valid=valid)
    if probabilities:
        return project(upsample, wide, valid).to(signal.dtype)

    linear = GuidedFilter(settings.filter_radius, settings.filter_eps)
    modelled = linear.prepare(pyramid.average(grid), coarse_grid).fit(coarse, coarse_valid, memory)
    other = project(partial(pixels.mix, coarse_kernels, valid=coarse_valid), coarse, coarse_valid, modelled)
    weights = _best_weight(*(each * counts / unit for each in (plain, other, wide)))  # [1, C, 1, 1]

    filtered = linear.prepare(pyramid.guidance, grid)
    out = signal.new_empty(1, signal.shape[1], *pyramid.size)
    at_once = max(1, memory // (6 * wide.itemsize * math.prod(pyramid.size)))  # channels, half of the memory
    for start in range(0, signal.shape[1], at_once):
        channels = slice(start, start + at_once)
        value, weight = wide[:, channels], weights[:, channels]
        begin = (1 - weight) * upsample(value)
        if bool((weight > 0).any()):
            begin = begin + weight * filtered.fit(value, valid, memory // 2)
        out[:, channels] = project(upsample, value, valid, begin)
    return out


def back_project(upsample: Mix, signal: Tensor, start: Tensor, steps: int, valid: Tensor | None = None) -> Tensor:
    """Add the upsampled differences of a signal from the cell means of `start` [1, C, H, W], `steps` times.

    Invalid cells, where `valid` [1, 1, h, w] is given, have no difference.
    """
    grid, out = (signal.shape[2], signal.shape[3]), start
    for _ in range(steps):
        lacking = signal - cell_means(out, grid)  # [1, C, h, w]
        out = out + upsample(lacking if valid is None else lacking * valid)
    return out


def back_project_probabilities(
    upsample: Mix, signal: Tensor, settings: PyramidBilateral, valid: Tensor | None = None
) -> Tensor:
    """Upsample probabilities [1, C, h, w] by their power mean, with back-projection of the roots.

    What is added at a step is the blend of what is lacking and of what was added before, as the plain step overshoots.
    Nothing is added to invalid cells, where `valid` [1, 1, h, w] is given.
    """
    grid, step = (signal.shape[2], signal.shape[3]), settings.back_projection_step
    mixed = to_roots(signal, settings.power, settings.min_probability)  # [1, C, h, w]
    added = torch.zeros_like(mixed)
    out = from_roots(upsample(mixed), settings.power)
    for _ in range(settings.back_projections):
        lacking = signal - cell_means(out, grid)  # [1, C, h, w]
        added = (1 - step) * added + step * (lacking if valid is None else lacking * valid)
        mixed = mixed + added
        del out  # before the next is made: it is as large as the result
        out = from_roots(upsample(mixed), settings.power)
    return out


def _best_weight(plain: Tensor, other: Tensor, truth: Tensor) -> Tensor:
    """Return the best weight in 0..1 of `other` in a blend with `plain`, by least squares, for each channel."""
    better = other - plain
    gain = ((truth - plain) * better).sum((2, 3), keepdim=True)
    return (gain / better.square().sum((2, 3), keepdim=True).clamp_min(1e-30)).clamp(0, 1)  # [1, C, 1, 1]
