"""Compute the losses of the generator and of the discriminator.

Each is one module, so that one call is one forward pass.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniup.training.hypir.configuration import LossSettings
from omniup.training.hypir.discriminator import Discriminator, adversarial_loss
from omniup.training.hypir.generator import Generator
from omniup.training.hypir.perceptual import distance

Critic = Callable[[Tensor], list[Tensor]]
"""Pictures [B, 3, H, W] in -1..1 to logits, level by level."""


class GeneratorObjective(nn.Module):
    """The generator's losses.

    Args:
        generator: what is to learn.
        perceptual: LPIPS; None leaves it out.
        settings: the weights of the losses.
        target: what the discriminator should say, of 1.
    """

    def __init__(self, generator: Generator, perceptual: nn.Module | None, settings: LossSettings, target: float):
        super().__init__()
        self.generator, self.perceptual = generator, perceptual
        self.settings, self.target = settings, target

    def forward(
        self, lq: Tensor, target: Tensor, noise: Tensor, text: Tensor, critic: Critic | None, measure: bool
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            lq: [B, 3, S, S] in -1..1.
            target: likewise.
            noise: [B, L, s, s].
            text: [B, T, D] or [1, T, D].
            critic: the discriminator, none of whose weights learn here; None leaves it out.
            measure: whether to measure gradients as well.

        Returns:
            `loss`, to be minimised, and its parts, unweighted: `mse`, `perceptual`, `adversarial`, those
            that count; with `measure` also `gradient/PART`, the norm of each part's gradient, weighted, at the
            U-Net's last layer.
        """
        restored = self.generator(lq, noise, text).float()  # [B, 3, S, S]
        settings, parts = self.settings, dict[str, Tensor]()
        if settings.mse:
            parts["mse"] = F.mse_loss(restored, target)
        if self.perceptual is not None:
            parts["perceptual"] = distance(self.perceptual, restored, target)
        if critic is not None:
            parts["adversarial"] = adversarial_loss(critic(restored), self.target)
        weighted = {name: getattr(settings, name) * part for name, part in parts.items()}
        norms = {f"gradient/{name}": self._norm(part) for name, part in weighted.items()} if measure else {}
        return {"loss": torch.stack(list(weighted.values())).sum()} | parts | norms

    def _norm(self, part: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(part, self.generator.last_layer, retain_graph=True)
        return gradient.norm()


class DiscriminatorObjective(nn.Module):
    """The discriminator's loss.

    Args:
        discriminator: what is to learn.
        target: what it should say of real pictures, of 1.
    """

    def __init__(self, discriminator: Discriminator, target: float) -> None:
        super().__init__()
        self.discriminator, self.target = discriminator, target

    def forward(self, real: Tensor, restored: Tensor) -> dict[str, Tensor]:
        """Compute the loss of real and restored pictures, [B, 3, S, S] in -1..1, without gradients for these.

        Returns:
            `loss`, to be minimised, and the mean logits, `real` and `restored`.
        """
        logits = self.discriminator(torch.cat([real, restored]))  # in one pass, since each normalises the weights anew
        ours, theirs = zip(*(level.chunk(2) for level in logits), strict=True)
        loss = adversarial_loss(list(ours), self.target) + adversarial_loss(list(theirs), 0.0)
        means = [torch.stack([level.detach().float().mean() for level in levels]).mean() for levels in (ours, theirs)]
        return {"loss": loss, "real": means[0], "restored": means[1]}
