"""Prepare images for encoders and resize features: check the request, normalise, resize to a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from omniup.errors import InputError

_SLACK = 1e-3  # what float16 rounds away at 1

_IMAGE = "[B, {c}, H, W], floating point in 0..1"


def check_request(image: Tensor, grid: tuple[int, int] | None, *, channels: int | None = 3) -> None:
    """Refuse an image or a grid that no encoder could use.

    Args:
        image: must be [B, C, H, W], not empty, floating point, finite and in 0..1.
        grid: must be None or (h, w) with 1 ≤ h ≤ H and 1 ≤ w ≤ W.
        channels: the C that is needed; None means any.

    Raises:
        InputError: it is not so; says what was found.
    """
    c = channels or "C"
    if image.ndim != 4 or image.numel() == 0 or image.shape[1] != (channels or image.shape[1]):
        raise InputError("image", "has the shape {shape}", _IMAGE, shape=list(image.shape), c=c)
    if not image.is_floating_point():
        raise InputError("image", "holds {dtype}", _IMAGE, dtype=image.dtype, c=c)
    low, high = (bound.item() for bound in image.aminmax())
    if not (low >= -_SLACK and high <= 1 + _SLACK):  # so that NaN, which compares as False, is refused too
        raise InputError("image", "has values from {low:g} to {high:g}", _IMAGE, low=low, high=high, c=c)
    if grid is not None:
        height, width = image.shape[2:]
        if len(grid) != 2 or not (1 <= grid[0] <= height and 1 <= grid[1] <= width):
            raise InputError(
                "grid",
                "is {grid}",
                "(h, w) from (1, 1) to the image's ({height}, {width})",
                grid=grid,
                height=height,
                width=width,
            )


def nearest_cells(length: int, stride: int) -> int:
    """Return how many cells of `stride` pixels cover `length` pixels best, rounded, at least one."""
    return max(1, (2 * length + stride) // (2 * stride))


def to_multiples(image: Tensor, stride: int, least: int = 1) -> Tensor:
    """Resize an image [B, C, H, W] so that both sides are the nearest multiples of the stride, and at least `least`."""
    height, width = (max(nearest_cells(side, stride) * stride, least) for side in image.shape[2:])
    return resize(image, (height, width))


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize an image [B, C, H, W] bilinearly, antialiased where it shrinks."""
    if image.shape[2:] == size:
        return image
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)


def normalise(image: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Subtract a mean and divide by a standard deviation, channel by channel.

    Args:
        image: [B, C, H, W] of any floating-point type.
        mean: C numbers.
        std: C numbers.

    Returns:
        [B, C, H, W] in float32, which is what the networks compute in.
    """
    shift, scale = torch.tensor([mean, std], device=image.device)[..., None, None].unbind()  # [C, 1, 1] each
    return (image.float() - shift) / scale


def to_grid(features: Tensor, grid: tuple[int, int] | None) -> Tensor:
    """Resize features to a grid: means of cells along a side that gets shorter, bilinear along one that grows.

    Args:
        features: [B, C, h, w].
        grid: the wanted (h', w'); None leaves the features as they are.

    Returns:
        [B, C, h', w'].
    """
    if grid is None:
        return features
    height, width = features.shape[2:]
    pooled = F.adaptive_avg_pool2d(features, (min(height, grid[0]), min(width, grid[1])))
    if pooled.shape[2:] == grid:
        return pooled
    return F.interpolate(pooled, size=grid, mode="bilinear", align_corners=False)


def concatenate(layers: Sequence[Tensor]) -> Tensor:
    """Concatenate the features of layers [B, C, h, w] along the channels, on the finest of their grids."""
    finest = max((layer.shape[2], layer.shape[3]) for layer in layers)
    return torch.cat([to_grid(layer, finest) for layer in layers], dim=1)


def check_layers(layer: int | Sequence[int] | None, count: int, name: str) -> list[int]:
    """Check which layers of a network are wanted.

    Args:
        layer: an index, several, or None for the last.
        count: how many layers there are.
        name: of the network.

    Returns:
        Indices, at least one.

    Raises:
        InputError: there are no such layers.
    """
    wanted: list[Any] = [-1] if layer is None else list(layer) if isinstance(layer, (list, tuple)) else [layer]
    for index in wanted or [layer]:
        if isinstance(index, bool) or not isinstance(index, int) or not -count <= index < count:
            accepted = "{least} to {most}, the layers of {name}"
            raise InputError("layer", "is {value}", accepted, value=index, least=-count, most=count - 1, name=name)
    return wanted
