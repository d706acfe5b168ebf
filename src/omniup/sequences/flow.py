"""Find where each pixel of a frame lay in the frame before, and fetch values from there.

The flow is OpenCV's DIS (dense inverse search; Kroeger et al., 2016): classical, without weights, on a CPU. Values
are fetched by bicubic interpolation, since bilinear interpolation, repeated frame after frame, would blur.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import optional_import

LEAST_SIDE = 32
"""Pixels of a side that DIS needs; smaller images are padded."""


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

    Args:
        places: [H, W, 2], x and y, in pixels of the frame before.
        device: of the values.
    """

    def __init__(self, places: NDArray[np.float32], device: torch.device) -> None:
        self._on_cpu = device.type == "cpu"
        if self._on_cpu:  # OpenCV is three times as fast there; it rounds the places to 1/32 of a pixel
            cv2 = _opencv()
            self._maps = cv2.convertMaps(np.ascontiguousarray(places), None, cv2.CV_16SC2)
        else:
            height, width = places.shape[:2]
            sides = np.array([max(1, width - 1), max(1, height - 1)], np.float32)
            self._grid = torch.from_numpy(2 * places / sides - 1)[None].to(device)  # [1, H, W, 2] in -1..1

    def __call__(self, channel: Tensor, *, linear: bool = False, out: Tensor | None = None) -> Tensor:
        """Fetch the values of one channel.

        Args:
            channel: [H', W'] of the frame before, float32 or float64; beyond its border its last values go on.
            linear: interpolate bilinearly instead of bicubically.
            out: [H, W], where the values may go: fresh memory takes a third of the time.

        Returns:
            [H, W].
        """
        if not self._on_cpu:
            mode = "bilinear" if linear else "bicubic"
            grid = self._grid.to(channel.dtype)
            fetched = F.grid_sample(channel[None, None], grid, mode, padding_mode="border", align_corners=True)
            return fetched[0, 0]
        cv2 = _opencv()
        mode = cv2.INTER_LINEAR if linear else cv2.INTER_CUBIC
        target = None if out is None else out.numpy()
        fetched = cv2.remap(channel.numpy(), *self._maps, mode, dst=target, borderMode=cv2.BORDER_REPLICATE)
        return torch.from_numpy(fetched)


def _opencv() -> Any:
    return optional_import("cv2", extra="video")
