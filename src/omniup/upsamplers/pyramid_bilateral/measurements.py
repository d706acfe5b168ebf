"""Upsample measurements: area-averages over the cells of something with a value at each pixel, such as depth.

The result can be compared with the signal, and the difference added back (back-projection, Irani & Peleg 1991). It is
no convex mix of the signal then: it may overshoot, as what has these means over the cells must. Probabilities stay
probabilities. The range sigma is chosen by the signal: the one that restores it best from one scale further down.
"""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omniup.mixing import cell_means, interpolate
from omniup.mixing.sums import Interpolation
from omniup.mixing.taps import Taps
from omniup.upsamplers.checks import Size
from omniup.upsamplers.consistency import accumulate, cubic_means
from omniup.upsamplers.guided_filter import GuidedFilter, PreparedGuidedFilter
from omniup.upsamplers.pyramid_bilateral.detail import TREND_CELLS, detail_weights, fade, fade_by_octaves, trend
from omniup.upsamplers.pyramid_bilateral.features import CACHED
from omniup.upsamplers.pyramid_bilateral.probabilities import from_roots, to_roots
from omniup.upsamplers.pyramid_bilateral.pyramid import Mix, Pixels, Pyramid, RepeatedMix, halved
from omniup.upsamplers.signal_types import are_probabilities

if TYPE_CHECKING:
    from omniup.upsamplers.pyramid_bilateral.method import PyramidBilateral

#: Cells along each side, below which guidance has no say.
SMALLEST_GRID = 4

#: So few channels are added up map by map: making one product of the maps costs more.
FEW = 24

#: Maps of the grid's size that a channel takes.
CELL_MAPS = 40


@dataclasses.dataclass(frozen=True, eq=False)
class MeasurementStatistics:
    """Statistics of a whole signal that the measurements of its parts need.

    Attributes:
        sigma_r: the range sigma; None where the signal is interpolated alone.
        weights: of mix and model, and by how much their octaves fade, [1, C, 1, 1] each; None of probabilities, and
            where the signal is interpolated alone.
    """

    sigma_r: float | None = None
    weights: tuple[Tensor, Tensor, Tensor] | None = None

    @classmethod
    def of(
        cls, pyramid: Pyramid, signal: Tensor, settings: PyramidBilateral, memory: int, valid: Tensor | None
    ) -> MeasurementStatistics:
        """Compute them: arguments as `render_measurement`, but for a signal in the type to compute in."""
        if are_probabilities(signal)[0]:
            return cls(_fractions_sigma(pyramid, signal, settings, memory, valid))
        if min(signal.shape[2:]) < SMALLEST_GRID:
            return cls()
        sigma_r, *weights = _weigh(pyramid, signal, settings, memory, valid)
        return cls(sigma_r, (weights[0], weights[1], weights[2]))

    def part(self, rows: slice, columns: slice) -> MeasurementStatistics:
        """Return the same: there are no maps of cells."""
        return self


def render_measurement(
    pyramid: Pyramid,
    signal: Tensor,
    settings: PyramidBilateral,
    memory: int,
    valid: Tensor | None = None,
    statistics: MeasurementStatistics | None = None,
) -> Tensor:
    """Upsample means over cells: interpolation plus the detail of the guidance, as far as the signal confirms it.

    Guidance and signal are averaged over twice as large cells, and upsampled with each range sigma: the one that
    restores the signal best is taken. How much the mix with it, and a linear model of the signal in the colours
    (`GuidedFilter`), add to bicubic interpolation is found in the same way, for each channel (`detail.py`); grids of
    less than four cells along a side are interpolated.

    Args:
        pyramid: of the image.
        signal: [1, C, h, w].
        settings: the method's numbers.
        memory: bytes of working memory.
        valid: boolean [1, 1, h, w], the cells that count; None for all.
        statistics: of the whole signal, where this is a part of it.

    Returns:
        [1, C, H, W], in the signal's dtype.
    """
    wide = signal.to(torch.promote_types(signal.dtype, pyramid.guidance.dtype))  # [1, C, h, w]
    grid = signal.shape[2], signal.shape[3]
    whole = statistics or MeasurementStatistics.of(pyramid, wide, settings, memory, valid)
    if whole.sigma_r is None:
        return spline(wide, pyramid.size, settings.back_projections, valid).to(signal.dtype)
    if whole.weights is None:
        kernels = pyramid.kernels(pyramid.size, grid, settings.sigma, whole.sigma_r)
        mix = Pixels(memory).mix_repeatedly(kernels, wide, valid)
        return back_project_probabilities(mix, wide, settings, valid).to(signal.dtype)
    sigma_r, (first, second, ratio) = whole.sigma_r, whole.weights
    # The mix of all channels becomes the result in place; where it cannot, some channels are rendered at a time.
    maps = 0 if valid is None and wide.dtype == signal.dtype else 4 * math.prod(pyramid.size)
    at_once = max(1, memory // (2 * wide.itemsize * (maps + CELL_MAPS * math.prod(grid))))  # channels
    scale = _Scale.of(pyramid, pyramid.size, wide[:, :at_once], valid, settings, sigma_r, memory // 2)
    if at_once >= signal.shape[1]:
        return scale.render(wide, first, second, ratio).to(signal.dtype)
    out = signal.new_empty(1, signal.shape[1], *pyramid.size)
    for start in range(0, signal.shape[1], at_once):
        channels = slice(start, start + at_once)
        out[:, channels] = scale.render(*(each[:, channels] for each in (wide, first, second, ratio)))
    return out


def _fractions_sigma(
    pyramid: Pyramid, signal: Tensor, settings: PyramidBilateral, memory: int, valid: Tensor | None
) -> float:
    """Find the range sigma that restores means over cells of classes' 0/1 maps, which are probabilities, best."""
    grid, pixels = (signal.shape[2], signal.shape[3]), Pixels(memory)
    coarse, coarse_valid = halved(signal, valid)  # [1, C, ⌈h/2⌉, ⌈w/2⌉]
    counts = _counts(signal, valid)

    def error(sigma_r: float) -> float:
        kernels = pyramid.kernels(grid, (coarse.shape[2], coarse.shape[3]), settings.sigma, sigma_r)
        mix = pixels.mix_repeatedly(kernels, coarse, coarse_valid)
        restored = back_project_probabilities(mix, coarse, settings, coarse_valid)
        return float(((restored - signal) * counts).detach().square().mean())

    return min(_range_sigmas(settings), key=error)


def _weigh(
    pyramid: Pyramid, signal: Tensor, settings: PyramidBilateral, memory: int, valid: Tensor | None
) -> tuple[float, Tensor, Tensor, Tensor]:
    """Find the range sigma, the weights of mix and model, and by how much their octaves fade: [1, C, 1, 1] each."""
    signal = signal / signal.detach().abs().amax().clamp_min(torch.finfo(signal.dtype).tiny)  # squares would overflow
    grid, counts = (signal.shape[2], signal.shape[3]), _counts(signal, valid)
    coarse, coarse_valid = halved(signal, valid)  # [1, C, ⌈h/2⌉, ⌈w/2⌉]
    best: tuple[float, float, Tensor, _Scale] | None = None
    for sigma_r in _range_sigmas(settings):
        scale = _Scale.of(pyramid, grid, coarse, coarse_valid, settings, sigma_r, memory)
        restored = scale.mixed(coarse)
        error = float(((restored - signal) * counts).detach().square().mean())
        if best is None or error < best[0]:
            best = error, sigma_r, restored, scale
    assert best is not None  # there is a candidate
    _, sigma_r, restored, scale = best
    base = interpolate(scale.spline(coarse), grid, "bicubic")
    residual, details = signal - base, (restored - base, scale.modelled(coarse) - base)
    first, second = detail_weights(*details, residual, counts)
    if coarse.shape[2] * coarse.shape[3] < TREND_CELLS:
        return sigma_r, first, second, torch.ones_like(first)
    coarsest, coarsest_valid = halved(coarse, coarse_valid)
    coarse_grid, coarse_counts = (coarse.shape[2], coarse.shape[3]), _counts(coarse, coarse_valid)
    scale = _Scale.of(pyramid, coarse_grid, coarsest, coarsest_valid, settings, sigma_r, memory)
    cubic, (cells, *model) = scale.spline(coarsest), scale.blend(coarsest, first, second)
    detail = scale.add_up(cells, -(first + second) * cubic, *model)
    rest = residual - first * details[0] - second * details[1]
    coarse_residual = coarse - interpolate(cubic, coarse_grid, "bicubic")
    ratio = trend(detail, coarse_residual, residual, rest, coarse_counts, counts)
    return sigma_r, first, second, ratio


@dataclasses.dataclass(frozen=True, eq=False)
class _Scale:
    """The ways in which guidance upsamples a measurement to one size, back-projected by the mix.

    All are linear in the cells, so that the steps of back-projection take place on the grid.

    Attributes:
        pyramid: of the image.
        size: (H, W).
        grid: (h, w).
        mix: joint bilateral mixing of valid cells [1, C, h, w] to [1, C, H, W].
        valid: boolean [1, 1, h, w], the cells that count; None for all.
        settings: the method's numbers.
        memory: bytes of working memory.
    """

    pyramid: Pyramid
    size: Size
    grid: Size
    mix: RepeatedMix
    valid: Tensor | None
    settings: PyramidBilateral
    memory: int

    @classmethod
    def of(
        cls,
        pyramid: Pyramid,
        size: Size,
        like: Tensor,
        valid: Tensor | None,
        settings: PyramidBilateral,
        sigma_r: float,
        memory: int,
    ) -> _Scale:
        """Make the kernels with a range sigma, for signals like [1, C, h, w]."""
        grid = like.shape[2], like.shape[3]
        kernels = pyramid.kernels(size, grid, settings.sigma, sigma_r)
        return cls(pyramid, size, grid, Pixels(memory).mix_repeatedly(kernels, like, valid), valid, settings, memory)

    def spline(self, signal: Tensor) -> Tensor:
        """Back-project bicubic interpolation: cells [1, C, h, w] to those that are interpolated."""
        return spline_cells(signal, self.size, self.settings.back_projections, self.valid)

    def mixed(self, signal: Tensor) -> Tensor:
        """Mix cells [1, C, h, w], back-projected: [1, C, H, W]."""
        return self._project(signal, self.mix(signal))

    def modelled(self, signal: Tensor) -> Tensor:
        """Fit a linear model in the colours, and mix what it leaves: [1, C, h, w] to [1, C, H, W]."""
        return self._project(signal, self._model.apply(self._model.coefficients(signal)))

    def render(self, signal: Tensor, first: Tensor, second: Tensor, ratio: Tensor) -> Tensor:
        """Upsample cells: interpolation plus detail, which fades from octave to octave.

        Args:
            signal: [1, C, h, w].
            first: [1, C, 1, 1], the weight of `mixed`.
            second: likewise, of `modelled`.
            ratio: likewise, by which the octaves fade.

        Returns:
            [1, C, H, W].
        """
        if self.valid is not None:  # the image knows more of holes than the nearest cell
            signal = torch.where(self.valid, signal, self.mix.means(signal))
        cubic, (cells, *model) = self.spline(signal), self.blend(signal, first, second)
        coarse, fading = (first + second) * cubic, fade_by_octaves(ratio, self.grid, self.size)
        # Where no octave fades by itself, all is linear in the cells, and so are the means over them that go.
        means = self.mix.means(cells) + (self._model.means(*model) if model else 0)
        means = means + coarse - cubic_means(self.grid, self.size)(coarse)
        kept = torch.where(fading, 1, ratio)
        smooth = torch.where(fading, -coarse, cubic - ratio * means)
        out = self.add_up(kept * cells, smooth, *(kept.unsqueeze(2) * each for each in model))
        these, at_once = fading.flatten().nonzero()[:, 0], self._at_once(out)
        for start in range(0, len(these), at_once):
            channels = these[start : start + at_once]
            faded = fade(out[:, channels], ratio[:, channels], self.grid, cubic[:, channels])
            out.index_copy_(1, channels, faded)
        return out

    def blend(self, signal: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        """Find what the weighted sum of `mixed` and `modelled` is made of: arguments as `render`.

        Returns:
            The cells to be mixed, [1, C, h, w], and the model's coefficients, if it has any weight.
        """
        cells, means, model = first * signal, self.mix.means(first * signal), []
        if bool((second > 0).any()):
            model = [second.unsqueeze(2) * self._model.coefficients(signal)]  # [1, C, G + 1, h, w]
            means = means + self._model.means(*model)
        lacking = (first + second) * signal - means
        return cells + accumulate(lacking, self.mix.means, self.settings.back_projections, self.valid), *model

    def add_up(self, cells: Tensor, cubic: Tensor, *model: Tensor) -> Tensor:
        """Add interpolated cells [1, C, h, w] and the model, if any, to a mix of cells likewise: [1, C, H, W]."""
        wanted = torch.is_grad_enabled() and (cells.requires_grad or self.mix.kernels.guidance.requires_grad)
        if not wanted and cells.shape[1] > FEW:
            spline = Interpolation(Taps.interpolation(self.size, self.grid, "bicubic"))
            terms = [(spline, cubic), *((self._model.interpolation, each) for each in model)]
            out = cells.new_zeros(*cells.shape[:2], *self.size)  # pages come sooner so, as in `render_features`
            self.mix.write_sum(cells, terms, out)
            return out
        out = self.mix(cells)
        at_once = cells.shape[1] if wanted else self._at_once(out)
        for start in range(0, cells.shape[1], at_once):
            channels = slice(start, start + at_once)
            out[:, channels] += interpolate(cubic[:, channels], self.size, "bicubic")
            for each in model:
                out[:, channels] += self._model.apply(each[:, channels])
        return out

    def _at_once(self, maps: Tensor) -> int:
        """Return how many channels of maps [1, C, H, W] the memory and the cache hold a few times."""
        return max(1, min(self.memory, CACHED) // (4 * maps[:, :1].nbytes))

    @cached_property  # once for all channels, and not where the mix alone is tried
    def _model(self) -> PreparedGuidedFilter:
        model = GuidedFilter(self.settings.filter_radius, self.settings.filter_eps)
        return model.prepare(self.pyramid.average(self.size), self.grid).masked(self.valid)

    def _project(self, signal: Tensor, start: Tensor) -> Tensor:
        return back_project(self.mix, signal, start, self.settings.back_projections, self.valid, self.mix.means)


def spline_cells(signal: Tensor, size: Size, steps: int, valid: Tensor | None = None) -> Tensor:
    """Return the cells [1, C, h, w] whose bicubic interpolation is the back-projected one of a signal's."""
    means = cubic_means((signal.shape[2], signal.shape[3]), size)
    return signal + accumulate(signal - means(signal), means, steps, valid)


def spline(signal: Tensor, size: Size, steps: int, valid: Tensor | None = None) -> Tensor:
    """Interpolate a measurement [1, C, h, w] by cubic polynomials, back-projected `steps` times: [1, C, H, W].

    Invalid cells, where `valid` [1, 1, h, w] is given, hold the nearest valid one's value.
    """
    return interpolate(spline_cells(signal, size, steps, valid), size, "bicubic")


def back_project(
    upsample: Mix, signal: Tensor, start: Tensor, steps: int, valid: Tensor | None = None, means: Mix | None = None
) -> Tensor:
    """Add the upsampled differences of a signal from the cell means of `start`, `steps` times, in one upsampling.

    Args:
        upsample: linear, [1, C, h, w] to [1, C, H, W].
        signal: [1, C, h, w].
        start: [1, C, H, W].
        steps: how many.
        valid: boolean [1, 1, h, w]: other cells have no difference; None for all.
        means: the cell means of what is upsampled, [1, C, h, w] to the same shape; None if only upsampling gives them.
    """
    grid = signal.shape[2], signal.shape[3]
    means = means or (lambda cells: cell_means(upsample(cells), grid))
    return start + upsample(accumulate(signal - cell_means(start, grid), means, steps, valid))


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


def _range_sigmas(settings: PyramidBilateral) -> list[float]:
    return [settings.sigma_r * 2**n for n in range(settings.sigma_r_candidates)]


def _counts(signal: Tensor, valid: Tensor | None) -> Tensor:
    """Return 1 in valid cells, else 0: [1, 1, h, w] of a signal [1, C, h, w]."""
    return torch.ones_like(signal[:, :1]) if valid is None else valid.to(signal)
