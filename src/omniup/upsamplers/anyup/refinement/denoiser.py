"""Denoise the residual of one principal component: a small U-Net, conditioned on guidance, result and timestep.

    x̂0 = m + g · x_t        m, g = U-Net(x_t, conditions, timestep, deviation)

where x_t is the noisy residual. This is the form of the best denoiser where the residual is normal given the
conditions; m and g begin at zero, so an untrained network says that there is no residual. There is neither a norm nor
attention: a place depends on a neighbourhood only, so bands with a margin of `MARGIN` rows agree exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniup.mixing import cell_means
from omniup.upsamplers.anyup.refinement.components import PrincipalComponents
from omniup.upsamplers.checks import Size

CONDITIONS = 9
"""Maps beside the noisy residual; see `conditions_of`."""

TIMESTEPS = 1000
"""Timesteps of the noise that is trained on."""

CELL = 2
"""Side of a cell of the coarser map, to which sides are padded."""

MARGIN = 16
"""Rows on either side that a row depends on, at most, in whole cells: 6 fine convolutions, and 4 of two rows each."""

FREQUENCIES = 16
"""Frequencies of the timestep's embedding."""


class Denoiser(nn.Module):
    """The network.

    Args:
        width: channels at the residual's resolution; at half of it there are twice as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Sequential(nn.Linear(2 * FREQUENCIES + 1, 2 * width), nn.SiLU())
        self.head = _conv(1 + CONDITIONS, width)
        self.fine_down = _Block(width, 2 * width)
        self.to_coarse = nn.Conv2d(width, 2 * width, CELL, stride=CELL)
        self.coarse = nn.ModuleList(_Block(2 * width, 2 * width) for _ in range(2))
        self.from_coarse = nn.ConvTranspose2d(2 * width, width, CELL, stride=CELL)
        self.fine_up = _Block(width, 2 * width)
        self.tail = _conv(width, 2)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def forward(self, noisy: Tensor, conditions: Tensor, timestep: Tensor, deviation: Tensor) -> Tensor:
        """Estimate residuals without their noise.

        Args:
            noisy: [N, 1, H, W], in units of the components' deviations.
            conditions: [N, 9, H, W], of `conditions_of`.
            timestep: [N], 0 up to `TIMESTEPS`.
            deviation: [N], of the components, relative to the first of their image.

        Returns:
            [N, 1, H, W].
        """
        height, width = noisy.shape[2:]
        embedded = self.embedding(torch.cat([_embed(timestep.to(noisy)), deviation.log()[:, None].to(noisy)], dim=1))
        maps = torch.cat([noisy, conditions], dim=1)
        maps = F.pad(maps, (0, -width % CELL, 0, -height % CELL), mode="replicate")
        fine = self.fine_down(self.head(maps), embedded)  # [N, D, H, W]
        coarse = self.to_coarse(fine)  # [N, 2 D, H/2, W/2]
        for block in self.coarse:
            coarse = block(coarse, embedded)
        fine = self.fine_up(fine + self.from_coarse(coarse), embedded)
        mean, gain = self.tail(F.silu(fine))[:, :, :height, :width].split(1, dim=1)
        return mean + gain * noisy


class _Block(nn.Module):
    """A residual block of two convolutions, scaled and shifted in between by what the timestep says."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)
        self.modulation = nn.Linear(embedding, 2 * width)
        with torch.no_grad():
            self.second.weight.mul_(0.1)  # blocks without norms begin near the identity

    def forward(self, maps: Tensor, embedded: Tensor) -> Tensor:
        """Add a residual to maps [N, D, H, W], by embeddings [N, E]."""
        scale, shift = self.modulation(embedded)[:, :, None, None].chunk(2, dim=1)
        return maps + self.second(F.silu(self.first(F.silu(maps)) * (1 + scale) + shift))


def conditions_of(guidance: Tensor, features: Tensor, initial: Tensor, components: PrincipalComponents) -> Tensor:
    """Compute the maps that the residuals of one image's components are estimated from.

    In the order of the channels: the component of the initial result; of the features, interpolated; what the initial
    result's cell means lack of it; its deviation among the 3 × 3 cells around; the same of all components together;
    the guidance, three channels, averaged over the result's pixels; its deviation within them.

    Args:
        guidance: [1, 3, Y, X] in 0..1.
        features: [C, h, w].
        initial: [C, H, W].
        components: K of the features.

    Returns:
        [K, 9, H, W].
    """
    size = initial.shape[1], initial.shape[2]
    made = components.coordinates(initial)[:, None]  # [K, 1, H, W]
    cells = components.coordinates(features)[:, None]  # [K, 1, h, w]
    lacking = cells - cell_means(made, (features.shape[1], features.shape[2]))
    variance = _variance(cells, 3)
    together = variance.mean(0, keepdim=True)
    cell_maps = torch.cat([cells, lacking, variance.sqrt(), together.sqrt().expand_as(cells)], dim=1)
    interpolated = F.interpolate(cell_maps, size, mode="bilinear")  # [K, 4, H, W]
    seen = _averaged(guidance, size).expand(len(made), -1, -1, -1)  # [K, 4, H, W]
    return torch.cat([made, interpolated, seen], dim=1)


def _averaged(guidance: Tensor, size: Size) -> Tensor:
    """Average guidance [1, 3, Y, X] over pixels of another size, with its deviation within them: [1, 4, H, W]."""
    mean = F.adaptive_avg_pool2d(guidance, size)
    variance = (F.adaptive_avg_pool2d(guidance.square(), size) - mean.square()).mean(1, keepdim=True)
    return torch.cat([mean - 0.5, variance.clamp_min(0).sqrt()], dim=1)


def _variance(maps: Tensor, side: int) -> Tensor:
    """Compute the variance among the side × side places around each of maps [K, 1, h, w]."""
    padded = F.pad(maps, [side // 2] * 4, mode="replicate")
    mean = F.avg_pool2d(padded, side, stride=1)
    return (F.avg_pool2d(padded.square(), side, stride=1) - mean.square()).clamp_min(0)


def _embed(timestep: Tensor) -> Tensor:
    """Embed timesteps [N] by sines and cosines of geometric frequencies: [N, 2 · FREQUENCIES]."""
    frequencies = torch.logspace(0, 2, FREQUENCIES, device=timestep.device, dtype=timestep.dtype)
    angles = timestep[:, None] / TIMESTEPS * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _conv(channels: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 3, padding=1)
