"""Draw reconstruction errors, and the four maps of Gaussian kernels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.visualize.colours import heat_map, limits_of, to_picture
from omniup.visualize.panels import Panel
from omniup.visualize.tensors import check_map, pieces

__all__ = ["error_map", "heat_map", "parameter_panels", "to_picture"]


def error_map(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the mean absolute error over the channels, pixel by pixel.

    Args:
        prediction: [1, C, H, W], any dtype.
        target: [1, C, H, W] on the same device.

    Returns:
        [1, 1, H, W] float32, in the units of the inputs.

    Raises:
        InputError: either is no such map, or their shapes differ.
    """
    check_map("prediction", prediction)
    check_map("target", target)
    if prediction.shape != target.shape:
        raise InputError(
            "prediction",
            "has the shape {prediction}, and target {target}",
            "equal shapes",
            prediction=list(prediction.shape),
            target=list(target.shape),
        )
    pairs = zip(pieces(prediction), pieces(target), strict=True)
    return torch.cat([(ours - theirs).abs().mean(dim=1, keepdim=True) for ours, theirs in pairs], dim=2)


def parameter_panels(sigma_x: Tensor, sigma_y: Tensor, theta: Tensor, sigma_r: Tensor) -> list[Panel]:
    """Make panels of the four maps of Gaussian kernels, ready for a sheet.

    The two spatial sigmas share their limits, so that an ellipse's longer axis is also the brighter one. An ellipse
    turned by half a circle is the same ellipse: theta is drawn modulo π, in colours that meet at the ends.

    Args:
        sigma_x: [1, 1, h, w] in pixels of the full-resolution image.
        sigma_y: [1, 1, h, w] in the same pixels.
        theta: [1, 1, h, w] in radians.
        sigma_r: [1, 1, h, w] in units of the guidance.

    Returns:
        Four panels, in this order.

    Raises:
        InputError: one of them is no such map.
    """
    for name, value in {"sigma_x": sigma_x, "sigma_y": sigma_y, "theta": theta, "sigma_r": sigma_r}.items():
        check_map(name, value, channels=(1,))
    half = math.pi / 2
    orientation = torch.remainder(theta.detach().float() + half, math.pi) - half  # [1, 1, h, w] in -π/2..π/2
    limits = limits_of(sigma_x, sigma_y)
    return [
        Panel("sigma_x", sigma_x, limits=limits, unit="px"),
        Panel("sigma_y", sigma_y, limits=limits, unit="px"),
        Panel("theta, modulo π", orientation, limits=(-half, half), colours="twilight", unit="rad"),
        Panel("sigma_r", sigma_r, unit="guidance units"),
    ]
