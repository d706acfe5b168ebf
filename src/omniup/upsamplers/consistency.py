"""Make results consistent with their signal: what their means over the cells lack is interpolated and added.

    out = U s + B y,    y = Σ_{k < n} (I - D B)ᵏ (s - D U s)

U is any upsampler, D means over cells, B bicubic interpolation, n the number of steps (iterative back-projection,
Irani & Peleg 1991, on top of U). D B is separable, and a product of matrices with five diagonals: so all steps run on
the grid of the cells, and one interpolation of y is all that is done at the size of the result. After many steps the
result's means are the signal; one step is most of the way. Half a step adds half of it.

Class probabilities take the steps on their logarithms, less the mean over the classes, and stay probabilities. A step
sharpens noise as well, so how large a part of one helps is read off their borders. Other results may leave the interval
of their signal's values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.mixing import cell_means, interpolate
from omniup.mixing.dtypes import exact_products
from omniup.mixing.interruption import check_interruption
from omniup.upsamplers.checks import Size

#: Steps that `"full"` takes: what is lacking gets smaller than a thousandth, whatever the factor.
FULL = 32

#: No probability is taken for less, as the logarithm of 0 has no number.
LEAST_PROBABILITY = 1e-6

#: Part of a step that class probabilities are given at least, and the sharpness of borders from which on it is more.
LEAST_STEP = 0.6
SHARPNESS = 1.25


def parse_consistency(consistency: float | str | None, recommended: float = 0.0) -> float:
    """Convert a setting to a number of steps, 0 for None.

    Args:
        consistency: None, a number, `"full"` or `"auto"`.
        recommended: what `"auto"` stands for.

    Raises:
        InputError: it is none of these.
    """
    if consistency is None:
        return 0.0
    if isinstance(consistency, str) and consistency in ("auto", "full"):
        return recommended if consistency == "auto" else float(FULL)
    is_number = isinstance(consistency, (int, float)) and not isinstance(consistency, bool)
    if not is_number or not 0 <= float(consistency) <= FULL:
        accepted = "a number of steps from 0 to {most}, 'full', 'auto' and None"
        raise InputError("consistency", "is {value!r}", accepted, value=consistency, most=FULL)
    return float(consistency)


def add_lacking(out: Tensor, signal: Tensor, steps: float, memory: int, valid: Tensor | None = None) -> Tensor:
    """Add to a result what its means over the cells lack of the signal.

    Oracle: tests/oracles/consistency.py.

    Args:
        out: [B, C, H, W], the result; overwritten where no gradient is wanted.
        signal: [B, C, h, w].
        steps: how many, more than 0; what is after the point counts as a part of the last.
        memory: bytes of working memory.
        valid: boolean [B, 1, h, w]: other cells lack nothing. All are valid by default.

    Returns:
        [B, C, H, W] in the result's dtype.
    """
    grid, size = (signal.shape[2], signal.shape[3]), (out.shape[2], out.shape[3])
    wide = torch.promote_types(out.dtype, torch.float32)
    wanted = _is_gradient_wanted(out, signal)
    maps = max(1, memory // (3 * wide.itemsize * math.prod(size)))  # that are interpolated at a time
    images, channels = max(1, maps // out.shape[1]), min(maps, out.shape[1])
    masks = itertools.repeat(None) if valid is None else valid.split(images)
    batches = []
    for results, values, mask in zip(out.split(images), signal.split(images), masks, strict=False):
        parts = []
        for part, value in zip(results.split(channels, dim=1), values.split(channels, dim=1), strict=True):
            check_interruption()
            lacking = value.to(wide) - cell_means(part.to(wide), grid)  # [B, C, h, w]
            lacking = lacking if mask is None else lacking * mask
            added = interpolate(_accumulate(lacking, size, steps, mask), size, "bicubic")
            parts.append((part + added).to(out.dtype) if wanted else part.add_(added))
        batches.append(torch.cat(parts, dim=1) if wanted else results)
    return torch.cat(batches) if wanted else out


def centred_logarithms(probabilities: Tensor) -> Tensor:
    """Take logarithms of probabilities [B, C, ...], less their mean over the classes."""
    logs = probabilities.clamp_min(LEAST_PROBABILITY).log()
    return logs - logs.mean(1, keepdim=True)


def probability_step(probabilities: Tensor) -> float:
    """Return the part of a step of consistency that helps class probabilities [1, C, h, w]: `LEAST_STEP` to 1.

    It is larger the sharper their borders are: where cells are small against what the network resolves, what the means
    lack is noise.
    """
    sharpness = border_sharpness(probabilities.detach())
    return float((LEAST_STEP + sharpness - SHARPNESS).clamp(LEAST_STEP, 1))


def border_sharpness(probabilities: Tensor) -> Tensor:
    """Measure the sharpness of borders between classes: how small cells are against what a network resolves.

    From one class to another, probabilities of which the network is so sure that their squares add up to s jump by s in
    the mean; where a sharp border cuts cells in two, by s / √3 or more; and where borders take several cells, by as
    many times less. The square makes up for noise, which jumps as well.

    Args:
        probabilities: [1, C, h, w].

    Returns:
        A number, 3 (Σ d² / (s Σ |d|))² over the differences d of neighbours: about 1 or more where borders are sharp.
    """
    along = probabilities.diff(dim=2), probabilities.diff(dim=3)
    squares = along[0].square().sum() + along[1].square().sum()
    jumps = along[0].abs().sum() + along[1].abs().sum()
    certainty = probabilities.square().sum(1).mean()
    return 3 * (squares / (certainty * jumps).clamp_min(1e-30)).square()


def apply_by_rows(function: Callable[[Tensor], Tensor], maps: Tensor, memory: int) -> Tensor:
    """Apply a function of the channels of each pixel to maps [B, C, H, W], in place where no gradient is wanted.

    Args:
        function: [B, C, rows, W] to the same shape and dtype; takes up to three times the memory of its argument.
        maps: [B, C, H, W].
        memory: bytes of working memory.
    """
    if _is_gradient_wanted(maps):
        return function(maps)
    rows = max(1, memory // (3 * maps[:, :, :1].nbytes))
    for band in maps.split(rows, dim=2):
        band.copy_(function(band))
    return maps


def _is_gradient_wanted(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _accumulate(lacking: Tensor, size: Size, steps: float, valid: Tensor | None) -> Tensor:
    """Sum up what is added in some steps, on the grid: r = s - D U s to y, both [B, C, h, w]."""
    whole = math.floor(steps)
    total = min(steps, 1.0) * lacking
    if steps <= 1:
        return total
    grid = lacking.shape[2], lacking.shape[3]
    bands = [_diagonals(*sides).to(lacking) for sides in zip(grid, size, strict=True)]
    for step in range(1, math.ceil(steps)):
        left = lacking - _banded(_banded(total, bands[1], 3), bands[0], 2)
        left = left if valid is None else left * valid
        total = total + (left if step < whole else (steps - whole) * left)
    return total


def _diagonals(cells: int, side: int) -> Tensor:
    """Compute the five diagonals of D B along an axis: [5, cells], of cells i the weight of cell i + k - 2."""
    comb = torch.zeros(1, 5, 1, cells, dtype=torch.float64)
    for k in range(5):
        comb[:, k, :, k::5] = 1
    with exact_products(comb.device):
        means = cell_means(F.interpolate(comb, (1, side), mode="bicubic"), (1, cells))[0, :, 0]  # [5, cells]
    places = torch.arange(cells) + torch.arange(-2, 3)[:, None]  # [5, cells]
    within = (places >= 0) & (places < cells)
    return means.gather(0, places % 5) * within


def _banded(maps: Tensor, diagonals: Tensor, dim: int) -> Tensor:
    """Multiply along an axis by a matrix with five diagonals: [B, C, h, w] to [B, C, h, w]."""
    cells = maps.shape[dim]
    shape: Sequence[int] = (-1, 1) if dim == 2 else (-1,)
    padded = F.pad(maps, (0, 0, 2, 2) if dim == 2 else (2, 2, 0, 0))
    return sum(
        (padded.narrow(dim, k, cells) * diagonal.view(shape) for k, diagonal in zip(itertools.count(), diagonals)),
        start=torch.zeros_like(maps),
    )
