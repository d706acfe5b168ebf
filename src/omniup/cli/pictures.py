"""Pictures of a reconstruction: one sheet with everything on it, and each picture by itself, pixel for pixel."""

from __future__ import annotations

import dataclasses

import torch
from PIL import Image
from torch import Tensor

from omniup.cli.reconstruction import Reconstruction
from omniup.upsamplers import GaussianKernels
from omniup.visualize import (
    Panel,
    error_map,
    heat_map,
    limits_of,
    loss_curve,
    parameter_panels,
    pca_rgb,
    sheet,
    to_picture,
)
from omniup.visualize.colours import DEFAULT_COLOURS

NARROWEST, WIDEST = 192, 384
"""How wide a panel of the sheet may be, in pixels."""

TITLES = {"bilinear": "bilinear", "bicubic": "bicubic", "fixed": "fixed joint bilateral", "fitted": "fitted kernels"}


def pictures(made: Reconstruction, title: str) -> dict[str, Image.Image]:
    """Draw everything.

    Args:
        made: what to draw.
        title: begins the heading of the sheet.

    Returns:
        By the names of their files without suffix: `sheet`; `loss` if anything was fitted; each picture by itself.
    """
    panels = _panels(made)
    width = min(max(made.image.shape[3], NARROWEST), WIDEST)
    title = f"{title}; features: {made.encoding.encoder}, in colours by PCA"
    drawn = {"sheet": sheet(list(panels.values()), title=title, width=width)}
    if losses := made.kernels.history.losses:
        drawn["loss"] = loss_curve(losses, title="Mean absolute error of the reconstruction, while fitting")
    drawn["bicubic"] = to_picture(made.images["bicubic"])  # by itself only: the sheet has the better-known bilinear
    return drawn | {name: _alone(panel) for name, panel in panels.items()}


def _panels(made: Reconstruction) -> dict[str, Panel]:
    """Make the panels of the sheet, four rows of four, by the names of their files."""
    errors = {way: error_map(made.images[way], made.image) for way in ("fixed", "fitted")}
    _, worst = _limits(*errors.values())
    panels = {"original": Panel("original", made.image), "low_resolution": Panel("low resolution", made.cells)}
    for way in ("bilinear", "fixed", "fitted"):
        panels[way] = Panel(f"{TITLES[way]}, {made.metrics[way]['psnr_recon']:.2f} dB", made.images[way])
    for way, error in errors.items():
        panels[f"error_{way}"] = Panel(f"error of {TITLES[way]}", error, limits=(0, worst), unit="L1")
    panels["confidence"] = Panel("confidence of the fitted kernels", made.confidence, limits=(0, 1), colours="viridis")

    low, *high = pca_rgb(made.encoding.features, *made.features.values())
    panels["features_low_resolution"] = Panel("features, low resolution", low)
    for way, colours in zip(made.features, high, strict=True):
        panels[f"features_{way}"] = Panel(f"features, {TITLES[way]}", colours)
    return panels | _parameters(made.kernels)


def _parameters(kernels: GaussianKernels) -> dict[str, Panel]:
    maps = {name: getattr(kernels, name) for name in ("sigma_x", "sigma_y", "theta", "sigma_r")}
    panels = dict(zip(maps, parameter_panels(**maps), strict=True))
    limits = {"sigma_r": _limits(maps["sigma_r"])} | dict.fromkeys(
        ("sigma_x", "sigma_y"), _limits(maps["sigma_x"], maps["sigma_y"])
    )
    return panels | {name: dataclasses.replace(panels[name], limits=limits[name]) for name in limits}


def _limits(*maps: Tensor) -> tuple[float, float]:
    """Find limits that maps share; the greatest hundredth lies above, or it would leave the others in the dark."""
    values, _ = torch.cat([map.flatten() for map in maps]).sort()
    return limits_of(values[: max(1, int(0.99 * len(values)))])


def _alone(panel: Panel) -> Image.Image:
    assert isinstance(panel.image, Tensor)
    if panel.image.shape[1] == 1:
        return heat_map(panel.image, panel.limits, panel.colours or DEFAULT_COLOURS)
    return to_picture(panel.image)
