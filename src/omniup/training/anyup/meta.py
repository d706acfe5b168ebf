"""Compute the training losses of AnyUp after it has adapted to each image: meta-training (MAML with Meta-SGD).

The inner loop is the one of `AnyUp.adapt`, with as many steps of consistency as the losses, so what is trained is what
is used: the network from which the steps start,
their sizes, and the directions of the terms of low rank.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from omniup.mixing import DEFAULT_MEMORY
from omniup.training.anyup.configuration import MetaSettings
from omniup.training.anyup.objective import Objective
from omniup.upsamplers.anyup.adaptation import Adaptation, Support, SupportLoss, halve


class MetaObjective(nn.Module):
    """The losses of an objective, with a network that is adapted to each image by itself.

    Args:
        objective: with a network that has an `adaptation`.
        settings: of the inner loop.
    """

    def __init__(self, objective: Objective, settings: MetaSettings) -> None:
        super().__init__()
        self.objective, self.settings = objective, settings
        memory = DEFAULT_MEMORY if settings.first_order else None
        network, consistency = objective.network, objective.settings.consistency
        self.support_loss = SupportLoss(network, network.window_ratio, memory, consistency)

    def forward(self, **batch: Any) -> dict[str, Tensor]:
        """Compute the losses of a batch, of `Objective`'s arguments: their means over the images."""
        network, second_order = self.objective.network, not self.settings.first_order
        adaptation = network.adaptation
        assert isinstance(adaptation, Adaptation)  # as for every network that is meta-trained
        features = batch["features"]
        with torch.set_grad_enabled(second_order):
            image = torch.cat(list(network.normalise(halve(batch["guidance"]))))  # [B, 3, s/2, s/2]
            supports = list(Support.batch(network, image, features))
        total: dict[str, Tensor] = {}
        for number, support in enumerate(supports):
            steps = self.settings.inner_steps
            adapted = adaptation(network, support, self.support_loss, steps, second_order=second_order)
            tensors = {f"network.{name}": tensor for name, tensor in adapted.items()}
            losses = functional_call(self.objective, tensors, kwargs=_one(batch, number, len(supports)))
            for name, loss in losses.items():
                total[name] = total.get(name, 0) + loss / len(supports)
        return total


def _one(batch: dict[str, Any], number: int, images: int) -> dict[str, Any]:
    """Return the part of a batch that one image has: of crops, which lie one after the other, its own."""
    return {
        name: value.unflatten(0, (images, -1))[number] if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }
