"""Load the frozen backbones whose features AnyUp learns to upsample: timm's, the user's own, hand-made ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omniup.encoders import TimmBackbone, descriptors
from omniup.errors import InputError
from omniup.training.anyup.configuration import (
    BackboneSettings,
    DataSettings,
    DescriptorSettings,
    LocalSettings,
    TimmSettings,
)
from omniup.training.randomness import draw
from omniup.training.settings import load_timm_weights


@dataclass(frozen=True, eq=False)
class Backbone:
    """Features of images.

    Attributes:
        name: what reports call it.
        patch: the side of what a cell stands for, in pixels.
        encode: [B, 3, H, W] in 0..1 to [B, C, H/patch, W/patch].
    """

    name: str
    patch: int
    encode: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        """Compute features [B, C, H/patch, W/patch] of images [B, 3, H, W] in 0..1, on their device, in float32.

        Raises:
            InputError: what it gives are not such features.
        """
        features = self.encode(image)
        wanted = (len(image), image.shape[2] // self.patch, image.shape[3] // self.patch)
        if not isinstance(features, Tensor) or features.ndim != 4:
            raise InputError(self.name, "gives {shape}", "features [B, C, h, w]", shape=_shape(features))
        if (len(features), *features.shape[2:]) != wanted:
            raise InputError(
                self.name,
                "gives {shape} for {images} images of {height} × {width} pixels",
                "a cell for each of its patches, [{images}, C, {h}, {w}]. Many convolutional networks need sides that "
                "are multiples of 32",
                shape=_shape(features),
                images=len(image),
                height=image.shape[2],
                width=image.shape[3],
                h=wanted[1],
                w=wanted[2],
            )
        return features.float()


def build_all(settings: Sequence[BackboneSettings], data: DataSettings, device: torch.device) -> list[Backbone]:
    """Load or make the backbones of a training, and try each on every size of image that it will see.

    What does not go together should show now, not when it is drawn.

    Raises:
        InputError: as `build`, or what one gives are not features of its patch.
        MissingPackageError: as `build`.
    """
    backbones = [build(each, device) for each in settings]
    for backbone in backbones:
        for side in set(data.sides.values()):
            backbone(torch.zeros(1, 3, side, side, device=device))
    return backbones


def trained_on(settings: Sequence[BackboneSettings], backbones: Sequence[Backbone]) -> list[Backbone]:
    """Return the backbones that are not held out."""
    return [backbone for each, backbone in zip(settings, backbones, strict=True) if not each.held_out]


def draw_backbone(backbones: Sequence[Backbone], seed: int, number: int) -> Backbone:
    """Draw the backbone of the batch of a number, the same in all processes."""
    return backbones[int(draw(seed, "backbone", number).integers(len(backbones)))]


def build(settings: TimmSettings | LocalSettings | DescriptorSettings, device: torch.device) -> Backbone:
    """Load or make a backbone.

    Raises:
        InputError: its network or weights cannot be had.
        MissingPackageError: timm is needed and not installed.
    """
    if isinstance(settings, TimmSettings):
        make = partial(TimmBackbone, settings.model, layer=settings.layer)
        encoder = load_timm_weights(make, settings.weights, "backbones.weights")
        return Backbone(settings.name, settings.patch, lambda image: encoder(image).features)
    if isinstance(settings, LocalSettings):
        return Backbone(settings.name, settings.patch, _local(settings, device))
    describe = getattr(descriptors, settings.kind)
    return Backbone(settings.name, settings.patch, partial(describe, cell=settings.patch))


def _local(settings: LocalSettings, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Run the user's file and call its function."""
    path, _, name = settings.function.rpartition(":")
    try:
        specification = importlib.util.spec_from_file_location(f"omniup_local_{Path(path).stem}", path)
        assert specification is not None and specification.loader is not None  # as for any file that ends in .py
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        make = getattr(module, name)
        network: Any = make() if settings.weights is None else make(settings.weights)
    except Exception as error:  # whatever the user's code raises
        raise InputError(
            settings.function, "raises {type}: {reason}", type=type(error).__name__, reason=error
        ) from error
    if isinstance(network, nn.Module):
        network = network.to(device).eval().requires_grad_(False)
    if not callable(network):
        raise InputError(settings.function, "returns a {type}", "what can be called", type=type(network).__name__)
    return partial(_pick, network, settings)


def _pick(network: Callable[[Tensor], Any], settings: LocalSettings, image: Tensor) -> Tensor:
    found = network(image)
    if settings.output is None:
        return found
    if not isinstance(found, (tuple, list)) or settings.output >= len(found):
        raise InputError(
            "output",
            "is {value}, and {name} gives {shape}",
            value=settings.output,
            name=settings.name,
            shape=_shape(found),
        )
    return found[settings.output]


def _shape(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"{len(value)} of them"
    return str(list(value.shape)) if isinstance(value, Tensor) else f"a {type(value).__name__}"
