"""Upsample measurements: area-averages over the cells of something with a value at each pixel, such as depth.

The result can be compared with the signal, and the difference added back (back-projection, Irani & Peleg 1991). It is
no convex mix of the signal then: it may overshoot, as what has these means over the cells must. Probabilities stay
probabilities. The range sigma is chosen by the signal: the one that restores it best from one scale further down.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omniup.mixing import cell_means
from omniup.upsamplers.guided_filter import GuidedFilter
from omniup.upsamplers.pyramid_bilateral.probabilities import from_roots, to_roots
from omniup.upsamplers.pyramid_bilateral.pyramid import Mix, Pixels, Pyramid, halved
from omniup.upsamplers.signal_types import are_probabilities

if TYPE_CHECKING:
    from omniup.upsamplers.pyramid_bilateral.method import PyramidBilateral


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
    grid, pixels = (signal.shape[2], signal.shape[3]), Pixels(memory)
    probabilities = are_probabilities(signal)[0]
    sigma_r, weights = _restore(pyramid, wide, settings, memory, valid, probabilities=probabilities)
    kernels = pyramid.kernels(pyramid.size, grid, settings.sigma, sigma_r)
    if probabilities:
        upsample = pixels.mix_repeatedly(kernels, wide, valid)
        return back_project_probabilities(upsample, wide, settings, valid).to(signal.dtype)

    filtered = GuidedFilter(settings.filter_radius, settings.filter_eps).prepare(pyramid.guidance, grid)
    out = signal.new_empty(1, signal.shape[1], *pyramid.size)
    at_once = max(1, memory // (6 * wide.itemsize * math.prod(pyramid.size)))  # channels, half of the memory
    upsample = pixels.mix_repeatedly(kernels, wide[:, :at_once], valid)
    for start in range(0, signal.shape[1], at_once):
        channels = slice(start, start + at_once)
        value, weight = wide[:, channels], weights[:, channels]
        begin = (1 - weight) * upsample(value)
        if bool((weight > 0).any()):
            begin = begin + weight * filtered.fit(value, valid, memory // 2)
        out[:, channels] = back_project(upsample, value, begin, settings.back_projections, valid)
    return out


def _restore(
    pyramid: Pyramid,
    signal: Tensor,
    settings: PyramidBilateral,
    memory: int,
    valid: Tensor | None,
    *,
    probabilities: bool,
) -> tuple[float, Tensor]:
    """Restore a signal [1, C, h, w] from a coarser one, to choose how it is upsampled.

    Returns:
        The range sigma that restores it best; and how much of each channel the guided filter's model should be,
        [1, C, 1, 1] in 0..1, 0 for probabilities.
    """
    coarse, coarse_valid = halved(signal, valid)  # [1, C, ⌈h/2⌉, ⌈w/2⌉]
    grid, coarse_grid = (signal.shape[2], signal.shape[3]), (coarse.shape[2], coarse.shape[3])
    counts = torch.ones_like(signal[:, :1]) if valid is None else valid.to(signal)  # [1, 1, h, w]
    unit = signal.detach().abs().amax().clamp_min(torch.finfo(signal.dtype).tiny)  # or squares would overflow
    pixels, steps = Pixels(memory), settings.back_projections
    trials: list[tuple[float, float, Tensor, Mix]] = []
    for candidate in range(settings.sigma_r_candidates):
        sigma_r = settings.sigma_r * 2**candidate
        kernels = pyramid.kernels(grid, coarse_grid, settings.sigma, sigma_r)
        mix = pixels.mix_repeatedly(kernels, coarse, coarse_valid)
        if probabilities:
            restored = back_project_probabilities(mix, coarse, settings, coarse_valid)
        else:
            restored = back_project(mix, coarse, mix(coarse), steps, coarse_valid)
        error = float(((restored - signal) * counts / unit).detach().square().mean())
        trials = [min([*trials, (error, sigma_r, restored, mix)], key=lambda trial: trial[0])]  # the best is enough
    _, sigma_r, plain, mix = trials[0]
    if probabilities:
        return sigma_r, torch.zeros_like(signal[:, :, :1, :1])
    linear = GuidedFilter(settings.filter_radius, settings.filter_eps).prepare(pyramid.average(grid), coarse_grid)
    modelled = linear.fit(coarse, coarse_valid, memory)
    other = back_project(mix, coarse, modelled, steps, coarse_valid)
    return sigma_r, _best_weight(*(each * counts / unit for each in (plain, other, signal)))


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
