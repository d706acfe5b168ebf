"""Upsample class probabilities by power means, coarse-to-fine.

The mean of probabilities over neighbouring cells blurs the border between two classes; the power mean does so less:

    out_k = x_k⁸ / Σ_j x_j⁸,    x = Σ_q w(p, q) a_q y_q^⅛

It is close to the geometric mean, to which averages of logits lead, and has no trouble with probabilities of 0. a_q is
the largest probability of cell q: cells of low confidence count less. And cells may be finer than what the
network resolves: then averages over larger ones come first.

A power mean is convex, and loses what is thinner than a cell. A linear model of the logarithms in the colours (guided
filter) finds poles and signs again, and is wrong elsewhere: the mean of the two is better than either.

Both are local: what they disagree about within one surface is settled by a mean over the pixels that are reached
without crossing an edge of the image (`domain_transform.py`).
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omniup.upsamplers.consistency import (
    LEAST_PROBABILITY,
    add_lacking,
    apply_by_rows,
    border_sharpness,
    centred_logarithms,
    probability_step,
)
from omniup.upsamplers.domain_transform import smooth_along_edges
from omniup.upsamplers.guided_filter import GuidedFilter
from omniup.upsamplers.pyramid_bilateral.pyramid import Pixels, Pyramid, halved

if TYPE_CHECKING:
    from omniup.upsamplers.checks import Size
    from omniup.upsamplers.pyramid_bilateral.method import PyramidBilateral


@dataclasses.dataclass(frozen=True, eq=False)
class ProbabilityStatistics:
    """Statistics of a whole signal that the probabilities of its parts need.

    Attributes:
        roots: [1, C, h, w], what the power mean starts from; see `first_roots`.
        valid: boolean [1, 1, h, w], the cells of it that count; None for all.
        halvings: how often cells are still halved, at most.
        sigma: width of the first kernel, in cells.
        step: part of a step of consistency of the linear model.
    """

    roots: Tensor
    valid: Tensor | None
    halvings: int
    sigma: float
    step: float

    @classmethod
    def of(
        cls,
        pyramid: Pyramid,
        signal: Tensor,
        settings: PyramidBilateral,
        cell_side: float,
        memory: int,
        valid: Tensor | None,
    ) -> ProbabilityStatistics:
        """Compute them: arguments as `render_probabilities`, but for a signal of float32 or float64."""
        resolution = border_sharpness(signal).clamp_min(cell_side / settings.resolved_pixels)  # unsure: borders widen
        step = probability_step(signal) if settings.filter_weight > 0 else 0.0
        return cls(*first_roots(pyramid, signal, settings, resolution, memory, valid), step)

    def part(self, rows: slice, columns: slice) -> ProbabilityStatistics:
        """Cut the maps of cells to some rows and columns."""
        near = slice(None), slice(None), rows, columns
        return dataclasses.replace(self, roots=self.roots[near], valid=None if self.valid is None else self.valid[near])


def render_probabilities(
    pyramid: Pyramid,
    signal: Tensor,
    settings: PyramidBilateral,
    cell_side: float,
    memory: int,
    valid: Tensor | None = None,
    statistics: ProbabilityStatistics | None = None,
) -> Tensor:
    """Upsample class probabilities that a network gives for cells.

    Logarithms of the power mean are averaged with those that a local linear model in the colours has, after a part of a
    step of consistency: a larger one the sharper borders are, as where cells are small against what the network
    resolves the step would add noise. Then they are smoothed within what the image's edges enclose.

    Args:
        pyramid: of the image.
        signal: [1, C, h, w].
        settings: the method's numbers.
        cell_side: in pixels of the image that the network saw.
        memory: bytes of working memory.
        valid: boolean [1, 1, h, w], the cells that count; None for all.
        statistics: of the whole signal, where this is a part of it.

    Returns:
        [1, C, H, W], probabilities, in the signal's dtype.
    """
    finest = signal.to(torch.promote_types(signal.dtype, torch.float32))  # [1, C, h, w]
    whole = statistics or ProbabilityStatistics.of(pyramid, finest, settings, cell_side, memory, valid)
    mixed = power_mean(pyramid, whole, settings, memory)  # [1, C, H, W]
    modelled, grid = None, (signal.shape[2], signal.shape[3])
    if settings.filter_weight > 0:
        logs = centred_logarithms(finest)  # [1, C, h, w]
        linear = GuidedFilter(settings.filter_radius, settings.filter_eps).prepare(pyramid.guidance, grid)
        modelled = add_lacking(linear.fit(logs, valid, memory), logs, whole.step, memory, valid)
    return average_logarithms(pyramid, mixed, modelled, settings.filter_weight, grid, settings, memory).to(signal.dtype)


def average_logarithms(
    pyramid: Pyramid,
    probabilities: Tensor,
    others: Tensor | None,
    weight: float,
    grid: Size,
    settings: PyramidBilateral,
    memory: int,
) -> Tensor:
    """Average the logarithms of probabilities with others, and smooth them within what the image's edges enclose.

    Args:
        pyramid: of the image.
        probabilities: [1, C, H, W].
        others: logarithms [1, C, H, W], up to a constant in each pixel; None for none.
        weight: of the others, 0..1.
        grid: (h, w) of the signal, in cells.
        settings: the method's numbers.
        memory: bytes of working memory.

    Returns:
        [1, C, H, W], probabilities.
    """
    # Constants in a pixel make no difference to the softmax, so these logarithms are not centred.
    logs = (probabilities if others is None else probabilities.to(others)).clamp_min(LEAST_PROBABILITY).log()
    if others is not None:
        logs = torch.lerp(logs, others, weight)
    if settings.geodesic_sigma > 0:
        height, width = (settings.geodesic_sigma * side / cells for side, cells in zip(pyramid.size, grid, strict=True))
        logs = smooth_along_edges(logs, pyramid.guidance, (height, width), settings.geodesic_sigma_r, memory)
    return apply_by_rows(partial(torch.softmax, dim=1), logs, memory)


def power_mean(pyramid: Pyramid, start: ProbabilityStatistics, settings: PyramidBilateral, memory: int) -> Tensor:
    """Upsample class probabilities by their power mean, coarse-to-fine.

    At each stage the cells' sides are halved, and what comes out are probabilities again.

    Args:
        pyramid: of the image.
        start: the roots to start from, and what is left to do.
        settings: the method's numbers.
        memory: bytes of working memory.

    Returns:
        [1, C, H, W], probabilities, in the dtype of the roots.
    """
    roots, valid, sigma = start.roots, start.valid, start.sigma
    for _ in range(start.halvings):
        grid = roots.shape[2], roots.shape[3]
        if (finer := pyramid.finer(grid)) is None:
            break
        kernels = pyramid.kernels(finer, grid, sigma, settings.sigma_r)
        mixed, valid = Pixels(memory).mix(kernels, roots, valid), None
        roots, sigma = weighted_roots(from_roots(mixed, settings.power), settings), settings.sigma
    kernels = pyramid.kernels(pyramid.size, (roots.shape[2], roots.shape[3]), sigma, settings.sigma_r)
    return from_roots(Pixels(memory).mix(kernels, roots, valid), settings.power)


def first_roots(
    pyramid: Pyramid, finest: Tensor, settings: PyramidBilateral, resolution: Tensor, memory: int, valid: Tensor | None
) -> tuple[Tensor, Tensor | None, int, float]:
    """Compute the roots of probabilities on their own grid, from which the power mean starts.

    Where the cells are finer than what the network resolves (see `border_sharpness`), averages over larger ones come
    first, and are blended with those over smaller ones when they get to their size.

    Args:
        pyramid: of the image.
        finest: [1, C, h, w], float32 or float64.
        settings: the method's numbers.
        resolution: side of the cells, as a part of what the network resolves, if that is less than 1.
        memory: bytes of working memory.
        valid: boolean [1, 1, h, w], the cells that count; None for all.

    Returns:
        The roots [1, C, h, w], the mask of those that count or None, how many halvings are left, and the width of the
        next kernel, in cells.
    """
    levels = [(finest, valid)]  # from the finest to the coarsest
    while resolution < 1 and len(levels) <= settings.halvings:
        levels.append(halved(*levels[-1]))
        resolution = 2 * resolution
    coarsest, valid = levels.pop()
    roots, sigma = weighted_roots(coarsest, settings), settings.first_sigma * settings.sigma
    halvings = settings.halvings - len(levels)
    while levels:
        level, known = levels.pop()
        kernels = pyramid.kernels(
            (level.shape[2], level.shape[3]), (roots.shape[2], roots.shape[3]), sigma, settings.sigma_r
        )
        mixed, valid, sigma = Pixels(memory).mix(kernels, roots, valid), None, settings.sigma
        roots = weighted_roots(from_roots(mixed, settings.power), settings)
        resolution = resolution / 2
        blended = torch.lerp(roots, weighted_roots(level, settings), resolution**2)
        roots = blended if known is None else torch.where(known, blended, roots)
    return roots, valid, halvings, sigma


def to_roots(probabilities: Tensor, power: int, least: float) -> Tensor:
    """Take the `power`-th root (a power of two) of probabilities [B, C, h, w], at least `least`."""
    roots = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32)).clamp_min(least)
    for _ in range(power.bit_length() - 1):
        roots = roots.sqrt()
    return roots


def weighted_roots(probabilities: Tensor, settings: PyramidBilateral) -> Tensor:
    """Take roots of probabilities [1, C, h, w], each cell weighted by its largest probability."""
    roots = to_roots(probabilities, settings.power, settings.min_probability)
    return probabilities.to(roots).amax(1, keepdim=True) * roots


def from_roots(mixed: Tensor, power: int) -> Tensor:
    """Convert roots [B, C, ...], known up to a factor, to probabilities; overwrites them where it may."""
    overwrite = not (torch.is_grad_enabled() and mixed.requires_grad)
    powers = mixed.relu_() if overwrite else mixed.relu()
    for _ in range(power.bit_length() - 1):
        powers = powers.square_() if overwrite else powers.square()
    total = powers.sum(1, keepdim=True).clamp_min(1e-30)
    return powers.div_(total) if overwrite else powers / total
