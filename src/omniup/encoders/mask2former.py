"""Compute class probabilities with Mask2Former, a transformer for semantic segmentation."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from omniup.encoders.base import Encoding, register
from omniup.encoders.preparation import check_request, nearest_cells, normalise, to_grid
from omniup.encoders.transformers_files import (
    PREPROCESSING,
    SETTINGS,
    load_network,
    model_folder,
    normalisation,
    read_json,
    unfit,
)
from omniup.errors import InputError, optional_import

_NOUN = "Mask2Former"
_RESOLUTIONS = (32, 2048)


@register("mask2former", "class probabilities from Mask2Former, trained on the 150 classes of ADE20K (transformers)")
class Mask2Former:
    """transformers' Mask2Former for semantic segmentation.

    The own grid is that of the network's masks, a quarter of the resized image's sides. The image is resized as a
    whole, neither padded nor cropped, so that the cells cover it exactly.

    Args:
        model: a repository of the Hugging Face hub, or a local folder that `save_pretrained` has written.
        resolution: the longest side in pixels at which the network sees the image, 32 to 2048; both sides are rounded
            to the nearest multiple of 32.
        offline: take weights that are on this machine only, as the environment variable HF_HUB_OFFLINE does.

    Attributes:
        stride: of Swin's last stage.
        classes: the names of the K classes, in the order of the features' channels.
        weights: what was used, in plain words.

    Raises:
        InputError: `resolution` is out of range, the weights cannot be had, or they are not Mask2Former's.
        MissingPackageError: transformers is not installed.
    """

    stride = 32

    def __init__(
        self,
        model: str | Path = "facebook/mask2former-swin-tiny-ade-semantic",
        resolution: int = 256,
        offline: bool = False,
    ) -> None:
        least, most = _RESOLUTIONS
        if not least <= resolution <= most:
            raise InputError("resolution", "is {value}", "{least} to {most}", value=resolution, least=least, most=most)
        self.resolution = resolution
        transformers = optional_import("transformers", extra="features")
        folder = model_folder(str(model), offline)
        self._model = _load(transformers, folder)
        self._mean, self._std = normalisation(folder / PREPROCESSING)
        names: dict[int, str] = self._model.config.id2label
        self.classes = tuple(names[index] for index in sorted(names))
        self.weights = f"read from {model}" if folder == Path(model) else f"Hugging Face {model}"

    @torch.no_grad()
    def __call__(self, image: Tensor, grid: tuple[int, int] | None = None) -> Encoding:
        """Compute the class probabilities of an image.

        Args:
            image: [B, 3, H, W], floating point in 0..1.
            grid: the wanted (h, w), to which the probabilities are resized by averaging, or bilinearly where it is
                finer; None means the own grid.

        Returns:
            Features [B, K, h, w] in float32, in 0..1 and with sums of 1 over the K classes.

        Raises:
            InputError: the image or the grid cannot be accepted.
        """
        check_request(image, grid)
        pixels = normalise(self._resize(image.float()), self._mean, self._std)
        output = self._model.to(image.device)(pixel_values=pixels)
        probabilities = _class_probabilities(output.class_queries_logits, output.masks_queries_logits)
        return Encoding(to_grid(probabilities, grid), "mask2former", self.weights)

    def _resize(self, image: Tensor) -> Tensor:
        longest = max(image.shape[2:])
        size = [nearest_cells(side * self.resolution, longest * self.stride) * self.stride for side in image.shape[2:]]
        return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)


def _class_probabilities(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Combine the classes of the queries with their masks into class probabilities of cells.

    Mask2Former scores class k at a cell with Σ_q p_q(k) σ(m_q), where p_q is a softmax over the classes and "nothing",
    and σ(m_q) is how much query q claims the cell. Scores do not sum to 1: objects are claimed more than once, and some
    cells by hardly any query. Divided by their sum over k they are a mean of the queries' classes,

        Σ_q w_q p_q(k) / (1 − p_q(nothing))    with    w_q ∝ (1 − p_q(nothing)) σ(m_q),    Σ_q w_q = 1,

    and that is how they are computed here. The weights are a softmax of logarithms, so that a cell that no query
    claims, whose scores would be 0 / 0, gets the classes of those that deny it least.

    Args:
        class_logits: [B, Q, K + 1], "nothing" last.
        mask_logits: [B, Q, h, w].

    Returns:
        [B, K, h, w], sums of 1 over K.
    """
    classes, nothing = class_logits[..., :-1], class_logits[..., -1]  # [B, Q, K] and [B, Q]
    something = F.logsigmoid(classes.logsumexp(dim=-1) - nothing)  # [B, Q], log (1 − p(nothing))
    weights = (F.logsigmoid(mask_logits) + something[..., None, None]).softmax(dim=1)  # [B, Q, h, w]
    return torch.einsum("bqk,bqhw->bkhw", classes.softmax(dim=-1), weights)


def _load(transformers: ModuleType, folder: Path) -> Any:
    """Build the network of a folder, on the CPU."""
    settings = read_json(folder / SETTINGS)
    backbone = settings.get("backbone_config")
    types = settings.get("model_type"), backbone.get("model_type") if isinstance(backbone, dict) else None
    if types != ("mask2former", "swin"):
        raise InputError(
            "model",
            "is {folder}, which holds {model} on {backbone}",
            "mask2former on swin",
            folder=folder,
            model=types[0],
            backbone=types[1],
        )
    settings.pop("backbone", None)  # which may name another repository to get the backbone's settings from
    try:
        config = transformers.Mask2FormerConfig.from_dict(settings)
    except Exception as error:  # TypeError, KeyError, AttributeError …
        raise unfit(folder, _NOUN, error) from error
    network = transformers.Mask2FormerForUniversalSegmentation
    return load_network(transformers, folder, network, config, noun=_NOUN, attention="eager")
