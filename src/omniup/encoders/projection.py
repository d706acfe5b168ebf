"""Project the image's colours with a fixed random matrix: features without any network.

The cheapest signal with many channels. It needs no weights, and its edges are the image's own, so it shows what an
upsampler does to features on any machine (spec, section 6.1, mode "fake").
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from omniup.encoders.base import Encoding, register
from omniup.encoders.preparation import check_request, nearest_cells
from omniup.errors import InputError


@register("projection", "a fixed random projection of the image's colours; needs no weights")
class Projection:
    """Bilinear reduction to the grid, then one random unit direction of colour space per feature channel.

    The directions are drawn by NumPy's PCG64, not by torch, whose random streams differ between devices and releases:
    the same settings give the same features everywhere.

    Args:
        channels: of the features.
        stride: pixels per cell of the own grid, which is (H / stride, W / stride) rounded, at least one cell.
        seed: picks another set of directions.

    Raises:
        InputError: `channels` or `stride` is below 1, or `seed` below 0.
    """

    def __init__(self, channels: int = 32, stride: int = 16, seed: int = 0) -> None:
        for name, value, least in (("channels", channels, 1), ("stride", stride, 1), ("seed", seed, 0)):
            if value < least:
                raise InputError(name, "is {value}", "{least} or more", value=value, least=least)
        self.channels = channels
        self.stride = stride
        self.seed = seed

    @torch.no_grad()
    def __call__(self, image: Tensor, grid: tuple[int, int] | None = None) -> Encoding:
        """Project an image.

        Args:
            image: [B, G, H, W], floating point in 0..1, any G.
            grid: the wanted (h, w); None means the own grid.

        Returns:
            Features [B, channels, h, w] in the image's dtype.

        Raises:
            InputError: the image or the grid cannot be accepted.
        """
        check_request(image, grid, channels=None)
        height, width = image.shape[2:]
        grid = grid or (nearest_cells(height, self.stride), nearest_cells(width, self.stride))
        # without antialiasing, as the spec reduces images
        reduced = F.interpolate(image, size=grid, mode="bilinear", align_corners=False)  # [B, G, h, w]
        directions = self._directions(image.shape[1]).to(image)  # [C, G]
        return Encoding(F.conv2d(reduced, directions[:, :, None, None]), "projection", "deterministic projection")

    def _directions(self, image_channels: int) -> Tensor:
        """Draw random unit vectors: [C, G] float64."""
        normal = np.random.Generator(np.random.PCG64(self.seed)).standard_normal((self.channels, image_channels))
        return torch.from_numpy(normal / np.linalg.norm(normal, axis=1, keepdims=True))
