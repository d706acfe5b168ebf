"""Compute features with any backbone of timm: DINOv2, CLIP, SigLIP, ConvNeXt, Swin, ResNet and others.

timm's `forward_intermediates` gives every family's features as [B, C, h, w]: it drops class and register tokens,
resamples position embeddings, and turns NHWC around. What is left to do here is the image's size, since a network whose
stride does not divide it ignores the remainder or refuses it, and features would no longer lie where the image has
what they show. The image is therefore resized bilinearly to the nearest multiple of the network's stride, so that
the cells cover it exactly; it is neither padded nor cropped.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from omniup.encoders.base import Encoding, register
from omniup.encoders.packaged import PACKAGES, packaged_file, packaged_state_dict
from omniup.encoders.preparation import (
    check_layers,
    check_request,
    concatenate,
    normalise,
    resize,
    to_grid,
    to_multiples,
)
from omniup.encoders.weights import SEED, seeded
from omniup.errors import InputError, optional_import
from omniup.files import hub
from omniup.files.weights import read_state_dict, summary

if TYPE_CHECKING:
    from typing_extensions import Self

_HUB = "timm/"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors")

# timm's classes whose networks end without a norm of their own, and that refuse to be asked for it
_WITHOUT_FINAL_NORM = ("Hiera", "HieraDet")


@register("timm:NAME", "any backbone of timm by its name, e.g. timm:vit_small_patch14_dinov2")
class TimmBackbone:
    """The features of one or several layers of a timm backbone, after its final norm where it has one that fits.

    The own grid is that of the resized image (see the head of this file): one cell per patch of a ViT, per stride of a
    convolutional network. Networks that take one size only, such as BEiT or MaxViT, get the image at that size. A few
    convolve without padding (Inception, NASNet) and lose a border, so their cells lie slightly off.

    Args:
        name: timm's, with or without a pretrained tag, e.g. "vit_small_patch14_dinov2.lvd142m".
        pretrained: True for timm's own weights, from an installed package (see `packaged.py`), the cache or the
            network; a local file with the state dict of the
            whole model, .safetensors or written by `torch.save`; False for random weights, always the same.
        layer: which block of a ViT or stage of a convolutional network, as an index; None means the last. The features
            of several are concatenated, on the finest of their grids.

    Attributes:
        name: of the model.
        stride: pixels that a cell of the last layer stands for.
        weights: what is used, in plain words.

    Raises:
        InputError: timm has no such model, its weights cannot be had, the file cannot be read or does not fit, or the
            model has no such layer.
        MissingPackageError: timm is not installed.
    """

    def __init__(
        self, name: str, pretrained: bool | str | Path = True, layer: int | Sequence[int] | None = None
    ) -> None:
        self._adopt(name, *load_timm(name, pretrained), layer)

    @classmethod
    def of(cls, model: Any, layer: int | Sequence[int] | None = None) -> Self:
        """Take a model that `timm.create_model` returned, as it is, in evaluation mode.

        Args:
            model: of timm; with `dynamic_img_size=True`, where its family has that, it takes images of any size.
            layer: as above.

        Raises:
            InputError: the model has no such layer.
        """
        backbone = cls.__new__(cls)
        backbone._adopt(model.pretrained_cfg["architecture"], model.eval(), "the caller's", layer)
        return backbone

    def _adopt(self, name: str, model: Any, weights: str, layer: int | Sequence[int] | None) -> None:
        timm = optional_import("timm", extra="features")
        self.name, self._model, self.weights = name, model, weights
        self._layers = check_layers(layer, len(model.feature_info), name)

        data = timm.data.resolve_model_data_config(self._model)
        self._mean, self._std = data["mean"], data["std"]
        flexible = getattr(self._model, "dynamic_img_size", not self._model.pretrained_cfg["fixed_input_size"])
        self._trained_size: tuple[int, int] = data["input_size"][1:]
        self._only_size = None if flexible else self._trained_size
        self.stride = max(int(info["reduction"]) for info in self._model.feature_info)
        self._norm = type(self._model).__name__ not in _WITHOUT_FINAL_NORM

    def at_stride(self, stride: int) -> Self:
        """Return this network with the last layer whose cells have at most so many pixels, else with its finest."""
        reductions = [int(info["reduction"]) for info in self._model.feature_info]
        fine = [index for index, reduction in enumerate(reductions) if reduction <= stride]
        changed = copy.copy(self)  # which shares the weights
        changed._layers = [fine[-1] if fine else 0]
        return changed

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
            InputError: the image or the grid cannot be accepted, or the model cannot take an image of this size.
        """
        check_request(image, grid)
        resized = self._resize(image.float())
        try:
            layers = self._model.to(image.device).forward_intermediates(
                normalise(resized, self._mean, self._std),
                indices=self._layers,
                norm=self._norm,
                stop_early=True,
                output_fmt="NCHW",
                intermediates_only=True,
            )
        except AssertionError as error:  # timm's own check of sizes, in the few families that need more than a multiple
            taken, best = ("×".join(map(str, size)) for size in (resized.shape[2:], self._trained_size))
            raise InputError(
                "image",
                "has {taken} pixels as {name} is to see it",
                "sizes near {best}, which it was trained on",
                taken=taken,
                name=self.name,
                best=best,
            ) from error
        return Encoding(to_grid(concatenate(layers), grid), f"timm:{self.name}", self.weights)

    def _resize(self, image: Tensor) -> Tensor:
        return resize(image, self._only_size) if self._only_size else to_multiples(image, self.stride)


def _check_name(timm: ModuleType, name: str) -> None:
    known = {*timm.list_models(), *timm.list_pretrained()}  # the second with tags
    if name not in known:
        close = difflib.get_close_matches(name, sorted(known), n=5)
        raise InputError(
            "name",
            "is {name!r}, which timm does not have",
            "what timm.list_models() lists, such as {close}" if close else "what timm.list_models() lists",
            name=name,
            close=", ".join(close),
        )


def timm_networks_here() -> list[str]:
    """List timm's networks whose weights are on this machine: in packages, or in the cache of the Hugging Face hub."""
    return [name for name in PACKAGES if packaged_file(name)] + [
        repository.removeprefix(_HUB)
        for repository in hub.cached_repositories(_HUB)
        if any(hub.find_cached(repository, [file]) for file in _WEIGHTS)
    ]


def load_timm(name: str, pretrained: bool | str | Path) -> tuple[Any, str]:
    """Build a model on the CPU, in evaluation mode, and describe its weights in plain words.

    Args:
        name: as for `TimmBackbone`.
        pretrained: likewise.

    Raises:
        InputError: timm has no such model, or its weights cannot be had or do not fit.
        MissingPackageError: timm is not installed.
    """
    timm = optional_import("timm", extra="features")
    _check_name(timm, name)
    if pretrained is False:
        return _create(timm, name, pretrained=False), f"random (seed {SEED})"
    if pretrained is True and packaged_file(name):
        model = _create(timm, name, pretrained=False)
        model.load_state_dict(packaged_state_dict(name))
        return model, f"package {PACKAGES[name]}"
    if pretrained is True:
        try:
            repository = timm.get_pretrained_cfg(name).hf_hub_id
            if repository:
                hub.ask(repository, *_WEIGHTS)
            model = _create(timm, name, pretrained=True)
        except Exception as error:  # timm lets through what huggingface_hub, httpx, urllib and safetensors raise
            raise InputError(
                "pretrained",
                "is True, and the weights of {name} cannot be had ({reason})",
                "a local file, or False for random weights",
                name=name,
                reason=summary(error),
            ) from error
        parts = (model.pretrained_cfg["architecture"], model.pretrained_cfg["tag"])
        return model, f"timm {'.'.join(filter(None, parts))}"  # a few have no tag
    # Handed to timm rather than to the model: timm converts what the authors of a network published to its own names.
    # With the classifier in place it is strict about names and shapes; without one it would let anything pass.
    state = read_state_dict(pretrained)
    try:
        model = _create(timm, name, pretrained=True, pretrained_cfg_overlay={"state_dict": state})
    except (KeyError, RuntimeError) as error:
        raise InputError(
            "pretrained",
            "is {path}, which does not fit {name} ({reason})",
            "a state dict of this model",
            path=pretrained,
            name=name,
            reason=summary(error),
        ) from error
    del model.pretrained_cfg["state_dict"]  # a second copy of all weights
    return model, f"read from {pretrained}"


def _create(timm: ModuleType, name: str, **settings: Any) -> Any:
    """Call `timm.create_model`, with position embeddings that follow the image's size where the family has them."""
    with seeded():
        try:
            model = timm.create_model(name, dynamic_img_size=True, **settings)
        except TypeError:  # the others do not know the argument, and timm has no way to ask beforehand
            model = timm.create_model(name, **settings)
    return model.eval()
