"""Discriminate real from restored pictures (arXiv 2112.09130): small heads on a large, frozen network.

It lies here and not beside the other networks of restoration since nothing but the training needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from omniup.encoders.preparation import normalise
from omniup.encoders.timm_backbone import load_timm
from omniup.errors import InputError, optional_import
from omniup.training.hypir.configuration import DiscriminatorSettings
from omniup.training.randomness import seeded
from omniup.training.settings import load_timm_weights

STAGES = 3
"""Stages of the backbone that have a head, from the first on; the embedding of the whole picture has one too."""


class Discriminator(nn.Module):
    """A classifier of real and restored pictures, at several scales.

    A head on a stage blurs against aliasing, convolves (3×3, stride 2), blurs, and convolves (1×1, stride 2) to one
    channel; the head on the embedding is two linear layers. Weights of all of them are normalised by their largest
    singular value.

    Args:
        settings: which backbone, and the heads' width.
        seed: of the heads' weights.

    Raises:
        InputError: timm has no such ConvNeXt, or its weights cannot be had or do not fit.
        MissingPackageError: timm is not installed.
    """

    def __init__(self, settings: DiscriminatorSettings, seed: int) -> None:
        super().__init__()
        if "convnext" not in settings.backbone:
            raise InputError("discriminator.backbone", "is {value!r}", "a ConvNeXt of timm", value=settings.backbone)
        load = partial(load_timm, settings.backbone)
        self.backbone, _ = load_timm_weights(load, settings.weights, "discriminator.weights")
        self.backbone.requires_grad_(False)
        timm = optional_import("timm", extra="features")
        data = timm.data.resolve_model_data_config(self.backbone)
        self._mean, self._std = data["mean"], data["std"]
        # CLIP's networks end in the embedding that goes with texts, others in classes, before which lies theirs.
        self._is_clip = "clip" in (self.backbone.pretrained_cfg.get("tag") or "")
        embedding = self.backbone.num_classes if self._is_clip else self.backbone.head_hidden_size
        width = settings.width
        with seeded(seed, "discriminator"):
            self.heads = nn.ModuleList(
                _stage_head(stage["num_chs"], width) for stage in self.backbone.feature_info[:STAGES]
            )
            self.heads.append(
                nn.Sequential(
                    spectral_norm(nn.Linear(embedding, width)), nn.LeakyReLU(0.2), spectral_norm(nn.Linear(width, 1))
                )
            )

    def train(self, mode: bool = True) -> Discriminator:
        """Set the mode of the heads; the backbone is always in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        """Classify pictures.

        Args:
            image: [B, 3, H, W] in -1..1, with sides of at least 32 pixels.

        Returns:
            Logits, high for real ones: [B, 1, h, w] of each stage, and [B, 1].
        """
        features, stages = self.backbone.forward_intermediates(
            normalise((image + 1) / 2, self._mean, self._std), indices=list(range(STAGES))
        )
        embedding = self.backbone.forward_head(features, pre_logits=not self._is_clip)  # [B, D]
        return [head(seen) for head, seen in zip(self.heads, [*stages, embedding], strict=True)]

    def trained_weights(self) -> Iterator[nn.Parameter]:
        """Return the weights of the heads."""
        return self.heads.parameters()


def adversarial_loss(logits: list[Tensor], target: float) -> Tensor:
    """Compute the binary cross-entropy of logits with one target, averaged in a level, summed over levels."""
    return torch.stack(
        [F.binary_cross_entropy_with_logits(level.float(), torch.full_like(level, target).float()) for level in logits]
    ).sum()


def _stage_head(channels: int, width: int) -> nn.Sequential:
    layers = optional_import("timm.layers", extra="features")
    # The blurs keep the size: it is the convolutions that stride.
    return nn.Sequential(
        layers.BlurPool2d(channels, stride=1, pad_mode="constant"),
        spectral_norm(nn.Conv2d(channels, width, kernel_size=3, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        layers.BlurPool2d(width, stride=1, pad_mode="constant"),
        spectral_norm(nn.Conv2d(width, 1, kernel_size=1, stride=2)),
    )
