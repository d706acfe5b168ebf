"""Upsample with the guided filters of OpenCV, which people use today: methods of the benchmark, not of the library.

The signal is interpolated bicubically to the image's size and then filtered, with the image as guidance. Widths are in
cells, so that one setting serves all factors. What is best for depth is not so for masks, and each filter has a preset
for each kind of data, which `python benchmarks/opencv_settings.py` finds on the images that settings are tuned on.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.mixing.interruption import check_interruption
from omniup.upsamplers import PreparedImage, SignalType, Upsampler
from omniup.upsamplers.base import check_image
from omniup.upsamplers.checks import DEFAULT_MEMORY, ImageLike, Size, check_choice, check_number, resize
from omniup.upsamplers.progress import ProgressLike
from omniup.upsamplers.registry import Method

Pixels: TypeAlias = NDArray[np.float32]
"""[H, W, C], as OpenCV has images."""

DEFAULT_PRESET = "depth"


@dataclasses.dataclass(frozen=True)
class _Peer(Upsampler, abc.ABC):
    """A filter of OpenCV with its settings."""

    at_once: ClassVar[int]
    """Number of channels that the filter takes at once."""

    presets: ClassVar[Mapping[str, Mapping[str, float]]]
    """Best settings by the data that they were found on."""

    def prepare(
        self,
        image: ImageLike,
        grid: Size,
        size: Size | None = None,
        *,
        progress: ProgressLike = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> PreparedPeer:
        """Check the arguments; see `Upsampler`."""
        guidance, size = check_image(image, grid, size)
        if (channels := guidance.shape[1]) not in (1, 3):
            raise InputError("image", "has {count} channels", "one or three, with OpenCV", count=channels)
        return PreparedPeer(self, resize(guidance, size), (grid[0], grid[1]))

    @abc.abstractmethod
    def smooth(self, guide: Pixels, values: Pixels, cell: float) -> Pixels:
        """Filter values.

        Args:
            guide: [H, W, 1 or 3] in 0..1.
            values: [H, W, C], at most `at_once` channels.
            cell: side of a cell, in pixels.

        Returns:
            [H, W, C]; OpenCV leaves out the last axis where C is 1.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedPeer(PreparedImage):
    """Interpolate signals and filter them.

    Attributes:
        method: the filter.
        guidance: [B, G, H, W].
        grid: (h, w), in cells.
    """

    method: _Peer
    guidance: Tensor
    grid: Size

    @property
    def batch(self) -> int:
        """Number of prepared images."""
        return len(self.guidance)

    @property
    def size(self) -> Size:
        """Size (H, W), in pixels."""
        return self.guidance.shape[2], self.guidance.shape[3]

    def only(self, image: int) -> PreparedPeer:
        """Return one image of the batch."""
        return dataclasses.replace(self, guidance=self.guidance[image : image + 1])

    def _render(self, signal: Tensor, types: tuple[SignalType, ...], memory: int, out: Tensor | None = None) -> Tensor:
        """Filter as many channels at once as the filter takes."""
        cv2.setNumThreads(torch.get_num_threads())  # so that times compare
        cell = math.sqrt(math.prod(self.size) / math.prod(self.grid))
        result = signal.new_empty((*signal.shape[:2], *self.size))  # [N, C, H, W]
        for number, (values, filtered) in enumerate(zip(signal, result, strict=True)):
            guide = _pixels(self.guidance[number % self.batch])
            for start in range(0, len(values), self.method.at_once):
                check_interruption()
                channels = slice(start, start + self.method.at_once)
                coarse = values[None, channels].float()
                wide = F.interpolate(coarse, self.size, mode="bicubic", align_corners=False)  # [1, c, H, W]
                smooth = self.method.smooth(guide, _pixels(wide[0]), cell).reshape(*self.size, -1)  # [H, W, c]
                filtered[channels] = torch.from_numpy(smooth).permute(2, 0, 1)
        return result


@dataclasses.dataclass(frozen=True)
class GuidedFilter(_Peer):
    """Fits values linearly to the image's colours in windows (He et al. 2010).

    Attributes:
        radius: of the window, in cells.
        eps: regularisation, added to the variance of colours in 0..1.
    """

    at_once: ClassVar[int] = 32
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "depth": {"radius": 0.35, "eps": 0.01},
        "masks": {"radius": 0.25, "eps": 0.01},
        "street_scenes": {"radius": 0.75, "eps": 0.01},
    }
    radius: float
    eps: float

    def __post_init__(self) -> None:
        check_number("radius", self.radius, 0.01, 100)
        check_number("eps", self.eps, 1e-9, 1)

    def smooth(self, guide: Pixels, values: Pixels, cell: float) -> Pixels:
        """Filter values; see `_Peer`."""
        found = cv2.ximgproc.guidedFilter(guide, values, max(1, round(self.radius * cell)), self.eps)
        return found.astype(np.float32, copy=False)


@dataclasses.dataclass(frozen=True)
class JointBilateralFilter(_Peer):
    """Averages values over pixels of similar colour (Petschnigg et al. 2004).

    Attributes:
        sigma: width of the kernel in space, in cells.
        sigma_color: width in colour, a sum over the channels of differences in 0..1.
    """

    at_once: ClassVar[int] = 3
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "depth": {"sigma": 1, "sigma_color": 0.05},
        "masks": {"sigma": 0.25, "sigma_color": 0.25},
        "street_scenes": {"sigma": 1, "sigma_color": 0.05},
    }
    sigma: float
    sigma_color: float

    def __post_init__(self) -> None:
        check_number("sigma", self.sigma, 0.01, 100)
        check_number("sigma_color", self.sigma_color, 1e-3, 100)

    def smooth(self, guide: Pixels, values: Pixels, cell: float) -> Pixels:
        """Filter values; OpenCV takes one channel or three."""
        count = values.shape[2]
        padded = np.repeat(values, 3, axis=2) if count == 1 else np.pad(values, ((0, 0), (0, 0), (0, 3 - count)))
        found = cv2.ximgproc.jointBilateralFilter(guide, padded, -1, self.sigma_color, self.sigma * cell)
        return found[..., :count].astype(np.float32, copy=False)


@dataclasses.dataclass(frozen=True)
class FastGlobalSmoother(_Peer):
    """Solves for values that are smooth where the image is, by weighted least squares (Min et al. 2014).

    Attributes:
        smoothness: weight of the differences between neighbours (λ of the paper) at cells of one pixel; it grows with
            the square of the cell's side.
        sigma_color: colour difference over which they count less, in 0..1.
    """

    at_once: ClassVar[int] = 4
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "depth": {"smoothness": 3, "sigma_color": 0.01},
        "masks": {"smoothness": 0.03, "sigma_color": 0.05},
        "street_scenes": {"smoothness": 1, "sigma_color": 0.02},
    }
    smoothness: float
    sigma_color: float

    def __post_init__(self) -> None:
        check_number("smoothness", self.smoothness, 1e-6, 1e6)
        check_number("sigma_color", self.sigma_color, 1e-3, 100)

    def smooth(self, guide: Pixels, values: Pixels, cell: float) -> Pixels:
        """Filter values; OpenCV wants an 8-bit image."""
        image = np.rint(255 * guide).astype(np.uint8)
        smoothness = self.smoothness * cell**2
        found = cv2.ximgproc.fastGlobalSmootherFilter(image, values, smoothness, 255 * self.sigma_color)
        return found.astype(np.float32, copy=False)


def _pixels(maps: Tensor) -> Pixels:
    """Rearrange maps [C, H, W] as OpenCV has images, [H, W, C]."""
    return np.ascontiguousarray(maps.detach().cpu().float().permute(1, 2, 0).numpy())


def _method(name: str, filtered_by: str, build: type[_Peer]) -> Method:
    """Describe a filter as the registry describes methods."""
    summary = f"bicubic interpolation, then OpenCV's {filtered_by}"
    settings = {"preset": DEFAULT_PRESET, **build.presets[DEFAULT_PRESET]}
    variants = {"preset": tuple(build.presets)}
    return Method(name, summary, summary, partial(_by_preset, build), settings, {}, variants, variants)


def _by_preset(build: type[_Peer], preset: str = DEFAULT_PRESET, **changes: Any) -> _Peer:
    """Build a filter with the settings of a preset, and changes.

    Raises:
        InputError: there is no such preset, or a value is not accepted.
    """
    check_choice("preset", preset, tuple(build.presets))
    return build(**{**build.presets[preset], **changes})


PEERS: Mapping[str, Method] = {
    method.name: method
    for method in (
        _method("opencv_guided_filter", "guidedFilter", GuidedFilter),
        _method("opencv_joint_bilateral", "jointBilateralFilter", JointBilateralFilter),
        _method("opencv_fgs", "fastGlobalSmootherFilter", FastGlobalSmoother),
    )
}
"""The filters by the names that the benchmark has for them."""
