"""Tell the levels of degradation from what was drawn for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from omniup.restoration.degradation import Draws
from omniup.restoration.residual_network import BLURRIEST, NOISIEST

_SHRUNK = 0.5
"""Width of the Gaussian that a picture shrunk to 1/n and enlarged again is as blurred as, in units of n."""


def known_levels(draws: Draws) -> Tensor:
    """Compute the levels of images degraded in the first stage, and compressed in the second.

    Of anisotropic kernels the mean variance counts, and shrinking counts as blur. Low-pass kernels count as none.

    Returns:
        [B, 3] of `LEVELS`.
    """
    factor = draws.batch.first.factor
    found = []
    for image in draws.images:
        first = image.first
        widths = [width for width in (first.blur.sigma_x, first.blur.sigma_y) if width is not None] or [0.0]
        shrunk = _SHRUNK**2 * max(0.0, factor**-2 - 1)
        blur = math.sqrt(sum(width**2 for width in widths) / len(widths) + shrunk)
        noise = first.noise.strength if first.noise.kind == "gaussian" else 0.0
        found.append([noise / NOISIEST, (100 - image.second.quality) / 100, blur / BLURRIEST])
    return torch.tensor(found)
