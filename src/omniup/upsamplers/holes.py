"""Upsample signals with holes: cells where nothing was measured, such as depth without a reading, or void labels.

A mask says which cells are valid. A linear mix R is renormalised over them,

    out = R(v y) / R(v),    v = 1 in valid cells, else 0

and a pixel with no valid cell in its window takes the value of the nearest one. What stands in an invalid cell changes
nothing: it is overwritten first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.mixing import cell_means
from omniup.mixing.dtypes import least_weight, signed_bits

HOLES = ("fill", "keep")


def check_valid(valid: Tensor | NDArray[Any], signal: Tensor) -> Tensor:
    """Check a mask of valid cells against its signal.

    Args:
        valid: boolean [B, 1, h, w], or [1, 1, h, w] or [h, w] for the same in all images; True where a cell counts.
        signal: [B, C, h, w].

    Returns:
        [B, 1, h, w], on the signal's device.

    Raises:
        InputError: another type or shape, or an image without a valid cell.
    """
    mask = torch.from_numpy(valid) if isinstance(valid, np.ndarray) and valid.dtype == np.bool_ else valid
    accepted = "a boolean mask {shape}"
    shape = [len(signal), 1, *signal.shape[2:]]
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        found = getattr(valid, "dtype", type(valid).__name__)
        raise InputError("valid", "is of type {type}", accepted, type=found, shape=shape)
    mask = mask[None, None] if mask.ndim == 2 else mask
    if mask.ndim != 4 or len(mask) not in (1, len(signal)) or list(mask.shape[1:]) != shape[1:]:
        raise InputError("valid", "has the shape {given}", accepted, given=list(mask.shape), shape=shape)
    if not bool(mask.flatten(1).any(1).all()):
        raise InputError("valid", "has an image without a valid cell", "masks with at least one in each image")
    return mask.to(signal.device).expand(shape)


def cells_without(signal: Tensor, values: Sequence[float]) -> Tensor | None:
    """Tell which cells are valid, where some values stand for holes.

    Args:
        signal: [B, C, h, w].
        values: numbers that stand for "nothing measured here", NaN among them. A cell is a hole where all of its
            channels are one of them, or any channel is not finite, if NaN is one.

    Returns:
        Boolean [B, 1, h, w]; None where all are valid.

    Raises:
        InputError: an image has no valid cell.

    Example:
        >>> cells_without(torch.tensor([[[[1.0, 0.0], [math.nan, 2.0]]]]), [0, math.nan]).flatten().tolist()
        [True, False, False, True]
    """
    invalid = torch.zeros_like(signal[:, :1], dtype=torch.bool)
    for value in values:
        is_nan = math.isnan(value)
        invalid |= ~signal.isfinite().all(1, keepdim=True) if is_nan else (signal == value).all(1, keepdim=True)
    return check_valid(~invalid, signal) if invalid.any() else None


def fill_nearest(signal: Tensor, valid: Tensor) -> Tensor:
    """Overwrite each invalid cell by the nearest valid one: [B, C, h, w] with the mask [B, 1, h, w]."""
    from scipy.ndimage import distance_transform_edt  # here, since it is slow to import

    filled = []
    for value, mask in zip(signal, valid[:, 0], strict=True):
        invalid = ~mask.cpu().numpy()
        rows, columns = distance_transform_edt(invalid, return_distances=False, return_indices=True)
        y, x = (torch.from_numpy(index).to(signal.device, torch.long) for index in (rows, columns))
        filled.append(signed_bits(value)[:, y, x])
    result = torch.stack(filled)
    return result if result.dtype == signal.dtype else result.view(signal.dtype)


def mix_valid(mix: Callable[[Tensor], Tensor], signal: Tensor, valid: Tensor | None) -> Tensor:
    """Mix the valid cells of a signal, with the weights renormalised over them.

    Args:
        mix: linear, with weights that are not negative: [B, C, h, w] to [B, C, H, W], each channel independently.
        signal: [B, C, h, w].
        valid: [B, 1, h, w]; None where all are.

    Returns:
        [B, C, H, W]; where no valid cell has a weight, the signal of the pixel's own cell.
    """
    if valid is None:
        return mix(signal)
    exact = signal.to(torch.promote_types(signal.dtype, torch.float32))
    mixed = mix(torch.cat([exact * valid, valid.to(exact)], dim=1))  # [B, C + 1, H, W]
    value, weight = mixed[:, :-1], mixed[:, -1:]
    own = F.interpolate(exact, value.shape[2:], mode="nearest-exact")
    least = least_weight(weight.dtype)
    return torch.where(weight > least, value / weight.clamp_min(least), own).to(signal.dtype)


def valid_cell_means(image: Tensor, valid: Tensor | None, grid: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
    """Average the valid pixels of each cell of a grid: a cell half of holes is the mean of its other half.

    Args:
        image: [B, C, H, W].
        valid: boolean [B, 1, H, W]; None where all are.
        grid: (h, w).

    Returns:
        The means [B, C, h, w], 0 in cells without a valid pixel; and which cells have one, [B, 1, h, w] or None.
    """
    if valid is None:
        return cell_means(image, grid), None
    covered = cell_means(valid.to(image), grid)  # [B, 1, h, w]
    return cell_means(image.where(valid, 0), grid) / covered.clamp_min(torch.finfo(image.dtype).eps), covered > 0


def reach_of(valid: Tensor, radius: int, size: tuple[int, int]) -> Tensor:
    """Tell which pixels have a valid cell within a radius: [B, 1, h, w] to [B, 1, H, W]."""
    near = F.max_pool2d(valid.float(), 2 * radius + 1, stride=1, padding=radius)  # the square around the pixel's cell
    return F.interpolate(near, size, mode="nearest-exact") > 0
