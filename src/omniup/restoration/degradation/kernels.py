"""Compute blur kernels, a batch of them at once (Real-ESRGAN, arXiv 2107.10833, sections 3.1 and 3.3).

All lie on one square grid: a smaller kernel is one with zeros around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

KernelKind: TypeAlias = Literal[
    "none",
    "low_pass",
    "isotropic",
    "anisotropic",
    "generalised_isotropic",
    "generalised_anisotropic",
    "plateau_isotropic",
    "plateau_anisotropic",
]


@dataclass(frozen=True)
class Kernel:
    """One kernel. None stands for what its kind does not have.

    Attributes:
        kind: what it is.
        size: its side, in pixels, odd.
        sigma_x: width of the Gaussian kinds along the first axis, in pixels.
        sigma_y: likewise along the second; None if isotropic.
        rotation: of these axes, in radians, from x towards y; None if isotropic.
        beta: shape of the generalised and the plateau kinds; 1 is a Gaussian for the former.
        cutoff: of a low-pass filter, in radians per pixel.
    """

    kind: KernelKind
    size: int
    sigma_x: float | None = None
    sigma_y: float | None = None
    rotation: float | None = None
    beta: float | None = None
    cutoff: float | None = None


NO_BLUR = Kernel("none", size=1)
"""Kernel of one pixel, which changes nothing."""


def make_kernels(kernels: Sequence[Kernel], width: int) -> Tensor:
    """Compute kernels.

    Args:
        kernels: B descriptions, in any order of kinds.
        width: of the grid that they lie on, in pixels, odd, not below the largest size.

    Returns:
        [B, 1, width, width] float64 on the CPU. The sum of each is 1.
    """
    axis = torch.arange(width, dtype=torch.float64) - width // 2  # [width], 0 in the middle
    y, x = torch.meshgrid(axis, axis, indexing="ij")  # [width, width] both

    def column(values: Iterable[float | None], otherwise: float) -> Tensor:
        numbers = [otherwise if value is None else value for value in values]
        return torch.tensor(numbers, dtype=torch.float64).view(-1, 1, 1)  # [B, 1, 1]

    squares = squared_lengths(
        x,
        y,
        sigma_x=column((kernel.sigma_x for kernel in kernels), 1),
        sigma_y=column((kernel.sigma_x if kernel.sigma_y is None else kernel.sigma_y for kernel in kernels), 1),
        rotation=column((kernel.rotation for kernel in kernels), 0),
    )  # [B, width, width]
    beta = column((kernel.beta for kernel in kernels), 1)
    cutoff = column((kernel.cutoff for kernel in kernels), math.pi)
    is_plateau = column((kernel.kind.startswith("plateau") for kernel in kernels), 0) > 0
    is_low_pass = column((kernel.kind == "low_pass" for kernel in kernels), 0) > 0
    values = torch.where(is_plateau, plateau(squares, beta), gaussian(squares, beta))  # [B, width, width]
    values = torch.where(is_low_pass, low_pass(torch.hypot(x, y), cutoff), values)

    reach = column((kernel.size // 2 for kernel in kernels), 0)
    values = values * (torch.maximum(x.abs(), y.abs()) <= reach)
    return (values / values.sum((1, 2), keepdim=True))[:, None]


def squared_lengths(x: Tensor, y: Tensor, *, sigma_x: Tensor, sigma_y: Tensor, rotation: Tensor) -> Tensor:
    """Compute the squared length vᵀΣ⁻¹v of v = (x, y), with Σ = R diag(σx², σy²) Rᵀ (section 3.1)."""
    cosine, sine = rotation.cos(), rotation.sin()
    return ((cosine * x + sine * y) / sigma_x).square() + ((cosine * y - sine * x) / sigma_y).square()


def gaussian(squares: Tensor, beta: Tensor) -> Tensor:
    """Compute the generalised Gaussian exp(-½ (vᵀΣ⁻¹v)^β); the Gaussian where β is 1 (section 3.1)."""
    return torch.exp(-0.5 * squares**beta)


def plateau(squares: Tensor, beta: Tensor) -> Tensor:
    """Compute the plateau-shaped kernel 1 / (1 + (vᵀΣ⁻¹v)^β) (section 3.1)."""
    return 1 / (1 + squares**beta)


def low_pass(radius: Tensor, cutoff: Tensor) -> Tensor:
    """Compute the ideal circular low-pass filter ω J₁(ω r) / (2π r), ω² / 4π in the middle, which rings (3.3)."""
    away = radius.clamp(min=torch.finfo(radius.dtype).tiny)
    ringing = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * away)
    return torch.where(radius > 0, ringing, cutoff.square() / (4 * math.pi))
