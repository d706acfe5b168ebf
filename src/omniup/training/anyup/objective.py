"""Compute the training losses of AnyUp on a batch, as one module: one call is one forward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omniup.training.anyup import losses
from omniup.training.anyup.configuration import LossSettings
from omniup.training.anyup.views import regions
from omniup.upsamplers.anyup import AnyUp


class Objective(nn.Module):
    """The network's losses.

    Args:
        network: in training mode.
        settings: the weights of the losses.
    """

    def __init__(self, network: AnyUp, settings: LossSettings) -> None:
        super().__init__()
        self.network = network
        self.settings = settings

    def forward(
        self,
        guidance: Tensor,
        changed: Tensor | None,
        features: Tensor,
        targets: Tensor,
        corners: Tensor,
        size: tuple[int, int],
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            guidance: [B, 3, s, s].
            changed: the same, augmented; None leaves self-consistency out.
            features: [B, C, h, w] of the guidance.
            targets: [B·K, C, c, c], features of the crops.
            corners: [B, K, 2], the crops' first cells.
            size: of the map that the crops' cells belong to.

        Returns:
            `loss`, to be minimised, and its parts, unweighted: `distance`, `self_consistency`,
            `input_consistency`.
        """
        result = self.network(guidance, features, size)  # [B, C, H, W]
        found = {"distance": losses.distance(regions(result, corners, targets.shape[2]), targets)}
        loss = found["distance"]
        if self.settings.input_consistency:
            found["input_consistency"] = losses.input_consistency(result, features)
            loss = loss + self.settings.input_consistency * found["input_consistency"]
        if changed is not None:
            side = self.settings.self_consistency_size or guidance.shape[2]
            with torch.no_grad():
                clean = result if size == (side, side) else self.network(guidance, features, (side, side))
            found["self_consistency"] = losses.self_consistency(self.network(changed, features, (side, side)), clean)
            loss = loss + self.settings.self_consistency * found["self_consistency"]
        return found | {"loss": loss}
