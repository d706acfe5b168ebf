"""Define encoders and their results, and register encoders by name.

Encoders enter themselves in the registry with `register`. An entry whose name ends in `:NAME` is a family: the rest of
the name is handed to its constructor.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import Tensor

from omniup.errors import InputError
from omniup.upsamplers.representation import ShortRepr


@dataclass(frozen=True, eq=False, repr=False)
class Encoding(ShortRepr):
    """A low-resolution signal and where it comes from.

    Attributes:
        features: [B, C, h, w], on the image's device.
        encoder: the encoder's name, as `encode` takes it.
        weights: what was used, in plain words, e.g. "torchvision IMAGENET1K_V1".
    """

    features: Tensor
    encoder: str
    weights: str


class Encoder(Protocol):
    """The protocol of encoders: `Projection`, `ResNet18Layer2`, `TimmBackbone` and others.

    Attributes:
        stride: in pixels; an image whose sides it divides is seen as it is, another one resized.
    """

    stride: int

    def __call__(self, image: Tensor, grid: tuple[int, int] | None = None) -> Encoding:
        """Compute the features of an image, without gradients.

        Args:
            image: [B, 3, H, W], floating point in 0..1.
            grid: the wanted (h, w), no larger than the image; None means the encoder's own.

        Raises:
            InputError: the image or the grid cannot be accepted.
        """


_Factory = TypeVar("_Factory", bound=Callable[..., Encoder])

_factories: dict[str, Callable[..., Encoder]] = {}
_summaries: dict[str, str] = {}


def register(name: str, summary: str) -> Callable[[_Factory], _Factory]:
    """Register an encoder's class under a name, or a family's under `PREFIX:NAME`, with a one-line summary."""

    def enter(factory: _Factory) -> _Factory:
        _factories[name] = factory
        _summaries[name] = summary
        return factory

    return enter


def encoders() -> dict[str, str]:
    """List the encoders: their names, and one line on each."""
    return dict(sorted(_summaries.items()))


def encoder(name: str, /, **settings: Any) -> Encoder:
    """Build an encoder by name.

    Args:
        name: one of `encoders()`; of a family any member, e.g. "timm:vit_small_patch14_dinov2".
        **settings: what the encoder's constructor takes, e.g. `layer=8` for those of timm.

    Raises:
        InputError: no encoder has this name, it has no such setting, or it cannot accept a setting's value.

    Example:
        >>> import omniup, torch
        >>> omniup.encoder("projection", channels=8)(torch.rand(1, 3, 64, 96)).features.shape
        torch.Size([1, 8, 4, 6])
    """
    factory, arguments = _find(name)
    try:
        inspect.signature(factory).bind(*arguments, **settings)
    except TypeError as error:
        names = ", ".join(encoder_settings(name))
        raise InputError(
            "settings", "do not fit {name} ({reason})", "{names}", name=name, reason=error, names=names
        ) from error
    return factory(*arguments, **settings)


def encode(image: Tensor, name: str, *, grid: tuple[int, int] | None = None, **settings: Any) -> Encoding:
    """Build the named encoder and encode an image with it.

    Weights are loaded anew at every call: to encode many images, build the encoder once and call it.

    Args:
        image: [B, 3, H, W], floating point in 0..1; the projection takes any number of channels.
        name: as for `encoder`.
        grid: the wanted (h, w), no larger than the image; None means the encoder's own.
        **settings: as for `encoder`.

    Returns:
        The encoding, on the image's device.

    Raises:
        InputError: as `encoder`; or the encoder cannot accept the image or the grid.

    Example:
        >>> import torch
        >>> from omniup.encoders import encode
        >>> encode(torch.rand(1, 3, 64, 96), "projection", channels=8).features.shape
        torch.Size([1, 8, 4, 6])
    """
    return encoder(name, **settings)(image, grid)


def encoder_settings(name: str) -> list[str]:
    """List the names of the settings that an encoder takes.

    Args:
        name: as for `encode`.

    Raises:
        InputError: no encoder has this name.
    """
    factory, arguments = _find(name)
    return list(inspect.signature(factory).parameters)[len(arguments) :]


def _find(name: str) -> tuple[Callable[..., Encoder], tuple[str, ...]]:
    """Find what builds the named encoder, and its arguments before the settings: the member of a family."""
    prefix, colon, member = name.partition(":")
    factory = _factories.get(f"{prefix}:NAME" if member else name)
    if factory is None or (colon and not member):
        raise InputError("name", "is {name!r}, which is no encoder", "{names}", name=name, names=", ".join(encoders()))
    return factory, (member,) if member else ()
