"""Find where each pixel of a frame lay in the frame before, and fetch values from there.

The flow is OpenCV's DIS (dense inverse search; Kroeger et al., 2016): classical, without weights, on a CPU. Values
are fetched by bicubic interpolation, since bilinear interpolation, repeated frame after frame, would blur. A value is a
sum of weighted rows of a table, which torch knows as a bag of embeddings and computes in vector instructions: for
hundreds of channels in a sixth of the time of OpenCV's `remap`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import optional_import
from omniup.upsamplers.checks import Size

LEAST_SIDE = 32
"""Pixels of a side that DIS needs; smaller images are padded."""

CUBIC = -0.75
"""The slope of the bicubic kernel, as OpenCV and torch have it."""

STRIP_BYTES, MOST_PLACES = 2**20, 2**15
"""Bytes that are fetched at a time, and places whose weights are computed at a time."""


@dataclass(frozen=True, eq=False)
class Flow:
    """The motion between a frame and the one before it.

    Attributes:
        places: [H, W, 2] float32, x and y: where pixels lay in the frame before.
        length: [H, W] float32, how far that is, in pixels.
        inconsistency: [H, W] float32, pixels: the distance to where it began of the way there and, by the forward flow,
            back.
    """

    places: NDArray[np.float32]
    length: NDArray[np.float32]
    inconsistency: NDArray[np.float32]

    @property
    def is_inside(self) -> NDArray[np.bool_]:
        """Mark the pixels that lay inside of the frame before: [H, W]."""
        height, width = self.length.shape
        x, y = self.places[..., 0], self.places[..., 1]
        inside: NDArray[np.bool_] = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        return inside


def grey_levels(image: Tensor) -> NDArray[np.uint8]:
    """Convert an image [1, G, H, W] in 0..1 to what flow is computed of: the mean of its channels in 8 bits, [H, W]."""
    grey = image.float().mean(1)[0].clamp(0, 1).mul(255).round().byte()
    levels: NDArray[np.uint8] = grey.cpu().numpy()
    return levels


def flow_between(now: NDArray[np.uint8], before: NDArray[np.uint8]) -> Flow:
    """Compute the flow between two frames.

    Args:
        now: [H, W], the later frame.
        before: [H, W], the earlier one.
    """
    cv2 = _opencv()
    height, width = now.shape
    padding = (0, max(0, LEAST_SIDE - height)), (0, max(0, LEAST_SIDE - width))
    first, second = (np.pad(frame, padding, mode="edge") for frame in (now, before))
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    backward, forward = (
        np.ascontiguousarray(search.calc(*pair, None)[:height, :width]) for pair in ((first, second), (second, first))
    )
    places = backward.copy()  # [H, W, 2]
    places[..., 0] += np.arange(width, dtype=np.float32)
    places[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    there = cv2.remap(forward, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    length, error = (cv2.magnitude(*cv2.split(motion)) for motion in (backward, backward + there))
    return Flow(places, length, error)


class Warp:
    """Fetches values from the places where pixels lay in the frame before.

    What is fetched is a weighted sum of the nearest 16 pixels there, or 4; beyond the border its last pixels go on.
    Channels come last, so that those of one pixel are gathered together.

    Args:
        places: [..., 2], x and y, in pixels of the frame before: of N pixels.
        size: (H', W') of the frame before.
        device: of the values.
        linear: interpolate bilinearly instead of bicubically.
        keep: keep the weights for the next call, which are up to 128 bytes a pixel.
    """

    def __init__(
        self,
        places: NDArray[np.float32],
        size: Size,
        device: torch.device,
        *,
        linear: bool = False,
        keep: bool = False,
    ) -> None:
        self._places = torch.from_numpy(places.reshape(-1, 2)).to(device)  # [N, 2]
        self._size, self._weights = size, linear_weights if linear else cubic_weights
        self._kept = list(self._taps()) if keep else None

    def __call__(self, values: Tensor) -> Tensor:
        """Fetch the values of all pixels.

        Args:
            values: [H' · W', C] of the frame before, float32 or float64.

        Returns:
            [N, C].
        """
        return torch.cat([fetched for _, fetched in self.strips(values)])

    def strips(self, values: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield which pixels of the N, and their values [n, C]: as many at a time as stay in a processor's cache.

        Args:
            values: see `__call__`.
        """
        most, start = max(1, STRIP_BYTES // (values.shape[1] * values.element_size())), 0
        for indices, weights in self._kept or self._taps():
            for near, parts in zip(indices.split(most), weights.to(values.dtype).split(most), strict=True):
                pixels = slice(start, start + len(near))
                yield pixels, F.embedding_bag(near, values, mode="sum", per_sample_weights=parts)
                start = pixels.stop

    def _taps(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the numbers [n, K] of the pixels that values at n places are sums of, with the weights [n, K]."""
        height, width = self._size
        for places in self._places.split(MOST_PLACES):
            x, y = places.t().contiguous()
            columns, across = self._along(x, width)
            rows, down = self._along(y, height)
            indices = torch.stack([row * width + column for row in rows for column in columns], 1)
            yield indices, torch.stack([weight * other for weight in down for other in across], 1)

    def _along(self, places: Tensor, side: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return the nearest pixels along an axis, k times [n], and their weights."""
        begin = places.floor()
        weights = self._weights(places - begin)
        first = begin.int() + 1 - len(weights) // 2
        return [(first + number).clamp_(0, side - 1) for number in range(len(weights))], weights


def linear_weights(offset: Tensor) -> list[Tensor]:
    """Return the weights of the pixel before a place and of that after it, by how far the first is: 0..1."""
    return [1 - offset, offset]


def cubic_weights(offset: Tensor) -> list[Tensor]:
    """Return the weights of two pixels before a place and of two after it."""
    rest = 1 - offset
    first, last = CUBIC * offset * rest * rest, CUBIC * rest * offset * offset
    second = ((CUBIC + 2) * offset - (CUBIC + 3)) * offset * offset + 1
    return [first, second, 1 - first - second - last, last]


def transpose(source: Tensor, out: Tensor) -> Tensor:
    """Write a matrix [m, n] transposed to `out` [n, m], which is returned; rows of both are contiguous."""
    if source.device.type != "cpu":
        return out.copy_(source.t())
    _opencv().transpose(source.numpy(), out.numpy())  # twice as fast as torch's
    return out


def _opencv() -> Any:
    return optional_import("cv2", extra="video")
