"""Compute features with any vision model of transformers: DINOv2 and 3, CLIP, SigLIP, ViT, Swin, ConvNeXt and others.

Transformers give tokens [B, N, C]: those of the class, of registers and of distillation come first and are dropped, and
the others are laid out row by row on the grid of patches. As with timm, the image is resized to the nearest multiple of
the network's stride, so that the cells cover it exactly.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omniup.encoders.base import Encoding, register
from omniup.encoders.preparation import (
    check_layers,
    check_request,
    concatenate,
    normalise,
    resize,
    to_grid,
    to_multiples,
)
from omniup.encoders.transformers_files import (
    PREPROCESSING,
    SETTINGS,
    load_network,
    model_folder,
    normalisation,
    read_json,
    unfit,
)
from omniup.errors import InputError, is_out_of_memory, optional_import

_NOUN = "vision model"

MOST_EXTRA_TOKENS = 16
"""The most tokens of classes, registers and distillation that come before those of the patches."""

_FIRST_PATCH = 4
"""Stride of the first stage of networks with stages, in pixels, where their settings name none."""


@register("transformers:NAME", "any vision model of transformers, e.g. transformers:facebook/dinov2-small")
class TransformersModel:
    """The features of a layer of a vision model of transformers, or of several.

    The own grid is that of the resized image: a cell per patch, per stride of a network with stages. Networks that take
    one size only get the image at that size. Of CLIP and its kin the vision tower is taken.

    Args:
        name: a repository of the Hugging Face hub, or a local folder that `save_pretrained` has written.
        layer: which block or stage, as an index, as the network gives it, before its final norm; None means the
            network's last hidden state. The features of several are concatenated, on the finest of their grids.
        offline: take weights that are on this machine only, as the environment variable HF_HUB_OFFLINE does.

    Attributes:
        name: of the model.
        stride: pixels that a cell of the last layer stands for.
        weights: what is used, in plain words.

    Raises:
        InputError: the weights cannot be had or do not fit, it is no vision model, or it has no such layer.
        MissingPackageError: transformers is not installed.
    """

    def __init__(self, name: str | Path, layer: int | Sequence[int] | None = None, offline: bool = False) -> None:
        transformers = optional_import("transformers", extra="features")
        self.name = str(name)
        folder = model_folder(self.name, offline)
        config = _vision_config(transformers, folder)
        network = transformers.MODEL_MAPPING[type(config)]
        # Not eager attention, whose memory grows with the square of the number of tokens, where there is another.
        attention = "sdpa" if getattr(network, "_supports_sdpa", False) else "eager"
        self._model = load_network(
            transformers, folder, network, config, noun=_NOUN, attention=attention, unused="pooler"
        )
        self.weights = f"read from {name}" if folder == Path(name) else f"Hugging Face {name}"
        self._mean, self._std = normalisation(folder / PREPROCESSING)
        self._has_stages = isinstance(getattr(config, "depths", None), (list, tuple))
        count = len(config.depths) if self._has_stages else config.num_hidden_layers
        wanted = check_layers(layer, count, self.name)
        self._layers = None if layer is None else [index % count - count for index in wanted]
        patch = getattr(config, "patch_size", None)
        self._patch = patch if isinstance(patch, int) else _FIRST_PATCH
        self.stride = self._patch * 2 ** (count - 1) if self._has_stages else self._patch
        # Windows of attention that are larger than their grid fail in Swin, and leave the network in disorder.
        self._least = self.stride * getattr(config, "window_size", 1)
        self._only_size: tuple[int, int] | None = None
        resamples = "interpolate_pos_encoding" in inspect.signature(self._model.forward).parameters
        self._options: dict[str, Any] = {"interpolate_pos_encoding": True} if resamples else {}

    @torch.no_grad()
    def __call__(self, image: Tensor, grid: tuple[int, int] | None = None) -> Encoding:
        """Compute the features of an image.

        Args:
            image: [B, 3, H, W], floating point in 0..1.
            grid: the wanted (h, w), to which the features are resized by averaging, or bilinearly where it is finer;
                None means the own grid.

        Returns:
            Features [B, C, h, w] in float32.

        Raises:
            InputError: the image or the grid cannot be accepted, or the model gives no features of cells.
        """
        check_request(image, grid)
        resized, output = self._run(image.float())
        size = resized.shape[2], resized.shape[3]
        layers = [self._arrange(layer, size) for layer in self._pick(output)]
        return Encoding(to_grid(concatenate(layers), grid), f"transformers:{self.name}", self.weights)

    def _run(self, image: Tensor) -> tuple[Tensor, Any]:
        """Resize an image to what the network takes, which it finds out by trying, and run it."""
        model = partial(self._model.to(image.device), output_hidden_states=self._layers is not None, **self._options)
        if self._only_size is None:
            resized = to_multiples(image, self.stride, self._least)
            try:
                return resized, model(pixel_values=normalise(resized, self._mean, self._std))
            except (ValueError, RuntimeError) as error:  # the network's own check, or positions that do not fit
                side = getattr(self._model.config, "image_size", None)
                if is_out_of_memory(error) or not isinstance(side, int):
                    raise
                self._only_size = side, side
        resized = resize(image, self._only_size)
        return resized, model(pixel_values=normalise(resized, self._mean, self._std))

    def _pick(self, output: Any) -> list[Tensor]:
        """Return the layers that are wanted, [B, N, C] or [B, C, h, w] each."""
        arranged = getattr(output, "reshaped_hidden_states", None)  # of networks with stages and tokens
        if self._layers is None:
            return [arranged[-1]] if arranged else [output.last_hidden_state]
        states = arranged or output.hidden_states  # after the embeddings, where the network gives those too
        return [states[index] for index in self._layers]

    def _arrange(self, layer: Tensor, size: tuple[int, int]) -> Tensor:
        """Arrange tokens [B, N, C] of an image of a size (H, W) as [B, C, h, w]; leave features that are so."""
        if layer.ndim == 4:
            return layer
        stride = self._patch
        while stride <= self.stride:  # of transformers without stages the two are the same
            rows, columns = size[0] // stride, size[1] // stride
            extra = layer.shape[1] - rows * columns
            if 0 <= extra <= (0 if self._has_stages else MOST_EXTRA_TOKENS):
                return layer[:, extra:].mT.unflatten(2, (rows, columns))
            stride *= 2
        raise InputError(
            "name",
            "is {name}, which gives {count} tokens of an image with {patches} patches",
            "vision models with a token for each patch",
            name=self.name,
            count=layer.shape[1],
            patches=math.prod(side // self._patch for side in size),
        )


def _vision_config(transformers: Any, folder: Path) -> Any:
    """Read the settings of a folder's vision model."""
    settings = read_json(folder / SETTINGS)
    try:
        config = transformers.AutoConfig.for_model(**settings)
        config = getattr(config, "vision_config", config)
        if type(config) not in transformers.MODEL_MAPPING:
            raise TypeError(f"no model of type {config.model_type!r}")
        network = transformers.MODEL_MAPPING[type(config)]
        if getattr(network, "main_input_name", None) != "pixel_values":
            raise TypeError(f"{network.__name__} takes no pixels")
    except Exception as error:  # wrong settings raise TypeError, KeyError, AttributeError, ImportError …
        raise unfit(folder, _NOUN, error) from error
    return config
