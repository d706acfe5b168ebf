"""Colour images and scalar maps pixel by pixel, with matplotlib's colour maps."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from omniup.errors import InputError
from omniup.visualize.tensors import check_map

DEFAULT_COLOURS = "inferno"


def to_picture(tensor: Tensor) -> Image.Image:
    """Make a picture of an image tensor.

    Args:
        tensor: [1, 3, h, w], [1, 1, h, w] for greys, or [1, 4, h, w] with alpha, in 0..1; what lies outside is clamped.

    Returns:
        w × h pixels of RGB, or RGBA, rounded to the nearest of 256 levels.

    Raises:
        InputError: a tensor of another shape.
    """
    check_map("tensor", tensor, channels=(1, 3, 4))
    image = tensor.detach()[0].float().expand(max(3, tensor.shape[1]), -1, -1).permute(1, 2, 0)  # [h, w, 3 or 4]
    return Image.fromarray((image.clamp(0, 1) * 255).round().byte().cpu().numpy())


def heat_map(map: Tensor, limits: tuple[float, float] | None = None, colours: str = DEFAULT_COLOURS) -> Image.Image:
    """Make a picture of a scalar map, without axes and at its own size.

    Args:
        map: [1, 1, h, w]; NaN is drawn black.
        limits: the values at the two ends of the colour map; by default the least and the greatest finite one.
        colours: the name of one of matplotlib's colour maps.

    Returns:
        w × h pixels of RGB.

    Raises:
        InputError: a map of another shape, limits that do not ascend, or an unknown colour map.
    """
    check_map("map", map, channels=(1,))
    coloured = colour_scale(map, limits, colours).to_rgba(scalars(map), bytes=True)  # [h, w, 4]
    return Image.fromarray(coloured).convert("RGB")


def scalars(map: Tensor) -> NDArray[np.float32]:
    """Convert a map [1, 1, h, w] to an array [h, w]."""
    values: NDArray[np.float32] = map.detach()[0, 0].float().cpu().numpy()
    return values


def colour_scale(map: Tensor, limits: tuple[float, float] | None, colours: str) -> ScalarMappable:
    """Make the scale that maps values to colours, in the form that matplotlib draws colour bars of.

    Args:
        map: [1, 1, h, w], which sets the limits where there are none.
        limits: as for `heat_map`.
        colours: as for `heat_map`.

    Raises:
        InputError: limits that are not finite or do not ascend, or an unknown colour map.
    """
    low, high = limits or limits_of(map)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError("limits", "is {value}", "two finite numbers, the lower first", value=limits)
    if colours not in matplotlib.colormaps:
        raise InputError("colours", "is {value!r}", "the names of matplotlib's colour maps", value=colours)
    return ScalarMappable(Normalize(low, high), colours)


def limits_of(*maps: Tensor) -> tuple[float, float]:
    """Compute the limits that maps drawn on one scale share.

    Args:
        maps: [1, 1, h, w] each, of any sizes.

    Returns:
        The least and the greatest finite value; a tenth below and above a constant; 0 and 1 where nothing is finite.
    """
    values = torch.cat([map.detach().flatten().float() for map in maps])
    values = values[values.isfinite()]
    if values.numel() == 0:
        return 0.0, 1.0
    low, high = values.min().item(), values.max().item()
    size = max(abs(low), abs(high))
    if high - low <= 1e-6 * size:  # all that float32 leaves of a constant's range
        margin = size / 10 or 1.0
        return low - margin, high + margin
    return low, high
