"""Upsample coarse-to-fine by joint bilateral mixing: OmniUp's own method, and the default of `omniup.upsample`.

Nothing is fitted or trained. The same narrow Gaussian kernel stands at every cell, and signals pass through a pyramid
of ever finer grids, so that colours are compared with those of ever smaller cells (`pyramid.py`). What is mixed depends
on the signal type:

| type | how | file |
|---|---|---|
| features | denoised in feature space; bicubic interpolation plus what the mix adds to it | `features.py` |
| probabilities | power means, coarse-to-fine, averaged with a linear model; smoothed along edges | `probabilities.py` |
| measurement | a range sigma chosen by the signal, back-projection onto the cells' means | `measurements.py` |
| values, 0/1 maps of labels | mixed coarse-to-fine, and no more | `pyramid.py` |

docs/pyramid_bilateral.md says what each step is worth.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.mixing.residual import CUBIC
from omniup.mixing.windows import Rectangle
from omniup.upsamplers.base import PreparedImage, Upsampler, check_image
from omniup.upsamplers.checks import DEFAULT_MEMORY, ImageLike, Size, check_number, resize
from omniup.upsamplers.consistency import apply_by_rows, centred_logarithms
from omniup.upsamplers.domain_transform import smoothing_reach
from omniup.upsamplers.gaussian_kernels import SIGMA_R_RANGE, SIGMA_RANGE, Window
from omniup.upsamplers.local import Local, Statistics
from omniup.upsamplers.progress import ProgressLike
from omniup.upsamplers.pyramid_bilateral.features import FeatureStatistics, render_features
from omniup.upsamplers.pyramid_bilateral.measurements import MeasurementStatistics, render_measurement
from omniup.upsamplers.pyramid_bilateral.probabilities import ProbabilityStatistics, render_probabilities
from omniup.upsamplers.pyramid_bilateral.pyramid import AveragedPyramid, Pixels, Pyramid, finer_grid
from omniup.upsamplers.registry import register
from omniup.upsamplers.signal_types import SignalType

#: Cells beyond which all steps of back-projection together pass on less than 1e-9 of a measurement, and many 1e-6.
FADED = 8


@register(
    "pyramid_bilateral",
    "coarse-to-fine joint bilateral mixing, adapted to what the signal is; nothing is fitted",
    summary_zh="由粗到细的联合双边混合，按信号类型调整；不做拟合",
)
@dataclasses.dataclass(frozen=True)
class PyramidBilateral(Upsampler, Local):
    """Mixes signals coarse-to-fine with narrow joint bilateral kernels.

    Attributes:
        radius: of the disc of cells that a pixel draws from, in cells.
        sigma: width of the kernels in space, in cells.
        sigma_r: width of the range term, in OKLab with stretched chroma; of images without three channels, in guidance
            units.
        variance_weight: how much of a cell's variance of colour, the mean over the channels, is added to sigma_r².
        chroma: how much more a difference of hue or saturation counts than one of lightness.
        halvings: how often cells are halved, at most, before the last mix.
        detail: features: how much of what the mix owes to the image is added to bicubic interpolation.
        denoise: features: how far a cell moves to the mean of similar ones.
        denoise_radius: features: radius of the disc of cells that are compared, in cells.
        denoise_sigma: features: width of the Gaussian of distances in feature space, in root-mean-square distances of
            adjacent cells.
        power: probabilities: the inverse order of the power mean, a power of two.
        min_probability: probabilities: smaller ones are taken for it, since the root is infinitely steep at 0.
        first_sigma: probabilities: a factor on `sigma` in the first mix.
        resolved_pixels: probabilities: cells of so many pixels are never finer than what a network resolves.
        filter_weight: probabilities: weight in 0..1 of a linear model in the colours, in the mean of the logarithms.
        geodesic_sigma: probabilities: how far their logarithms are averaged along paths that cross no edge, in cells;
            0 for not at all.
        geodesic_sigma_r: likewise: σ_r of the domain transform, in guidance units, summed over the channels.
        back_projections: measurement: how often the difference from the cells' means is added back.
        back_projection_step: measurement of probabilities: the step size of these additions, with as much momentum.
        sigma_r_candidates: measurement: how many range sigmas are tried, each twice the one before.
        filter_radius: probabilities and measurement: radius of the guided filter that takes part, in cells.
        filter_eps: likewise: its regularisation.
    """

    radius: int = 2
    sigma: float = 0.7
    sigma_r: float = 0.025
    variance_weight: float = 0.3
    chroma: float = 3.0
    halvings: int = 2
    detail: float = 1.0
    denoise: float = 0.35
    denoise_radius: int = 4
    denoise_sigma: float = 0.4
    power: int = 8
    min_probability: float = 1e-6
    first_sigma: float = 0.65
    resolved_pixels: float = 12.0
    filter_weight: float = 0.5
    geodesic_sigma: float = 2.0
    geodesic_sigma_r: float = 0.0625
    back_projections: int = 5
    back_projection_step: float = 0.5
    sigma_r_candidates: int = 5
    filter_radius: int = 2
    filter_eps: float = 1e-3

    def __post_init__(self) -> None:
        check_number("radius", self.radius, 0, 16, whole=True)
        check_number("sigma", self.sigma, *SIGMA_RANGE)
        check_number("sigma_r", self.sigma_r, *SIGMA_R_RANGE)
        check_number("variance_weight", self.variance_weight, 0, 1e6)
        check_number("chroma", self.chroma, 0, 100)
        check_number("halvings", self.halvings, 0, 8, whole=True)
        check_number("detail", self.detail, 0, 10)
        check_number("denoise", self.denoise, 0, 1)
        check_number("denoise_radius", self.denoise_radius, 0, 16, whole=True)
        check_number("denoise_sigma", self.denoise_sigma, 1e-3, 1e3)
        check_number("power", self.power, 1, 64, whole=True)
        if self.power & (self.power - 1):
            raise InputError("power", "is {value}", "1, 2, 4, 8, 16, 32 and 64", value=self.power)
        check_number("min_probability", self.min_probability, 1e-12, 0.1)
        check_number("first_sigma", self.first_sigma, 0.01, 100)
        check_number("resolved_pixels", self.resolved_pixels, 0.01, 1e6)
        check_number("filter_weight", self.filter_weight, 0, 1)
        check_number("geodesic_sigma", self.geodesic_sigma, 0, 1e4)
        check_number("geodesic_sigma_r", self.geodesic_sigma_r, *SIGMA_R_RANGE)
        check_number("back_projections", self.back_projections, 0, 100, whole=True)
        check_number("back_projection_step", self.back_projection_step, 0, 1)
        check_number("sigma_r_candidates", self.sigma_r_candidates, 1, 16, whole=True)
        check_number("filter_radius", self.filter_radius, 1, 64, whole=True)
        check_number("filter_eps", self.filter_eps, 1e-10, 1e4)

    def render_cost(self, size: Size, grid: Size, signal_type: str) -> int:
        """Estimate the work of all mixes: see `Upsampler.render_cost`.

        Of probabilities whose borders are not sharp it is a little more. `cost` is 0: the image is only averaged.
        """
        window, mixes = Window("disc", self.radius), 1 + self.back_projections
        if signal_type == "measurement":
            coarse = -(-grid[0] // 2), -(-grid[1] // 2)
            trials = self.sigma_r_candidates * mixes * window.pairs(grid, coarse)
            return trials + mixes * window.pairs(size, grid)
        pairs, coarser = 0, grid
        for _ in range(self.halvings):
            if (finer := finer_grid(size, coarser)) is None:
                break
            pairs, coarser = pairs + window.pairs(finer, coarser), finer
        return pairs + window.pairs(size, coarser)

    def reach(self, signal_type: SignalType) -> int:
        """Return how many cells around that of a pixel its result depends on: see `Local.reach`."""
        chain = self.radius  # from the last stage to the first: a cell lies in one of twice its sides
        for _ in range(self.halvings):
            chain = -(-chain // 2) + self.radius
        model = 2 * self.filter_radius + 1  # two means over windows, and bilinear interpolation
        if signal_type in ("features", "directions"):
            return chain + CUBIC  # the spline through what the means of the mix lack
        if signal_type == "probabilities":
            return max(chain, model + CUBIC) + math.ceil(smoothing_reach(self.geodesic_sigma))
        if signal_type == "measurement":
            return max(model, self.radius) + min(self.back_projections * max(self.radius, CUBIC), FADED)
        return chain

    def averages(self, signal_type: SignalType, grid: Size) -> tuple[Size, ...]:
        """Return the grids over which `statistics` need the picture averaged: see `Local.averages`."""
        if signal_type not in ("measurement", "probabilities"):
            return ()
        grids = [grid]
        for _ in range(max(1, self.halvings - 1) if signal_type == "probabilities" else 1):
            grids.append((-(-grids[-1][0] // 2), -(-grids[-1][1] // 2)))  # as `halved` makes them
        return tuple(grids)

    def statistics(
        self,
        signal: Tensor,
        signal_type: SignalType,
        valid: Tensor | None,
        averages: Mapping[Size, Tensor],
        size: Size,
        memory: int,
    ) -> Statistics | None:
        """Compute what results take from the whole of a signal: see `Local.statistics`."""
        if signal_type == "features":
            wide = signal.to(torch.promote_types(signal.dtype, torch.float32))
            return FeatureStatistics.of(wide, self, memory, valid)
        if signal_type not in ("measurement", "probabilities"):
            return None
        pyramid = AveragedPyramid(averages, size, self.radius, self.variance_weight, self.chroma, self.halvings)
        if signal_type == "measurement":
            wide = signal.to(torch.promote_types(signal.dtype, pyramid.guidance.dtype))
            return MeasurementStatistics.of(pyramid, wide, self, memory, valid)
        wide = signal.to(torch.promote_types(signal.dtype, torch.float32))
        cell_side = math.sqrt(math.prod(size) / math.prod(signal.shape[2:]))
        return ProbabilityStatistics.of(pyramid, wide, self, cell_side, memory, valid)

    def prepare(
        self,
        image: ImageLike,
        grid: Size,
        size: Size | None = None,
        *,
        progress: ProgressLike = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> PreparedPyramid:
        """Build the image's pyramid, and the kernels from each grid to the next; see `Upsampler`."""
        guidance, size = check_image(image, grid, size)
        grid = grid[0], grid[1]
        cell_side = math.sqrt(math.prod(guidance.shape[2:]) / math.prod(grid))  # in pixels of the image as given
        pyramids = []
        for one in resize(guidance, size).split(1):
            pyramid = Pyramid(one, self.radius, self.variance_weight, self.chroma, self.halvings)
            pyramid.coarse_to_fine(grid, self.sigma, self.sigma_r)
            pyramids.append(pyramid)
        return PreparedPyramid(self, tuple(pyramids), grid, cell_side)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PreparedPyramid(PreparedImage):
    """Render signals through the pyramids of images.

    Attributes:
        method: its numbers.
        pyramids: one for each image.
        grid: (h, w) of the signals, in cells.
        cell_side: of a cell, in pixels of the image as it was given.
        whole: statistics of the signal that what is rendered is a part of; None for those of its own.
    """

    method: PyramidBilateral
    pyramids: tuple[Pyramid, ...]
    grid: Size
    cell_side: float
    whole: Statistics | None = None

    @property
    def batch(self) -> int:
        """Number of prepared images."""
        return len(self.pyramids)

    @property
    def size(self) -> Size:
        """Size (H, W), in pixels."""
        return self.pyramids[0].size

    def only(self, image: int) -> PreparedPyramid:
        """Return one image of the batch."""
        return dataclasses.replace(self, pyramids=self.pyramids[image : image + 1])

    def _given(self, statistics: Statistics | None) -> PreparedPyramid:
        return dataclasses.replace(self, whole=statistics)

    @property
    def _radius(self) -> int:
        return self.method.radius

    def _concentration(self, valid: Tensor | None, memory: int) -> Tensor:
        """Compute the concentration of a single mix from the grid to the pixels: see `GaussianKernels`."""
        results = []
        for n, pyramid in enumerate(self.pyramids):
            kernels = pyramid.kernels(self.size, self.grid, self.method.sigma, self.method.sigma_r)
            mask = valid if valid is None or self.batch == 1 else valid[n : n + 1]
            results.append(kernels.confidence(valid=mask, memory=memory))
        return torch.cat(results)

    def _render(self, signal: Tensor, types: tuple[SignalType, ...], memory: int, out: Tensor | None = None) -> Tensor:
        if out is not None and set(types) == {"features"} and out.is_contiguous():
            for n, value in enumerate(signal.split(1)):
                self._one(n, value, "features", Pixels(memory), out=out[n : n + 1])
            return out
        results = [self._one(n, value, types[n], Pixels(memory)) for n, value in enumerate(signal.split(1))]
        return torch.cat(results) if len(results) > 1 else results[0]  # one alone may be as large as the memory

    def _render_valid(self, signal: Tensor, valid: Tensor, types: tuple[SignalType, ...], memory: int) -> Tensor:
        pairs = enumerate(zip(signal.split(1), valid.split(1), strict=True))
        return torch.cat([self._one(n, value, types[n], Pixels(memory), mask) for n, (value, mask) in pairs])

    def _render_inside(
        self, signal: Tensor, types: tuple[SignalType, ...], valid: Tensor | None, inside: Rectangle, memory: int
    ) -> Tensor:
        if types == ("features",):
            return self._one(0, signal, "features", Pixels(memory, inside=inside), valid)
        return super()._render_inside(signal, types, valid, inside, memory)

    def _render_logarithms(self, signal: Tensor, valid: Tensor | None, memory: int) -> Tensor:
        types = cast("tuple[SignalType, ...]", ("probabilities",) * len(signal))
        return apply_by_rows(centred_logarithms, self._render_cells(signal, types, valid, memory), memory)

    def _render_at(self, signal: Tensor, points: Tensor, types: tuple[SignalType, ...], memory: int) -> Tensor:
        if "measurement" in types or "probabilities" in types:  # whose means over cells need all pixels
            return super()._render_at(signal, points, types, memory)
        each = enumerate(signal.split(1))
        return torch.cat([self._one(n, value, types[n], Pixels(memory, points[n : n + 1])) for n, value in each])

    def _one(
        self,
        n: int,
        signal: Tensor,
        signal_type: SignalType,
        pixels: Pixels,
        valid: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Upsample the n-th signal [1, C, h, w] at pixels: [1, C, ...]; features write it to `out`, if given."""
        settings, pyramid = self.method, self.pyramids[n if self.batch > 1 else 0]
        whole: Any = self.whole  # of the signal's type
        if signal_type == "measurement":
            return render_measurement(pyramid, signal, settings, pixels.memory, valid, whole)
        if signal_type == "probabilities":
            return render_probabilities(pyramid, signal, settings, self.cell_side, pixels.memory, valid, whole)
        stages = pyramid.coarse_to_fine(self.grid, settings.sigma, settings.sigma_r)
        if signal_type == "features":
            return render_features(stages, signal, settings, pixels, valid, out, whole)
        return pixels.mix_through(stages, signal, valid)
