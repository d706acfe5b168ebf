"""Render signals of encoded images by AnyUp."""

from __future__ import annotations

import dataclasses
import functools
import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing import DEFAULT_MEMORY, pages
from omniup.upsamplers.anyup.encoded import EncodedGuidance
from omniup.upsamplers.anyup.scales import Scales
from omniup.upsamplers.base import PreparedImage
from omniup.upsamplers.checks import Size, check_points, enough_memory, parse_memory
from omniup.upsamplers.consistency import probability_step
from omniup.upsamplers.holes import mix_valid
from omniup.upsamplers.signal_types import SignalType, one_hot, softmax

if TYPE_CHECKING:
    from omniup.upsamplers.anyup.upsampler import AnyUp


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PreparedAnyUp(PreparedImage):
    """Render feature maps of encoded images.

    Attributes:
        anyup: the network.
        images: encoded, one by one.
        grid: (h, w) of the features, in cells.
        size: (H', W') of the results, in pixels.
    """

    anyup: AnyUp
    images: tuple[EncodedGuidance, ...]
    grid: Size
    size: Size

    @property
    def batch(self) -> int:
        """Number of prepared images."""
        return len(self.images)

    def only(self, image: int) -> PreparedAnyUp:
        """Return one image of the batch."""
        return dataclasses.replace(self, images=self.images[image : image + 1])

    def attention(self, signal: Tensor, points: Tensor, *, memory: int | str = DEFAULT_MEMORY) -> Tensor:
        """Return the weights of chosen pixels; see `AnyUp.attention`."""
        signal, _ = self._accept(signal)
        points = check_points(points, self.batch, self.size).to(signal.device)
        maps = []
        with enough_memory():
            for n, features in enumerate(signal.split(1)):
                encoded, places = self._image(n), points[n if self.batch > 1 else 0]
                query, key = encoded.query_at(places), encoded.keys(features)
                maps.append(self._scales.weights_at(query, key, places[None], memory=parse_memory(memory)))
        return torch.cat(maps)

    def _valid_weight(self, signal: Tensor, valid: Tensor, memory: int) -> Tensor:
        mask = valid.to(signal if signal.is_floating_point() else torch.float32)
        return self._mix(0, signal if signal.is_floating_point() else mask, mask, memory)

    def recommended_consistency(self, signal: Tensor, signal_type: SignalType) -> float:
        """Return one step for features, a part of one for probabilities; with other types no gain is measured."""
        if signal_type in ("probabilities", "logits"):
            return probability_step(softmax(signal) if signal_type == "logits" else signal)
        return 1.0 if signal_type == "features" else 0.0

    @property
    def _radius(self) -> int:
        return math.ceil(self.anyup.window_ratio * max(self.grid))

    @functools.cached_property
    def _scales(self) -> Scales:
        return Scales.of(self.anyup, self.size, self.grid, self.anyup.window_ratio)

    def _image(self, n: int) -> EncodedGuidance:
        """Return the image of the n-th signal."""
        return self.images[n if self.batch > 1 else 0]

    def _render(self, signal: Tensor, types: tuple[SignalType, ...], memory: int, out: Tensor | None = None) -> Tensor:
        of_image = any(image.image_part.requires_grad for image in self.images)
        wanted = torch.is_grad_enabled() and (signal.requires_grad or of_image)
        with torch.set_grad_enabled(wanted):
            each = ((n, value, value, memory, self._slopes(value, types[n])) for n, value in enumerate(signal.split(1)))
            if wanted:
                return torch.cat([self._mix(*one) for one in each])
            out = pages.new_empty(signal, (*signal.shape[:2], *self.size)) if out is None else out
            for one in each:
                self._mix(*one, out[one[0] : one[0] + 1])
        return out

    def _render_valid(self, signal: Tensor, valid: Tensor, types: tuple[SignalType, ...], memory: int) -> Tensor:
        results = []
        for n, (features, mask) in enumerate(zip(signal.split(1), valid.split(1), strict=True)):
            slopes = self._slopes(features, types[n])
            if slopes is not None:  # of the valid cells; and of the mask, which is mixed as one more channel
                slopes = F.pad(slopes * mask.unsqueeze(1), (0, 0, 0, 0, 0, 1))  # [1, 2, C + 1, h, w]
            mix = partial(self._mix, n, features, memory=memory, slopes=slopes)
            results.append(mix_valid(mix, features, mask))
        return torch.cat(results)

    def _render_one_hot(
        self,
        image: int,
        places: Tensor,
        part: Tensor,
        count: int,
        points: Tensor | None,
        valid: Tensor | None,
        memory: int,
    ) -> Tensor:
        """Upsample the 0/1 maps of some labels, with the keys of all: chunks make no difference."""
        everything = one_hot(places, torch.arange(count, device=part.device))  # [1, K, h, w]
        if points is None:
            return mix_valid(partial(self._mix, image, everything, memory=memory), everything[:, part], valid)
        return self._mix_at(image, everything, everything[:, part], points, memory)

    def _render_at(self, signal: Tensor, points: Tensor, types: tuple[SignalType, ...], memory: int) -> Tensor:
        results = []
        for n, value in enumerate(signal.split(1)):
            slopes = self._slopes(value, types[n])
            results.append(self._mix_at(n, value, value, points[n : n + 1], memory, slopes))
        return torch.cat(results)

    def _slopes(self, value: Tensor, signal_type: SignalType) -> Tensor | None:
        """Compute the slopes that cells offer: none but of features, as they may leave the range of the values."""
        return self._scales.slopes(value) if signal_type == "features" else None

    def _mix(
        self,
        n: int,
        features: Tensor,
        value: Tensor,
        memory: int,
        slopes: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Mix values [1, C, h, w] of the n-th signal, and perhaps slopes of theirs, with the keys of features."""
        encoded = self._image(n)
        cells = self._scales.cells(encoded.keys(features), value, slopes)
        return encoded.render(self._scales, cells, memory, out)

    def _mix_at(
        self,
        n: int,
        features: Tensor,
        value: Tensor,
        points: Tensor,
        memory: int,
        slopes: Tensor | None = None,
    ) -> Tensor:
        """Mix values at points [1, P, 2] only: [1, C, P]."""
        encoded, scales = self._image(n), self._scales
        cells = scales.cells(encoded.keys(features), value, slopes)
        return scales.mix_at(encoded.query_at(points[0]), cells, points, memory=memory)
