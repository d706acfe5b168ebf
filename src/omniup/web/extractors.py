"""Hold the encoders that requests may name, each built once, by the weights of this machine alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from torch import Tensor

from omniup.encoders import Encoding, Projection, ResNet18Layer2, TimmBackbone, encoders
from omniup.encoders.timm_backbone import timm_networks_here
from omniup.errors import MissingPackageError
from omniup.web.fields import FieldError
from omniup.web.schemas import Described, EncoderConfig

TIMM = "timm:"

LOADING = 3.0
"""Seconds that importing torchvision or timm and reading a network take, about."""


class Extractors:
    """Encoders that a request may ask for, each built once."""

    def __init__(self) -> None:
        self._built: dict[str, ResNet18Layer2 | TimmBackbone] = {}
        self._building = threading.Lock()

    @property
    def known(self) -> list[Described]:
        """The encoders whose weights are here, and those that do without."""
        summaries = encoders()
        found = [Described(name=name, summary=summaries[name]) for name in ("projection", "resnet18_layer2")]
        return found + [Described(name=TIMM + name, summary=f"timm's {name}") for name in _timm_here()]

    @property
    def loading_seconds(self) -> dict[str, float]:
        """Seconds that loading each encoder will take, about; none of those that are loaded."""
        names = [each.name for each in self.known if each.name != "projection"]
        return {name: LOADING for name in names if name not in self._built}

    @property
    def best(self) -> str:
        """The encoder to begin with: a trained one, if there is any."""
        return next((TIMM + name for name in _timm_here()), "projection")

    def check(self, name: str) -> None:
        """Refuse an encoder whose weights are not on this machine: no request makes the server fetch some.

        Raises:
            FieldError: they are not.
        """
        if name.startswith(TIMM) and name.removeprefix(TIMM) not in _timm_here():
            names = ", ".join(each.name for each in self.known)
            problem = "is {name!r}, and its weights are not on this machine"
            raise FieldError("config.extractor", "extractor", problem, "{names}", name=name, names=names)

    def encode(self, image: Tensor, grid: tuple[int, int], *, config: EncoderConfig) -> Encoding:
        """Compute features; those of the projection, and a note about it, where the others cannot be had."""
        projection = Projection(config.channels, config.stride)
        if config.extractor == "projection":
            return projection(image, grid)
        try:
            encoder = self._encoder(config.extractor)
        except MissingPackageError as error:
            made = projection(image, grid)
            return Encoding(made.features, made.encoder, f"{made.weights}, in place of {config.extractor}: {error}")
        if isinstance(encoder, TimmBackbone):
            encoder = encoder.at_stride(config.stride)
        return encoder(image, grid)

    def _encoder(self, name: str) -> ResNet18Layer2 | TimmBackbone:
        build: Callable[[], ResNet18Layer2 | TimmBackbone] = ResNet18Layer2
        if name.startswith(TIMM):
            build = partial(TimmBackbone, name.removeprefix(TIMM))
        with self._building:
            if name not in self._built:
                self._built[name] = build()
            return self._built[name]


def _timm_here() -> list[str]:
    try:
        return timm_networks_here()
    except MissingPackageError:
        return []
