"""Compute the training losses of AnyUp on a batch, as one module: one call is one forward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from omniup.mixing import DEFAULT_MEMORY, cell_means
from omniup.training.anyup import losses
from omniup.training.anyup.configuration import LossSettings
from omniup.training.anyup.views import regions
from omniup.upsamplers.anyup import AnyUp
from omniup.upsamplers.consistency import add_lacking


class Objective(nn.Module):
    """The network's losses.

    Args:
        network: in training mode.
        settings: the weights of the losses, and what is done to results before.
    """

    def __init__(self, network: AnyUp, settings: LossSettings) -> None:
        super().__init__()
        self.network = network
        self.settings = settings

    def forward(self, guidance: Tensor, features: Tensor, **reference: Any) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            guidance: [B, 3, s, s].
            features: [B, C, h, w] of the guidance, or of the same image at another size.
            reference: `segments` [B, K, S, S] alone, or the further arguments of `_compare`.

        Returns:
            `loss`, to be minimised, and its parts, unweighted: `segments`; or `distance`, `self_consistency`,
            `input_consistency`.
        """
        if "segments" not in reference:
            return self._compare(guidance, features, **reference)
        segments, size = reference["segments"], (guidance.shape[2], guidance.shape[3])
        fractions = cell_means(segments, (features.shape[2], features.shape[3]))
        result = self._upsample(guidance, features, size, fractions)  # [B, K, s, s]
        loss = losses.segment_distance(result, cell_means(segments, size))
        return {"segments": loss, "loss": loss}

    def _compare(
        self,
        guidance: Tensor,
        features: Tensor,
        changed: Tensor | None,
        targets: Tensor,
        corners: Tensor,
        size: tuple[int, int],
    ) -> dict[str, Tensor]:
        """Compare upsampled features with others.

        Args:
            guidance: as in `forward`.
            features: likewise.
            changed: the guidance, augmented; None leaves self-consistency out.
            targets: [B·K, C, c, c], features of the crops.
            corners: [B, K, 2], the crops' first cells.
            size: of the map that the crops' cells belong to.
        """
        result = self._upsample(guidance, features, size)  # [B, C, H, W]
        found = {"distance": losses.distance(regions(result, corners, targets.shape[2]), targets)}
        loss = found["distance"]
        if self.settings.input_consistency:
            found["input_consistency"] = losses.input_consistency(result, features)
            loss = loss + self.settings.input_consistency * found["input_consistency"]
        if changed is not None:
            side = self.settings.self_consistency_size or guidance.shape[2]
            with torch.no_grad():
                clean = result if size == (side, side) else self._upsample(guidance, features, (side, side))
            found["self_consistency"] = losses.self_consistency(self._upsample(changed, features, (side, side)), clean)
            loss = loss + self.settings.self_consistency * found["self_consistency"]
        return found | {"loss": loss}

    def _upsample(
        self, guidance: Tensor, features: Tensor, size: tuple[int, int], values: Tensor | None = None
    ) -> Tensor:
        """Upsample values [B, V, h, w], by default the features, to [B, V, H, W], made consistent with them."""
        values = features if values is None else values
        result = self.network.mix(guidance, features, values, size)
        steps = self.settings.consistency
        return add_lacking(result, values, steps, DEFAULT_MEMORY) if steps else result
