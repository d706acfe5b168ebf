"""Make results consistent with their signal: what their means over the cells lack is interpolated and added.

    out = U s + B y,    y = Σ_{k < n} (I - D B)ᵏ (s - D U s)

U is any upsampler, D means over cells, B bicubic interpolation, n the number of steps (iterative back-projection,
Irani & Peleg 1991, on top of U). D B is separable, and a product of matrices with five diagonals: so all steps run on
the grid of the cells, and one interpolation of y is all that is done at the size of the result. After many steps the
result's means are the signal; one step is most of the way. Half a step adds half of it.

Class probabilities take the steps on their logarithms, less the mean over the classes, and stay probabilities. Other
results may leave the interval of their signal's values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.mixing import cell_means, interpolate
from omniup.mixing.dtypes import exact_products
from omniup.upsamplers.checks import Size

#: Steps that `"full"` takes: what is lacking gets smaller than a thousandth, whatever the factor.
FULL = 32

#: No probability is taken for less, as the logarithm of 0 has no number.
LEAST_PROBABILITY = 1e-6


def check_consistency(consistency: float | str | None) -> float:
    """Return the number of steps that a setting stands for: 0 for None.

    Raises:
        InputError: it is none of what is accepted.
    """
    if consistency is None:
        return 0.0
    if consistency == "full":
        return float(FULL)
    is_number = isinstance(consistency, (int, float)) and not isinstance(consistency, bool)
    if not is_number or not 0 <= float(consistency) <= FULL:
        accepted = "None, a number of steps from 0 to {most}, or 'full'"
        raise InputError("consistency", "is {value!r}", accepted, value=consistency, most=FULL)
    return float(consistency)


def add_lacking(out: Tensor, signal: Tensor, steps: float, memory: int, valid: Tensor | None = None) -> Tensor:
    """Add to a result what its means over the cells lack of the signal.

    Oracle: tests/oracles/consistency.py.

    Args:
        out: [B, C, H, W], the result; overwritten where no gradient is wanted.
        signal: [B, C, h, w].
        steps: how many, 0 or more; what is after the point counts as a part of the last.
        memory: bytes of working memory.
        valid: boolean [B, 1, h, w]: other cells lack nothing. All are valid by default.

    Returns:
        [B, C, H, W] in the result's dtype.
    """
    grid, size = (signal.shape[2], signal.shape[3]), (out.shape[2], out.shape[3])
    wide = torch.promote_types(out.dtype, torch.float32)
    each = 3 * wide.itemsize * len(out) * math.prod(size)  # bytes of a channel's interpolation
    chunks = out.split(max(1, memory // each), dim=1)
    parts = []
    for part, value in zip(chunks, signal.split(chunks[0].shape[1], dim=1), strict=True):
        lacking = value.to(wide) - cell_means(part.to(wide), grid)  # [B, C, h, w]
        lacking = lacking if valid is None else lacking * valid
        added = interpolate(_accumulate(lacking, size, steps, valid), size, "bicubic")
        if torch.is_grad_enabled() and (out.requires_grad or signal.requires_grad):
            parts.append((part + added).to(out.dtype))
        else:
            part.add_(added)
    return torch.cat(parts, dim=1) if parts else out


def centred_logarithms(probabilities: Tensor) -> Tensor:
    """Take logarithms of probabilities [B, C, ...], less their mean over the classes, in float32 or wider."""
    wide = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
    logs = wide.clamp_min(LEAST_PROBABILITY).log()
    return logs - logs.mean(1, keepdim=True)


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
