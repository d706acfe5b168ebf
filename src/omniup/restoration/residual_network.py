"""A small network that restores pictures by adding a residual, steered by what is wrong with them.

    levels    noise, JPEG and blur of the picture as it is, estimated by a small network of its own, or known
    enlarged  the picture at the size of the result
    residual  what a U-Net of plain residual blocks predicts from the enlarged picture, its detail, the levels and the
              scale, with pixels unshuffled
    result    enlarged + residual

There is neither a norm nor attention, so that a pixel depends on a neighbourhood only: tiles with a margin of
`MARGIN` agree exactly. The levels as constant maps beside the picture are FFDNet's (arXiv 1710.04026); DRUNet has them
with such a U-Net (arXiv 2008.13751).
"""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = ("noise", "jpeg", "blur")
"""Levels of degradation, each about 0..1: noise / `NOISIEST`, (100 - quality) / 100, blur / `BLURRIEST`."""

NOISIEST = 25.0
"""Deviation of the noise at the level 1, of 255."""

BLURRIEST = 3.0
"""Width of the Gaussian kernel at the level 1, in pixels."""

LARGEST_SCALE = 4.0
"""Scale that the network takes as 1, and 1 as 0, its logarithm in between."""

CELL = 8
"""Side of a cell of the U-Net's coarsest map, in pixels."""

MARGIN = 128
"""Pixels around a tile that its restoration depends on, at most, in whole cells."""

ESTIMATOR_MARGIN = 2 * CELL
"""Pixels around a cell that its energies depend on, at most, in whole cells."""

_CONTRAST = 10.0
"""Factor that brings noise of some grey levels to about 1, which is learned many times as fast."""

_SLOPE = 0.1
"""Slope of the activation below 0. Where it was 0, all units of the coarse blocks died in training."""

_FAINTEST = 1e-3
"""Energy that counts as nothing."""

Widths: TypeAlias = tuple[int, int, int]
"""Channels at 1/2, 1/4 and 1/8 of the picture's resolution."""


class ResidualNetwork(nn.Module):
    """The network that restores, with the one that estimates the levels.

    Args:
        widths: channels at 1/2, 1/4 and 1/8 of the resolution.
        blocks: residual blocks at each, on the way down and up; as many twice at the coarsest.
    """

    def __init__(self, widths: Widths = (56, 80, 112), blocks: int = 2) -> None:
        super().__init__()
        self.widths, self.blocks = tuple(widths), blocks
        fine, middle, coarse = widths
        self.estimator = LevelEstimator()
        self.head = _conv(24 + len(LEVELS) + 1, fine)
        self.fine_down = _blocks(fine, blocks)
        self.to_middle = nn.Conv2d(fine, middle, 2, stride=2)
        self.middle_down = _blocks(middle, blocks)
        self.to_coarse = nn.Conv2d(middle, coarse, 2, stride=2)
        self.coarse = _blocks(coarse, 2 * blocks)
        self.from_coarse = nn.ConvTranspose2d(coarse, middle, 2, stride=2)
        self.middle_up = _blocks(middle, blocks)
        self.from_middle = nn.ConvTranspose2d(middle, fine, 2, stride=2)
        self.fine_up = _blocks(fine, blocks)
        self.tail = _conv(fine, 12)
        nn.init.zeros_(self.tail.weight)  # a picture comes back as it is before anything has been learned
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)

    @property
    def stages(self) -> list[nn.Sequential]:
        """The residual blocks, from the first resolution to the last."""
        return [self.fine_down, self.middle_down, self.coarse, self.middle_up, self.fine_up]

    def forward(self, images: Tensor, levels: Tensor, scale: float = 1) -> Tensor:
        """Predict what restored pictures differ by.

        Args:
            images: [B, 3, H, W], about 0..1.
            levels: [B, 3] of `LEVELS`, of the pictures before they were enlarged.
            scale: by how much they have been enlarged, bicubically.

        Returns:
            [B, 3, H, W], in units of the images.
        """
        height, width = images.shape[2:]
        padded = _whole_cells(images)
        pixels = F.pixel_unshuffle(torch.cat([2 * padded - 1, _detail(padded)], dim=1), 2)  # [B, 24, H/2, W/2]
        enlargement = math.log(scale, LARGEST_SCALE)
        numbers = torch.cat([levels, torch.full_like(levels[:, :1], enlargement)], dim=1)  # [B, 4]
        maps = numbers[:, :, None, None].expand(-1, -1, *pixels.shape[2:])  # [B, 4, H/2, W/2]
        fine = self.fine_down(self.head(torch.cat([pixels, maps], dim=1)))  # [B, C, H/2, W/2]
        middle = self.middle_down(self.to_middle(fine))  # [B, C', H/4, W/4]
        coarse = self.coarse(self.to_coarse(middle))  # [B, C", H/8, W/8]
        middle = self.middle_up(middle + self.from_coarse(coarse))
        fine = self.fine_up(fine + self.from_middle(middle))
        residual: Tensor = F.pixel_shuffle(self.tail(fine), 2) / _CONTRAST  # [B, 3, H, W] and padding
        return residual[:, :, :height, :width]


class LevelEstimator(nn.Module):
    """The network that estimates the levels of degradation from energies of filtered detail.

    The mean of the logarithm of energies of small cells is that of flat parts of a picture, which have noise and blocks
    only; the logarithm of the mean is that of edges.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.filters = nn.Sequential(
            *(_conv(12, width), nn.ReLU()), *(_conv(width, width), nn.ReLU()), _conv(width, width)
        )
        self.levels = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, len(LEVELS)))

    def forward(self, images: Tensor) -> Tensor:
        """Estimate the levels of images [B, 3, H, W]: [B, 3], not below 0."""
        return self.levels_of(self.energies(images).flatten(2))

    def energies(self, images: Tensor) -> Tensor:
        """Compute the mean energy of each filter in cells of images [B, 3, H, W]: [B, C, h, w].

        A cell depends on `ESTIMATOR_MARGIN` pixels around it, at most.
        """
        filtered = self.filters(F.pixel_unshuffle(_detail(_whole_cells(images)), 2))  # [B, C, H/2, W/2]
        return F.avg_pool2d(filtered.float().square(), CELL // 2) + _FAINTEST

    def levels_of(self, energy: Tensor) -> Tensor:
        """Estimate levels [B, 3] by the energies [B, C, N] of cells, in whatever order."""
        logs = energy.log()
        deviation = logs.var(2, correction=0).add(1e-6).sqrt()
        pooled = torch.cat([logs.mean(2), deviation, energy.mean(2).log()], dim=1)  # [B, 3C]
        levels: Tensor = self.levels(((pooled + 3) / 3).to(next(self.levels.parameters())))
        return F.softplus(levels, beta=10)


class _Block(nn.Module):
    """A residual block: two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)
        with torch.no_grad():
            self.second.weight.mul_(0.1)  # many blocks without norms begin near the identity

    def forward(self, maps: Tensor) -> Tensor:
        """Add a residual to maps [B, C, h, w]."""
        return maps + self.second(F.leaky_relu(self.first(maps), _SLOPE))


def _whole_cells(images: Tensor) -> Tensor:
    """Pad images [B, 3, H, W] to whole cells at the right and at the bottom."""
    height, width = images.shape[2:]
    return F.pad(images, (0, -width % CELL, 0, -height % CELL), mode="replicate")


def _detail(images: Tensor) -> Tensor:
    """Compute what images [B, 3, H, W] differ by from a blur of 5 × 5 pixels, in units of about 1."""
    blurred = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    return _CONTRAST * (images - blurred)


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(width) for _ in range(count)))


def _conv(channels: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 3, padding=1)
