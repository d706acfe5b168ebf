"""Make the panels of a reconstruction, by name, on scales that make them comparable."""

from __future__ import annotations

import dataclasses

import torch
from PIL import Image
from torch import Tensor

from omniup.reconstruction.reconstruct import Reconstruction
from omniup.upsamplers import GaussianKernels
from omniup.visualize import Panel, error_map, heat_map, limits_of, parameter_panels, pca_rgb, to_picture
from omniup.visualize.colours import DEFAULT_COLOURS

TITLES = {
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "fixed": "fixed joint bilateral",
    "fitted": "fitted kernels",
    "pyramid": "pyramid bilateral",
}

NAMES = (
    *("original", "low_resolution", *TITLES, *(f"error_{way}" for way in TITLES), "concentration"),
    *("features_low_resolution", *(f"features_{way}" for way in TITLES if way != "bicubic")),
    *("sigma_x", "sigma_y", "theta", "sigma_r"),
)
"""The names of the panels."""

LEAST_RANGE = 0.05
"""Range of a width's colours, at least, as a part of the width."""


def panels(made: Reconstruction) -> dict[str, Panel]:
    """Make the panels of a reconstruction.

    Returns:
        By name: original, low_resolution; each way of upsampling it, and error_WAY; concentration;
        features_low_resolution and features_WAY; the kernels' four parameters.
    """
    errors = {way: error_map(image, made.image) for way, image in made.images.items()}
    _, worst = _limits(*(errors[way] for way in ("fixed", "fitted")))
    found = {"original": Panel("original", made.image), "low_resolution": Panel("low resolution", made.cells)}
    for way, image in made.images.items():
        found[way] = Panel(f"{TITLES[way]}, {made.metrics[way]['psnr_recon']:.2f} dB", image)
    for way, error in errors.items():
        found[f"error_{way}"] = Panel(f"error of {TITLES[way]}", error, limits=(0, worst), unit="L1")
    weights = made.concentration
    found["concentration"] = Panel("concentration of the weights", weights, limits=(0, 1), colours="viridis")

    low, *high = pca_rgb(made.encoding.features, *made.features.values())
    found["features_low_resolution"] = Panel("features, low resolution", low)
    for way, colours in zip(made.features, high, strict=True):
        found[f"features_{way}"] = Panel(f"features, {TITLES[way]}", colours)
    return found | _parameters(made.kernels)


def alone(panel: Panel) -> Image.Image:
    """Draw a panel by itself, pixel for pixel."""
    assert isinstance(panel.image, Tensor)
    if panel.image.shape[1] == 1:
        return heat_map(panel.image, panel.limits, panel.colours or DEFAULT_COLOURS)
    return to_picture(panel.image)


def _parameters(kernels: GaussianKernels) -> dict[str, Panel]:
    maps = {name: getattr(kernels, name) for name in ("sigma_x", "sigma_y", "theta", "sigma_r")}
    found = dict(zip(maps, parameter_panels(**maps), strict=True))
    limits = {"sigma_r": _widened(_limits(maps["sigma_r"]))} | dict.fromkeys(
        ("sigma_x", "sigma_y"), _widened(_limits(maps["sigma_x"], maps["sigma_y"]))
    )
    return found | {name: dataclasses.replace(found[name], limits=limits[name]) for name in limits}


def _widened(limits: tuple[float, float]) -> tuple[float, float]:
    """Widen limits to a part of their middle, or a fit that hardly moved the widths would look like a large one."""
    low, high = limits
    middle = (low + high) / 2
    half = max(high - low, LEAST_RANGE * middle) / 2
    return middle - half, middle + half


def _limits(*maps: Tensor) -> tuple[float, float]:
    """Choose limits that maps share; the greatest hundredth lies above, or it would leave the others in the dark."""
    values, _ = torch.cat([map.flatten() for map in maps]).sort()
    return limits_of(values[: max(1, int(0.99 * len(values)))])
