"""Add steps of consistency to a method, so that `anyup:paper,consistency=1` is measured like any other."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

from omniup.upsamplers import Prepared, Upsampler
from omniup.upsamplers.checks import ImageLike, Size


@dataclasses.dataclass(frozen=True)
class Consistent(Upsampler):
    """A method whose results take steps of consistency.

    Attributes:
        method: the method.
        consistency: as in `Prepared.render`.
    """

    method: Upsampler
    consistency: float | str | None

    def prepare(self, image: ImageLike, grid: Size, size: Size | None = None, **options: Any) -> ConsistentImage:
        """Prepare an image by the method; see `Upsampler`."""
        return ConsistentImage(self.method.prepare(image, grid, size, **options), self.consistency)


@dataclasses.dataclass(frozen=True)
class ConsistentImage(Prepared):
    """An image that the method prepared.

    Attributes:
        prepared: by the method.
        consistency: as in `Prepared.render`.
    """

    prepared: Prepared
    consistency: float | str | None

    @property
    def grid(self) -> Size:
        """Grid (h, w) of the signals, in cells."""
        return self.prepared.grid

    @property
    def size(self) -> Size:
        """Size (H, W) of the results, in pixels."""
        return self.prepared.size

    def render(self, signal: Tensor, signal_type: str = "auto", **options: Any) -> Tensor:  # type: ignore[override]
        """Upsample a signal with the steps."""
        return self.prepared.render(signal, signal_type, **{"consistency": self.consistency, **options})

    def confidence(self, *arguments: Any, **options: Any) -> Tensor:
        """Estimate how far the method's result without steps can be trusted; see `Prepared`."""
        return self.prepared.confidence(*arguments, **options)
