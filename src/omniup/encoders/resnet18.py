"""Compute features with ResNet-18 up to layer 2, from torchvision: 128 channels at stride 8.

The spec's network (section 6.1, mode "resnet18_layer2"): a demonstration must run without a network connection too, so
where the pretrained weights cannot be had, random ones take their place, always the same, and a warning says so. Random
convolutions still give features that follow the image.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from omniup.encoders.base import Encoding, register
from omniup.encoders.preparation import check_request, normalise, to_grid
from omniup.encoders.weights import SEED, seeded
from omniup.errors import InputError, optional_import
from omniup.files.weights import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    WeightsUnavailableError,
    published_state_dict,
    read_state_dict,
    summary,
)


@register("resnet18_layer2", "ResNet-18 up to layer 2, trained on ImageNet: 128 channels at stride 8 (torchvision)")
class ResNet18Layer2:
    """torchvision's ResNet-18 up to and including layer 2.

    The own grid is (⌈H / 8⌉, ⌈W / 8⌉). The network's padding centres cell i on pixel 8 i, not on the middle of its
    eight pixels, 8 i + 3.5, so that features lie a little to the lower right of what they show.

    Args:
        weights: a local file with the state dict of torchvision's `resnet18`, .safetensors or written by `torch.save`.
            None means torchvision's IMAGENET1K_V1, from torch.hub's cache or the network, and random weights with a
            warning where neither has them.

    Raises:
        InputError: the file cannot be read or does not fit ResNet-18.
        MissingPackageError: torchvision is not installed.
    """

    stride = 8

    def __init__(self, weights: str | Path | None = None) -> None:
        models = optional_import("torchvision.models", extra="features")
        with seeded():
            network = models.resnet18()
        if weights is not None:
            try:
                network.load_state_dict(read_state_dict(weights))
            except RuntimeError as error:
                raise InputError(
                    "weights",
                    "is {path}, which does not fit ResNet-18 ({reason})",
                    "a state dict of torchvision's resnet18",
                    path=weights,
                    reason=summary(error),
                ) from error
            self.weights = f"read from {weights}"
        else:
            try:
                network.load_state_dict(published_state_dict(models.ResNet18_Weights.IMAGENET1K_V1.url))
                self.weights = "torchvision IMAGENET1K_V1"
            except WeightsUnavailableError as error:
                self.weights = f"random (seed {SEED}): pretrained weights could not be loaded: {error}"
                warnings.warn(f"resnet18_layer2: {self.weights}; `weights` takes a local file", stacklevel=2)
        stem = (network.conv1, network.bn1, network.relu, network.maxpool)
        self._layers = nn.Sequential(*stem, network.layer1, network.layer2).eval()

    @torch.no_grad()
    def __call__(self, image: Tensor, grid: tuple[int, int] | None = None) -> Encoding:
        """Compute the features of an image.

        Args:
            image: [B, 3, H, W], floating point in 0..1.
            grid: the wanted (h, w), to which the features are resized by averaging, or bilinearly where it is finer;
                None means the own grid.

        Returns:
            Features [B, 128, h, w] in float32.

        Raises:
            InputError: the image or the grid cannot be accepted.
        """
        check_request(image, grid)
        normal = normalise(image, IMAGENET_MEAN, IMAGENET_STD)  # [B, 3, H, W]
        features = self._layers.to(image.device)(normal)  # [B, 128, ⌈H/8⌉, ⌈W/8⌉]
        return Encoding(to_grid(features, grid), "resnet18_layer2", self.weights)
