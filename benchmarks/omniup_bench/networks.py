"""Compute features and class probabilities with real networks, in cells of any size.

Cells are 16 pixels wide, unless an encoder has a layer of the wanted stride (`features`). Finer cells are those of the
image shifted by parts of a cell (`shifted`); for other sizes the image is resized (`scaled`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.encoders.preparation import normalise
from omniup.encoders.timm_backbone import load_timm
from omniup.errors import InputError
from omniup_bench.data import MULTIPLE, model_file
from omniup_bench.street_network import load_street_network

STRIDE = MULTIPLE

Network: TypeAlias = Callable[[Tensor], Tensor]
"""Function from images [1, 3, H, W] in 0..1, sides multiples of its stride s, to [1, C, H / s, W / s]; s is 16 unless
another is asked for."""

STREET_SCENES = "street_scenes"
"""The encoder of tasks on features that name no other."""

IMAGENET = "timm:tf_efficientnet_lite0"
"""An encoder trained on ImageNet, with layers of stride 8, 16 and 32."""


def suffix(encoder: str) -> str:
    """Return what a task's name ends with: nothing, or the encoder after a plus."""
    return "" if encoder == STREET_SCENES else f"+{encoder}"


def described(encoder: str) -> str:
    """Describe an encoder for readers of the report."""
    return "a street-scene network" if encoder == STREET_SCENES else encoder


def features(encoder: str, image: Tensor, factor: int, models: Path) -> Tensor:
    """Compute features in cells of some size.

    They are those of the encoder's last layer of this stride; or, where it has none, of its last layer of stride 16,
    for the image resized as `scaled` says.

    Args:
        encoder: as of `feature_network`.
        image: [1, 3, H, W] in 0..1.
        factor: pixels to a cell.
        models: the folder of models.

    Returns:
        [1, C, H / factor, W / factor], its sides rounded.

    Raises:
        InputError: as `feature_network`.
        MissingPackageError: likewise.
    """
    stride = factor if factor in _strides(encoder, models) else STRIDE
    return scaled(feature_network(encoder, models, stride), image, factor, stride)


def feature_network(encoder: str, models: Path, stride: int = STRIDE) -> Network:
    """Load a network that computes features.

    Args:
        encoder: `street_scenes`, or `timm:NAME`, whose weights are `NAME.safetensors` in the folder of models.
        models: that folder.
        stride: pixels to a cell; of several layers with this stride the last is taken.

    Raises:
        InputError: there is no such encoder, its weights are missing or do not fit, or it has no layer of this stride.
        MissingPackageError: timm is needed and not installed.
    """
    layers = _strides(encoder, models)
    if stride not in layers:
        raise InputError(
            "encoder",
            "is {encoder!r}, which has no layer of stride {stride}",
            "encoders that have one",
            encoder=encoder,
            stride=stride,
        )
    if encoder == STREET_SCENES:
        return load_street_network(models).features
    return partial(_timm_features, _timm_model(encoder, models), layers[stride])


def probabilities(image: Tensor, factor: int, models: Path) -> Tensor:
    """Compute class probabilities of a street scene.

    Args:
        image: [1, 3, H, W] in 0..1, sides multiples of 16.
        factor: pixels to a cell: a divisor of 16, or any number that is not far from it.
        models: the folder of models.

    Returns:
        [1, 11, h, w], sums of 1.
    """
    compute = scaled if STRIDE % factor else shifted
    return compute(load_street_network(models), image, factor)


@torch.no_grad()
def scaled(network: Network, image: Tensor, factor: int, stride: int = STRIDE) -> Tensor:
    """Run a network on the image resized so that as many of its pixels as the network's stride make a cell.

    Args:
        network: to run.
        image: [1, 3, H, W] in 0..1.
        factor: pixels of the image to a cell.
        stride: the network's.

    Returns:
        [1, C, H / factor, W / factor], its sides rounded.
    """
    size = stride * round(image.shape[2] / factor), stride * round(image.shape[3] / factor)
    if size != image.shape[2:]:
        image = F.interpolate(image, size, mode="bilinear", antialias=True).clamp(0, 1)
    return network(image)


@torch.no_grad()
def shifted(network: Network, image: Tensor, factor: int) -> Tensor:
    """Run a network on the image shifted by parts of a cell, and interleave the results (Long et al. 2015).

    So its cells are finer, and each has the receptive field of its place.

    Args:
        network: to run.
        image: [1, 3, H, W] in 0..1, sides multiples of 16.
        factor: pixels to a cell: a divisor of 16, other than 1.

    Returns:
        [1, C, H / factor, W / factor].
    """
    height, width = image.shape[2:]
    steps = STRIDE // factor
    first = (STRIDE - factor) // 2  # how far the first of the finer cells lies before the centre of its coarse one
    padded = F.pad(image, (STRIDE,) * 4, mode="replicate")
    starts = [STRIDE - first + factor * step for step in range(steps)]
    parts = [network(padded[..., y : y + height, x : x + width]) for y in starts for x in starts]
    return F.pixel_shuffle(torch.stack(parts, dim=2).flatten(1, 2), steps)  # [1, C, steps h, steps w]


def _strides(encoder: str, models: Path) -> Mapping[int, int]:
    """Return the strides of an encoder's layers, each with the number of the last layer that has it."""
    if encoder == STREET_SCENES:
        return {STRIDE: 0}
    return {info["reduction"]: index for index, info in enumerate(_timm_model(encoder, models).feature_info)}


@lru_cache(maxsize=1)
def _timm_model(encoder: str, models: Path) -> Any:
    """Load a backbone of timm."""
    library, _, name = encoder.partition(":")
    if library != "timm" or not name:
        raise InputError("encoder", "is {encoder!r}", "street_scenes and timm:NAME", encoder=encoder)
    model, _ = load_timm(name, model_file(models, f"{name}.safetensors"))
    return model.requires_grad_(False)


def _timm_features(model: Any, layer: int, image: Tensor) -> Tensor:
    """Compute one layer's features of an image."""
    settings = model.pretrained_cfg
    (found,) = model.forward_intermediates(
        normalise(image, settings["mean"], settings["std"]),
        indices=[layer],
        stop_early=True,
        output_fmt="NCHW",
        intermediates_only=True,
    )
    return found
