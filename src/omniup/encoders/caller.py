"""Encode with whatever the caller has: a name, an encoder, a model of timm, or any function or network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from omniup.encoders.base import Encoder, Encoding, encoder
from omniup.encoders.preparation import check_request, to_grid, to_multiples
from omniup.encoders.timm_backbone import TimmBackbone
from omniup.errors import InputError
from omniup.upsamplers.checks import check_number
from omniup.upsamplers.layouts import arrange

EncoderLike: TypeAlias = "str | Encoder | Callable[[Tensor], Any]"
"""A name of `encoders()`, an encoder, a model of timm, or what takes an image and gives features."""

MOST_STRIDE = 256
"""The largest stride of a network, in pixels."""


class CallerEncoder:
    """A function or network of the caller's, which knows nothing of encoders.

    Args:
        function: takes an image [B, 3, H, W] in 0..1, which it normalises itself; returns features in any layout that
            `omniup.upsample` takes: [B, C, h, w], channels last, or tokens [B, N, C], of which those of the class and
            of registers come first; or an output of transformers that has them as `last_hidden_state`.
        stride: of the sides of images that it takes, in pixels: an image is resized to the nearest multiples.

    Attributes:
        stride: likewise.

    Raises:
        InputError: the stride is no whole number from 1 to `MOST_STRIDE`.
    """

    def __init__(self, function: Callable[[Tensor], Any], stride: int = 1) -> None:
        check_number("stride", stride, 1, MOST_STRIDE, whole=True)
        self._function, self.stride = function, stride

    @torch.no_grad()
    def __call__(self, image: Tensor, grid: tuple[int, int] | None = None) -> Encoding:
        """Compute the features of an image.

        Args:
            image: [B, 3, H, W], floating point in 0..1.
            grid: the wanted (h, w), to which the features are resized by averaging, or bilinearly where it is finer;
                None means the own grid.

        Raises:
            InputError: the image or the grid cannot be accepted, or what the function returns is no features.
        """
        check_request(image, grid)
        resized = to_multiples(image.float(), self.stride)
        found = self._function(resized)
        found = getattr(found, "last_hidden_state", found)
        accepted = "one that returns features [B, C, h, w] or tokens [B, N, C]"
        if not isinstance(found, Tensor):
            raise InputError("encoder", "returns a {type}", accepted, type=type(found).__name__)
        if found.ndim not in (3, 4) or len(found) != len(image):
            raise InputError("encoder", "returns the shape {shape}", accepted, shape=list(found.shape))
        size = resized.shape[2], resized.shape[3]
        features = arrange(found, size, images=len(image), grid=self._grid(found, size))
        name = getattr(self._function, "__name__", type(self._function).__name__)
        return Encoding(to_grid(features, grid), name, "the caller's")

    def _grid(self, found: Tensor, size: tuple[int, int]) -> tuple[int, int] | None:
        """Return the grid of tokens where the stride says it."""
        is_known = self.stride > 1 and found.ndim == 3
        return (size[0] // self.stride, size[1] // self.stride) if is_known else None


def as_encoder(given: EncoderLike, stride: int | None = None) -> Encoder:
    """Make an encoder of what the caller has.

    Args:
        given: as in `EncoderLike`.
        stride: of a function or network, as for `CallerEncoder`.

    Raises:
        InputError: no encoder has this name, or it cannot be built; it is a model of transformers, which does not say
            how it normalises images; or nothing that can be called.
    """
    if isinstance(given, str):
        return encoder(given)
    if hasattr(given, "forward_intermediates"):
        return TimmBackbone.of(given)
    if hasattr(getattr(given, "config", None), "model_type"):
        accepted = '"transformers:FOLDER", or a function that normalises the image and calls the model'
        raise InputError("encoder", "is a model of transformers, whose normalisation is not known", accepted)
    if hasattr(given, "stride") and not isinstance(given, torch.nn.Module):
        return given  # type: ignore[return-value]  # as the protocol has it
    if not callable(given):
        accepted = "a name, an encoder, a model of timm, or a function that returns features"
        raise InputError("encoder", "is a {type}", accepted, type=type(given).__name__)
    return CallerEncoder(given, 1 if stride is None else stride)
