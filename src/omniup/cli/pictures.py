"""Draw the pictures of a reconstruction: one sheet with all of them, and each by itself, pixel for pixel."""

from __future__ import annotations

from PIL import Image

from omniup.reconstruction import NAMES, Reconstruction, alone, panels
from omniup.visualize import loss_curve, sheet

NARROWEST, WIDEST = 192, 384
"""Limits of the width of a sheet's panel, in pixels."""

APART = ("bicubic", "error_bicubic")
"""Pictures that the sheet leaves out, for five rows of four; it has the better-known bilinear."""


def names(*, fitted: bool) -> tuple[str, ...]:
    """Return the names of the pictures that `pictures` draws."""
    return ("sheet", *(("loss",) if fitted else ()), *NAMES)


def pictures(made: Reconstruction, title: str) -> dict[str, Image.Image]:
    """Draw everything.

    Args:
        made: what to draw.
        title: begins the heading of the sheet.

    Returns:
        By the names of their files without suffix: `sheet`; `loss` if anything was fitted; each picture by itself.
    """
    found = panels(made)
    width = min(max(made.image.shape[3], NARROWEST), WIDEST)
    title = f"{title}; features: {made.encoding.encoder}, in colours by PCA"
    drawn = {"sheet": sheet([panel for name, panel in found.items() if name not in APART], title=title, width=width)}
    if losses := made.kernels.history.losses:
        drawn["loss"] = loss_curve(losses, title="Mean absolute error of the reconstruction, while fitting")
    return drawn | {name: alone(panel) for name, panel in found.items()}
