"""Build the pyramid of an image for coarse-to-fine mixing, and the kernels from each grid to the next.

Coarse-to-fine: from a grid to one of half the cells' size, to one of a quarter, and to the pixels. Colours are compared
with those of ever smaller cells, which are less often mixtures of two things. Every stage is a joint bilateral mix with

    σ_r,q² = σ_r² + a Var_q

where Var_q is the variance of colour within cell q: a cell that is a mixture is less strict about colours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TypeAlias

import torch
from torch import Tensor

from omniup.mixing import cell_means, cell_variances
from omniup.mixing.dtypes import compute_dtype, exact_products
from omniup.mixing.kept import KeptWeights
from omniup.mixing.residual import ALL, drawn_from, write_residual_mix
from omniup.mixing.sums import Interpolation, Sum, table_of
from omniup.mixing.windows import Rectangle, within
from omniup.upsamplers.checks import Size
from omniup.upsamplers.gaussian_kernels import SIGMA_R_RANGE, SIGMA_RANGE, GaussianKernels, Window
from omniup.upsamplers.holes import fill_nearest, mix_valid, valid_cell_means

# Linear RGB to the responses of three cones, and their cube roots to lightness, green-red, blue-yellow
# (B. Ottosson, "A perceptual color space for image processing", 2020).
_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)

#: Bytes of an image whose colours are converted at once: more leave the cache.
CACHED = 2**21

Stages: TypeAlias = "tuple[GaussianKernels, ...]"
"""Kernels from each grid to the next, the last ones to the pixels."""

Mix: TypeAlias = Callable[[Tensor], Tensor]
"""Upsamples [1, C, h, w] to [1, C, H, W], linearly and each channel independently."""


@dataclasses.dataclass(frozen=True)
class Pixels:
    """The pixels at which a signal is wanted: all, points or a rectangle; and the memory for it.

    Attributes:
        memory: bytes of working memory.
        points: [1, P, 2], whole numbers, (y, x); None for all pixels.
        inside: rows and columns of features that are wanted, whatever is mixed around them; None for all.
    """

    memory: int
    points: Tensor | None = None
    inside: Rectangle | None = None

    def mix(self, kernels: GaussianKernels, signal: Tensor, valid: Tensor | None = None) -> Tensor:
        """Mix a signal [1, C, h, w], its valid cells: [1, C, H, W], or [1, C, P] of a signal without a mask."""
        if self.points is None:
            return mix_valid(partial(kernels.mix, memory=self._scratch), signal, valid)
        return kernels.mix_at(signal, self.points, self._scratch)

    def mix_repeatedly(self, kernels: GaussianKernels, like: Tensor, valid: Tensor | None = None) -> RepeatedMix:
        """Return how to mix signals like [1, C, h, w], their valid cells, at all pixels.

        Where no gradient is wanted and a quarter of the memory suffices, the kernels' weights are computed once.
        """
        kept = None
        if not (torch.is_grad_enabled() and (like.requires_grad or kernels.guidance.requires_grad)):
            with_mask = like if valid is None else torch.cat([like, like[:, :1]], dim=1)
            kept = kernels.keep(with_mask, self._scratch, self.memory // 4)
        return RepeatedMix(kernels, kept, valid, self._scratch)

    def mix_residual(
        self,
        kernels: GaussianKernels,
        signal: Tensor,
        base: Tensor,
        amount: float,
        bounds: tuple[Tensor, Tensor],
        out: Tensor | None,
        dtype: torch.dtype,
    ) -> Tensor:
        """Do what `write_residual_mix` does of a signal [1, C, h, w]; not differentiable.

        Returns:
            `out`, or without one a new tensor of a type: [1, C, H, W], or the rectangle that is wanted.
        """
        attention = kernels.attention(self._scratch)
        near, (height, width) = ALL, kernels.size
        if self.inside is not None:
            near = drawn_from(self.inside, attention.windows, (base.shape[2], base.shape[3]))
            height, width = (each.stop - each.start for each in near)
        if out is None:
            # Not `new_empty`: pages that are first touched in their order come twice as fast as in that of the groups.
            out = signal.new_zeros(1, signal.shape[1], height, width, dtype=dtype)
        write_residual_mix(attention, kernels.guidance, signal, base, amount, bounds, out, near)
        if self.inside is None:
            return out
        rows, columns = within(self.inside, near)
        return out[:, :, rows, columns]

    @property
    def _scratch(self) -> int:
        """Bytes for a mix: a quarter, but all of very little, as errors then name the caller's number."""
        return max(self.memory // 4, min(self.memory, 2**16))

    def mix_through(self, stages: Stages, signal: Tensor, valid: Tensor | None = None) -> Tensor:
        """Mix a signal [1, C, h, w] stage by stage, linearly, each channel independently.

        The first stage leaves invalid cells out; what it gives is valid everywhere.
        """
        for kernels in stages[:-1]:
            signal, valid = Pixels(self.memory).mix(kernels, signal, valid), None
        return self.mix(stages[-1], signal, valid)


@dataclasses.dataclass(frozen=True, eq=False)
class RepeatedMix:
    """A mix of several signals at all pixels by the same kernels.

    Attributes:
        kernels: of one image.
        kept: their weights; None where they are computed for each signal anew.
        valid: boolean [1, 1, h, w], the cells that count; None for all.
        memory: bytes of working memory.
    """

    kernels: GaussianKernels
    kept: KeptWeights | None
    valid: Tensor | None
    memory: int

    def __call__(self, signal: Tensor) -> Tensor:
        """Mix a signal [1, C, h, w]: [1, C, H, W]."""
        mix = partial(self.kernels.mix, memory=self.memory) if self.kept is None else self.kept.mix
        return mix_valid(mix, signal, self.valid)

    @torch.no_grad()
    def write_sum(self, signal: Tensor, terms: Sequence[tuple[Interpolation, Tensor]], out: Tensor) -> None:
        """Write the mix of a signal [1, C, h, w] and what is interpolated of maps [1, C, ...] to `out` [1, C, H, W]."""
        attention = self.kernels.attention(self.memory)
        tiles = attention.tiles(self.kernels.guidance, signal) if self.kept is None else self.kept.tiles
        maps, dtype = [signal[0]], compute_dtype(self.kernels.guidance, attention.key, signal)
        maps += [each[0] for _, each in terms]
        total = Sum(table_of(maps, dtype), [interpolation for interpolation, _ in terms])
        with exact_products(signal.device):
            for tile in tiles:
                total.write(tile.masked(self.valid, attention.windows), attention.windows, out)

    @cached_property
    def means(self) -> Mix:
        """Stencil from a signal to the cell means of its mix, without mixing: [1, C, h, w] to the same shape."""
        return self.kernels.averaged(self.memory, self.kept, self.valid)


class Pyramid:
    """An image at the resolutions of a coarse-to-fine upsampling, each computed once.

    Args:
        guidance: [1, G, H, W].
        radius: of the kernels' disc, in cells.
        variance_weight: of the variance within a cell, in σ_r,q².
        chroma: how much the chroma of OKLab is stretched.
        halvings: how often cells are halved, at most.
    """

    def __init__(self, guidance: Tensor, radius: int, variance_weight: float, chroma: float, halvings: int) -> None:
        self.guidance = guidance.contiguous()  # sums in another order have other digits
        self.size: Size = (guidance.shape[2], guidance.shape[3])
        self.halvings = halvings
        self._window = Window("disc", radius)
        self._variance_weight, self._chroma = variance_weight, chroma
        self._colours: dict[Size, Tensor] = {}
        self._cells: dict[tuple[Size, Size], tuple[Tensor, Tensor]] = {}

    def coarse_to_fine(self, grid: Size, sigma: float, sigma_r: float) -> Stages:
        """Return the kernels from a grid to ever finer ones and at last to the pixels."""
        stages = []
        for _ in range(self.halvings):
            if (finer := self.finer(grid)) is None:
                break
            stages.append(self.kernels(finer, grid, sigma, sigma_r))
            grid = finer
        return (*stages, self.kernels(self.size, grid, sigma, sigma_r))

    def finer(self, grid: Size) -> Size | None:
        """Return the grid of cells half as large; None where they would have less than two pixels."""
        return finer_grid(self.size, grid)

    @torch.inference_mode(False)  # what is kept serves later calls too, which may want gradients
    def kernels(self, size: Size, grid: Size, sigma: float, sigma_r: float) -> GaussianKernels:
        """Return joint bilateral kernels.

        Args:
            size: (H, W) of what they render: that of the image, or of a coarser one.
            grid: (h, w) of what they mix.
            sigma: width in space, in cells.
            sigma_r: width of the range term in a cell without variance.
        """
        colours = self._level(size)
        if (size, grid) not in self._cells:
            self._cells[size, grid] = _means_and_spread(colours, grid)
        means, spread = self._cells[size, grid]
        sigma_y, sigma_x = (max(sigma * side / cells, SIGMA_RANGE[0]) for side, cells in zip(size, grid, strict=True))
        width = (min(sigma_r, SIGMA_R_RANGE[1]) ** 2 + self._variance_weight * spread).sqrt().to(colours)
        x_map, y_map, theta = (torch.full_like(width, value) for value in (sigma_x, sigma_y, 0.0))
        return GaussianKernels(x_map, y_map, theta, width, colours, means, self._window)

    def average(self, grid: Size) -> Tensor:
        """Return the area-averages of the guidance over a grid, kept in 0..1 against rounding: [1, G, h, w]."""
        return self.guidance if grid == self.size else cell_means(self.guidance, grid).clamp_(0, 1)

    def _level(self, size: Size) -> Tensor:
        """Return the image at a size, in the space where its colours are compared: [1, G, *size]."""
        if size not in self._colours:
            image = self.average(size)
            self._colours[size] = self._comparable(image) if image.shape[1] == 3 else image
        return self._colours[size]

    def _comparable(self, image: Tensor) -> Tensor:
        """Convert colours [1, 3, H, W] to the space where they are compared: rows that the cache holds at a time."""
        if image.requires_grad:
            return oklab(image, self._chroma)
        rows = max(1, CACHED // image[:, :, :1].nbytes)
        out = torch.empty_like(image)
        for start in range(0, image.shape[2], rows):
            out[:, :, start : start + rows] = oklab(image[:, :, start : start + rows], self._chroma)
        return out


class AveragedPyramid(Pyramid):
    """The averages of a picture over some grids alone: all that a whole signal is compared with.

    Args:
        averages: over grids (h, w), [1, G, h, w] in 0..1.
        size: (H, W) of the picture.
        radius: as of a `Pyramid`.
        variance_weight: likewise.
        chroma: likewise.
        halvings: likewise.
    """

    def __init__(
        self,
        averages: Mapping[Size, Tensor],
        size: Size,
        radius: int,
        variance_weight: float,
        chroma: float,
        halvings: int,
    ) -> None:
        super().__init__(next(iter(averages.values())), radius, variance_weight, chroma, halvings)
        self.size, self._averages = size, averages

    def average(self, grid: Size) -> Tensor:
        """Return the area-averages of the picture over one of the grids: [1, G, h, w]."""
        return self._averages[grid]


def _means_and_spread(colours: Tensor, grid: Size) -> tuple[Tensor, Tensor]:
    """Average over cells [1, G, H, W]: the means [1, G, h, w], and the mean of the channels' variances [1, 1, h, w]."""
    means, variances = [], []
    for channel in colours.split(1, dim=1):  # one at a time, as each takes a map of the image's size
        mean = cell_means(channel, grid)
        means.append(mean)
        variances.append(cell_variances(channel, mean))
    return torch.cat(means, dim=1), torch.cat(variances, dim=1).mean(1, keepdim=True).clamp_(min=0)


def finer_grid(size: Size, grid: Size) -> Size | None:
    """Return the grid of cells half as large; None where they would have less than two pixels of `size`."""
    finer = 2 * grid[0], 2 * grid[1]
    return None if 2 * finer[0] > size[0] or 2 * finer[1] > size[1] else finer


def halved(signal: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Average the valid cells over cells twice as large: [B, C, h, w] to [B, C, ⌈h/2⌉, ⌈w/2⌉], and which are valid."""
    coarse, covered = valid_cell_means(signal, valid, (-(-signal.shape[2] // 2), -(-signal.shape[3] // 2)))
    return (coarse, None) if covered is None else (fill_nearest(coarse, covered), covered)


def oklab(image: Tensor, chroma: float = 1.0) -> Tensor:
    """Convert sRGB colours to OKLab, where distances are about what an eye sees.

    Shadows and shading change lightness within one thing; from one thing to the next hues change, and their numbers in
    OKLab are small: hence `chroma`.

    Args:
        image: [B, 3, H, W], sRGB in 0..1.
        chroma: a factor on the two axes of chroma.

    Returns:
        [B, 3, H, W]: lightness in 0..1, and the stretched a and b.

    Example:
        >>> oklab(torch.ones(1, 3, 1, 1)).flatten().round(decimals=4).abs().tolist()
        [1.0, 0.0, 0.0]
    """
    linear = torch.where(image <= 0.04045, image / 12.92, _power((image + 0.055) / 1.055, 2.4))
    axes = image.new_tensor(_LAB) * image.new_tensor([[1.0], [chroma], [chroma]])
    with exact_products(image.device):
        cones = (image.new_tensor(_CONES) @ linear.flatten(2)).clamp_min_(0)  # [B, 3, H W]
        return (axes @ _power(cones, 1 / 3)).view(image.shape)


def _power(values: Tensor, exponent: float) -> Tensor:
    """Raise values from 0 on to a power, overwriting them unless they are differentiable.

    Logarithms are as exact as `pow_`, which takes twice as long on a CPU, but have no gradient at 0.
    """
    if values.requires_grad:
        return values.pow(exponent)
    return values.log2_().mul_(exponent).exp2_()
