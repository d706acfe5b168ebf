"""Pretrain AnyUp without targets at a higher resolution: three tasks on plain photographs.

Inpainting: some cells of the features are masked, and the result's means over these cells should be the features that
were there. Scale consistency: the result should not depend on the resolution of the image. Alignment: the features of
two encoders of one image should lead to the same attention.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniup.mixing import cell_means
from omniup.training.anyup import losses
from omniup.training.anyup.backbones import Backbone
from omniup.training.anyup.configuration import PretrainingSettings
from omniup.training.photographs import reduce
from omniup.training.randomness import draw
from omniup.upsamplers.anyup import AnyUp

SCALES = (0.5, 2.0)
"""Sides of the resized guidance, as parts of its own: the logarithm is uniform between these."""

SIGNS = 32
"""Channels of random signs, whose mixes are compared in place of the weights."""


class PretrainingObjective(nn.Module):
    """The losses of the three tasks.

    Args:
        network: in training mode.
        settings: their weights; 0 leaves a task out.
    """

    def __init__(self, network: AnyUp, settings: PretrainingSettings) -> None:
        super().__init__()
        self.network, self.settings = network, settings

    def forward(
        self,
        guidance: Tensor,
        features: Tensor,
        size: tuple[int, int],
        masked: Tensor,
        resized: Tensor,
        other: Tensor | None,
        signs: Tensor,
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch, each unweighted, and `loss`, to be minimised.

        Args:
            guidance: [B, 3, s, s].
            features: [B, C, h, w] of the guidance.
            size: (H, W) of the results.
            masked: [B, K], places of the masked cells among the h·w of each image.
            resized: [B, 3, t, t], the same photographs at another resolution.
            other: [B, D, i, j], features of the guidance by another encoder, where alignment has a weight.
            signs: [B, S, ...], +1 or -1, of the smaller of the two grids.
        """
        found = {}
        if self.settings.inpainting:
            found["inpainting"] = self._inpainting(guidance, features, size, masked)
        if self.settings.scale_consistency:
            changed = self.network(resized, features, size)
            with torch.no_grad():
                clean = self.network(guidance, features, size)
            found["scale_consistency"] = losses.self_consistency(changed, clean)
        if other is not None:
            found["alignment"] = self._alignment(guidance, (features, other), size, signs)
        loss = torch.stack([getattr(self.settings, name) * value for name, value in found.items()]).sum()
        return found | {"loss": loss}

    def _inpainting(self, guidance: Tensor, features: Tensor, size: tuple[int, int], masked: Tensor) -> Tensor:
        """Replace masked cells by the mean of the others; compare the result's means there with what they were."""
        flat = features.flatten(2)  # [B, C, h w]
        hidden = torch.zeros_like(flat[:, 0], dtype=torch.bool).scatter(1, masked, True).unsqueeze(1)  # [B, 1, h w]
        mean = flat.masked_fill(hidden, 0).sum(2, keepdim=True) / (flat.shape[2] - masked.shape[1])  # [B, C, 1]
        replaced = torch.where(hidden, mean, flat).view_as(features)
        result = self.network(guidance, replaced, size)
        means = F.adaptive_avg_pool2d(result, (features.shape[2], features.shape[3])).flatten(2)  # [B, C, h w]
        places = masked.unsqueeze(1).expand(-1, flat.shape[1], -1)  # [B, C, K]
        prediction, target = (each.gather(2, places).unsqueeze(3) for each in (means, flat))  # [B, C, K, 1]
        return losses.distance(prediction, target)

    def _alignment(self, guidance: Tensor, pair: tuple[Tensor, Tensor], size: tuple[int, int], signs: Tensor) -> Tensor:
        """Compute the squared distance of the attention weights that two encoders' features lead to, of all pixels.

        The weights themselves, pixels × cells, are never made: for r of independent signs, the mean of (r · d)² is |d|²
        (Hutchinson), and r · d is the difference of two mixes of r. Finer features are averaged over the other's cells.
        """
        grid = signs.shape[2], signs.shape[3]
        one, two = (self.network.mix(guidance, cell_means(features, grid), signs, size) for features in pair)
        return (one - two).square().mean()


class WithPretraining(nn.Module):
    """Both parts of a training as one module, since processes average the gradients of one."""

    def __init__(self, first: PretrainingObjective, then: nn.Module) -> None:
        super().__init__()
        self.first, self.then = first, then

    def forward(self, *, pretraining: bool, **batch: Any) -> dict[str, Tensor]:
        """Compute the losses of a batch of either part."""
        found: dict[str, Tensor] = (self.first if pretraining else self.then)(**batch)
        return found


def pretraining_batch(
    images: Tensor,
    backbones: list[Backbone],
    settings: PretrainingSettings,
    input_size: int,
    device: torch.device,
    *,
    seed: int,
    number: int,
    process: int,
) -> dict[str, Any]:
    """Make the arguments of `PretrainingObjective` from photographs.

    Args:
        images: [B, 3, S, S].
        backbones: to draw one from, and for alignment another.
        settings: of the tasks.
        input_size: the side of the guidance.
        device: of the features and the network.
        seed: of the training.
        number: of the batch.
        process: of the processes that the training runs in.
    """
    chosen = draw(seed, "backbone", number).permutation(len(backbones))  # the same in all processes
    backbone = backbones[chosen[0]]
    guidance = reduce(images, input_size).to(device)
    features = backbone(guidance)
    other = backbones[chosen[1]](guidance) if settings.alignment else None
    height, width = features.shape[2:]
    cells, side = height * width, images.shape[2] // backbone.patch
    count = min(max(1, round(settings.masked * cells)), cells - 1)
    random = draw(seed, "pretraining", number, process)
    masked = np.stack([random.permutation(cells)[:count] for _ in images])  # [B, K]
    low, high = np.log(SCALES)
    resized = reduce(images, round(input_size * float(np.exp(draw(seed, "scale", number).uniform(low, high)))))
    grid = (height, width) if other is None else (min(height, other.shape[2]), min(width, other.shape[3]))
    signs = 2 * random.integers(2, size=(len(images), SIGNS, *grid)) - 1
    return {
        "guidance": guidance,
        "features": features,
        "size": (side, side),
        "masked": torch.from_numpy(masked).to(device),
        "resized": resized.to(device),
        "other": other,
        "signs": torch.from_numpy(signs).to(features),
    }
