"""Draw the results of a video as pictures over its frames, in colours that stay the same over the film."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omniup.errors import InputError
from omniup.sequences.frames import FrameSource
from omniup.sequences.signals import Cells
from omniup.sequences.video import VideoUpsampler
from omniup.upsamplers.signal_types import SignalType
from omniup.visualize import PcaColours, class_colours, heat_map, limits_of, similarity_map, to_picture

SHOWN = ("labels", "depth", "pca", "similarity")
"""Drawings: of labels and class probabilities their colours, of one channel a heat map, of features their
principal components, or their cosine with those of one pixel of the first frame."""

MOST_LEAST = 0.99
"""The lower limit of similarities is no higher: 1 is the upper one."""

MOST_LABEL = 2**16 - 1
"""The largest label that has a colour."""


class Drawing(Protocol):
    """Draws results."""

    def draw(self, image: Tensor, result: Tensor) -> NDArray[np.uint8]:
        """Draw the result [1, C, H, W] of a frame [1, 3, H', W']: [H, W, 3]."""


class AsItIs:
    """Draws results that are pictures."""

    def draw(self, image: Tensor, result: Tensor) -> NDArray[np.uint8]:
        """Draw a result [1, 3, H, W] in 0..1, whatever the frame: [H, W, 3]."""
        return np.asarray(to_picture(result))


def natural(signal_type: SignalType, channels: int) -> str:
    """Return what is drawn of a signal if nobody says."""
    if signal_type in ("labels", "probabilities", "logits"):
        return "labels"
    return "depth" if channels == 1 else "pca"


@dataclasses.dataclass(eq=False)
class Painter:
    """Draws results over frames.

    Attributes:
        show: one of `SHOWN`.
        opacity: of the colours over the frame, 0..1.
        basis: colours of features; None for anything else.
        limits: the values at the ends of a heat map's colours.
        palette: [K, 3], the colours of labels; it grows with them.
        vector: [1, C, 1, 1], what similarities are with; None for anything else.
    """

    show: str
    opacity: float
    basis: PcaColours | None = None
    limits: tuple[float, float] = (0.0, 1.0)
    palette: NDArray[np.uint8] = dataclasses.field(default_factory=lambda: np.zeros((0, 3), np.uint8))
    vector: Tensor | None = None

    @classmethod
    def fit(
        cls,
        show: str,
        opacity: float,
        source: FrameSource,
        first: Sequence[Cells],
        *,
        point: tuple[int, int] | None = None,
        **upsampling: Any,
    ) -> Painter:
        """Fit colours and limits to the first frames.

        Args:
            show: one of `SHOWN`.
            opacity: of the colours over the frame, 0..1.
            source: of the frames.
            first: the signals of the first frames.
            point: (x, y), the pixel of the first frame that similarities are with.
            **upsampling: as for `VideoUpsampler`.

        Raises:
            InputError: what is to be drawn does not fit the signal, or the pixel lies outside.
        """
        signal = first[0].values
        cells = [each.values for each in first]
        if show == "depth" and signal.shape[1] != 1:
            problem, accepted = "is depth, and the signal has {count} channels", "labels or pca"
            raise InputError("--show", problem, accepted, count=signal.shape[1])
        if show in ("pca", "similarity") and not signal.is_floating_point():
            raise InputError("--show", "is {value}, and the signal holds whole numbers", "labels or depth", value=show)
        if show == "pca":
            return cls(show, opacity, basis=PcaColours.fit(*cells))
        if show == "depth":
            return cls(show, opacity, limits=limits_of(*cells))
        if show == "labels":
            return cls(show, opacity, palette=np.array(first[0].palette or [], np.uint8).reshape(-1, 3))
        assert point is not None  # as it is given with --show similarity
        image = next(source.frames()).image
        (height, width), (x, y) = source.size, point
        if x >= width or y >= height:
            problem, accepted = "is {x},{y}", "pixels of the first frame, {width} x {height}"
            raise InputError("--similar", problem, accepted, x=x, y=y, width=width, height=height)
        result = VideoUpsampler(**upsampling | {"independent": True}).step(
            image, signal, valid=first[0].valid, region=first[0].region
        )
        y, x = y * result.shape[2] // height, x * result.shape[3] // width
        vector = result[:, :, y : y + 1, x : x + 1].clone()
        least = min(float(similarity_map(each, (0, 0), of=vector).min()) for each in cells)
        return cls(show, opacity, limits=(min(least, MOST_LEAST), 1.0), vector=vector)

    def draw(self, image: Tensor, result: Tensor) -> NDArray[np.uint8]:
        """Draw a result over its frame.

        Args:
            image: [1, 3, H', W'], uint8 or floating point in 0..1.
            result: [1, C, H, W].

        Returns:
            [H, W, 3].

        Raises:
            InputError: a label has no colour.
        """
        colours = self._coloured(result)
        if self.opacity == 1:
            return colours
        frame = image.float() / (1 if image.is_floating_point() else 255)
        frame = torch.nn.functional.interpolate(frame, result.shape[2:], mode="area")
        photo = np.asarray(to_picture(frame), np.float32)
        mixed = photo + self.opacity * (colours.astype(np.float32) - photo)
        return np.rint(mixed).astype(np.uint8)

    def _coloured(self, result: Tensor) -> NDArray[np.uint8]:
        if self.show == "labels":
            return self._label_colours(_labels(result))
        if self.show == "similarity":
            result = similarity_map(result, (0, 0), of=self.vector)
        picture = to_picture(self.basis.picture(result)) if self.basis is not None else heat_map(result, self.limits)
        return np.array(picture)

    def _label_colours(self, labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high > MOST_LABEL:
            raise InputError(
                "signal", "has labels from {low} to {high}", "0 to {most}", low=low, high=high, most=MOST_LABEL
            )
        if high >= len(self.palette):  # always the same for those that there were
            more = class_colours(high + 1)
            self.palette = np.concatenate([self.palette, more[len(self.palette) :]])
        return self.palette[labels]


def _labels(result: Tensor) -> NDArray[np.int64]:
    """Return label numbers [H, W]: as they are, or of the most probable class."""
    if result.shape[1] > 1:
        found = result.argmax(1)[0]
    else:
        found = (result[0, 0] > 0).long() if result.is_floating_point() else result[0, 0].long()
    numbers: NDArray[np.int64] = found.cpu().numpy()
    return numbers
