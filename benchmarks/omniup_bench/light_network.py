"""A light network in the manner of RaysUp (arXiv 2606.22749), to compare AnyUp with, and its training.

What is taken from there: one encoder for queries and keys, in four branches that look along different directions, all
of it pooled to any size; no projections after it; positions as rays of a camera, by which queries and keys are rotated;
and keys of the image alone. The camera is a pinhole at the origin, so that of a ray's six coordinates only its
direction is left. Windows and training are AnyUp's, so that only what makes queries and keys differs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniup import AnyUp
from omniup.files.weights import IMAGENET_MEAN, IMAGENET_STD
from omniup.mixing import DEFAULT_MEMORY, Attention, Windows
from omniup.training.anyup import Configuration, Outcome, Progress
from omniup.training.anyup.trainer import _Training
from omniup.training.randomness import seeded
from omniup.upsamplers.checks import Size

#: Heads, one for each branch, so that a head compares what its branch sees.
HEADS = 4

NORM_GROUPS = 8

#: Kernels of the branches: the pixel, its row, its column, and its corners, two pixels apart.
KERNELS = ((1, 1), (1, 3), (3, 1), (2, 2))

#: Longest period of the rotations, in units of a ray's direction, and their number, each a third of the one before.
PERIOD, FREQUENCIES = 8.0, 5


class LightNetwork(nn.Module):
    """An upsampler of features whose queries and keys are one encoded image, pooled.

    Args:
        width: D, a multiple of 32 from 128 on: a quarter for each branch.
        window_ratio: as in `AnyUp`.
    """

    def __init__(self, width: int = 320, window_ratio: float = 0.1) -> None:
        super().__init__()
        self.width, self.window_ratio = width, window_ratio
        # The first branch is as deep again, as it is the cheapest.
        self.branches = nn.ModuleList(
            _branch(width // HEADS, kernel, 2 if kernel == (1, 1) else 1) for kernel in KERNELS
        )

    def forward(
        self, image: Tensor, signal: Tensor, size: Size | None = None, *, memory: int = DEFAULT_MEMORY
    ) -> Tensor:
        """Upsample features.

        Args:
            image: [B, 3, H, W] in 0..1.
            signal: [B, C, h, w].
            size: (H', W') of the result; by default the image's.
            memory: bytes of scratch space of the mix.

        Returns:
            [B, C, H', W'].
        """
        image_size, grid = (image.shape[2], image.shape[3]), (signal.shape[2], signal.shape[3])
        size = size or image_size
        mean, std = (image.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        normal = ((image - mean) / std).contiguous(memory_format=torch.channels_last)
        encoded = torch.cat([branch(normal) for branch in self.branches], dim=1)  # [B, D, H, W]
        query, key = (rotate(_pool(encoded, cells).to(signal.dtype), image_size) for cells in (size, grid))
        windows = Windows.relative(size, grid, self.window_ratio)
        scale = (self.width // HEADS) ** -0.5
        return Attention(scale * key, windows, heads=HEADS, memory=memory).mix(query, signal)

    def metadata(self) -> dict[str, str]:
        """Return what a file of its weights says of them."""
        return {"network": "light", "width": str(self.width), "window_ratio": str(self.window_ratio)}


def train_light(
    configuration: Configuration,
    width: int,
    output: Path,
    *,
    resume: bool | None = True,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Train a light network of a width as AnyUp is trained; see `omniup.training.anyup.train`."""

    class Light(_Training):
        def _make_network(self) -> AnyUp:
            with seeded(configuration.seed, "weights"):
                network = LightNetwork(width, configuration.model.window_ratio)
            return cast(AnyUp, network.train())  # of which the training wants parameters, a call and metadata

    return Light(configuration, output, resume).run(progress)


def rotate(maps: Tensor, image_size: Size) -> Tensor:
    """Rotate pairs of each head's coordinates of maps [B, D, H', W'] by angles that grow with the pixels' rays.

    Coordinates i and i + half of a head are a pair; the first pairs have an angle for each coordinate of a ray's
    direction and each frequency, the others none.
    """
    heads = maps.unflatten(1, (HEADS, 2, -1))  # [B, heads, 2, pairs, H', W']
    angles = ray_angles((maps.shape[2], maps.shape[3]), image_size).to(maps)  # [3 F, H', W']
    one, other = heads[:, :, 0], heads[:, :, 1]  # [B, heads, pairs, H', W'] each
    turned, still = len(angles), one.shape[2] - len(angles)
    cos, sin = angles.cos(), angles.sin()
    (a, rest), (b, last) = (each.split([turned, still], dim=2) for each in (one, other))
    return torch.cat([a * cos - b * sin, rest, a * sin + b * cos, last], dim=2).flatten(1, 2)


def ray_angles(size: Size, image_size: Size) -> Tensor:
    """Compute the angles of a grid's places: each coordinate of their rays' directions at each frequency.

    Args:
        size: (H', W'), places that cover the image.
        image_size: (H, W); the focal length is its longer side.

    Returns:
        [3 F, H', W'].
    """
    longer = max(image_size)
    y, x = (
        ((torch.arange(places) + 0.5) / places - 0.5) * (side / longer)
        for places, side in zip(size, image_size, strict=True)
    )
    y, x = torch.meshgrid(y, x, indexing="ij")
    directions = F.normalize(torch.stack([x, y, torch.ones_like(x)]), dim=0)  # [3, H', W']
    frequencies = 2 * torch.pi / PERIOD * 3.0 ** torch.arange(FREQUENCIES)
    return (frequencies.view(-1, 1, 1, 1) * directions).flatten(0, 1)


def _pool(maps: Tensor, size: Size) -> Tensor:
    """Pool maps adaptively, which takes time even where there is nothing to do."""
    return maps if maps.shape[2:] == size else F.adaptive_avg_pool2d(maps, size)


class _Block(nn.Module):
    """A residual block of two norms, SiLUs and convolutions."""

    def __init__(self, width: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.GroupNorm(NORM_GROUPS, width), nn.SiLU(), _conv(width, width, kernel)),
            *(nn.GroupNorm(NORM_GROUPS, width), nn.SiLU(), _conv(width, width, kernel)),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.layers(maps)


def _branch(width: int, kernel: tuple[int, int], blocks: int) -> nn.Sequential:
    return nn.Sequential(_conv(3, width, kernel), *(_Block(width, kernel) for _ in range(blocks)))


def _conv(inputs: int, outputs: int, kernel: tuple[int, int]) -> nn.Conv2d:
    dilation = 2 if kernel == (2, 2) else 1
    return nn.Conv2d(inputs, outputs, kernel, padding="same", dilation=dilation, padding_mode="replicate")
