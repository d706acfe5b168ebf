"""Segment an image: compute class probabilities, upsample them and take the argmax.

Mixing the colours of a label map instead would invent classes along every border.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.encoders import Encoding, Mask2Former
from omniup.errors import InputError
from omniup.files import sample_probabilities
from omniup.files.weights import OFFLINE
from omniup.mixing.interruption import interruptible
from omniup.upsamplers import Bilinear, GaussianKernels, Prepared, PyramidBilateral, UpsampleAnything, upsampler
from omniup.visualize import class_colours, label_picture, outlined, to_picture
from omniup.web.jobs import Job
from omniup.web.language import LANGUAGE, phrases, texts
from omniup.web.pictures import data_url, enlarged
from omniup.web.schemas import MaskConfig, Segmentation, SegmentationStatus, SegmentClass, Texts
from omniup.web.stages import Stages

logger = logging.getLogger(__name__)

LOADING = 6.0
"""Seconds that importing transformers and reading the network take, about."""

AGAIN = 300.0
"""Seconds after which a network that could not be had is looked for again: asking the hub in vain takes some."""


@dataclass(frozen=True, eq=False)
class Segments:
    """A segmentation at low and at full resolution.

    Attributes:
        image: [1, 3, H, W], the photograph.
        low: [1, 1, h, w], the most probable class of each cell.
        high: [1, 1, H, W], of each pixel, by the way that the probabilities were upsampled: bilinear, gsjbu, pyramid;
            and anyup where its weights are on this machine.
        classes: the names of all classes.
        source: where the probabilities come from.
    """

    image: Tensor
    low: Tensor
    high: dict[str, Tensor]
    classes: tuple[str, ...]
    source: str


class Segmenter:
    """Mask2Former where it can be had; elsewhere the reason why not.

    Args:
        model: its repository, or a local folder.
        offline: never ask the network for it.
    """

    def __init__(self, model: str, offline: bool) -> None:
        self._model, self._offline = model, offline
        self._network: Mask2Former | None = None
        self._refused: tuple[float, InputError] | None = None
        self._loading = threading.Lock()

    @property
    def loading_seconds(self) -> dict[str, float]:
        """Seconds that loading the network will take, about; none where it is loaded or cannot be had."""
        return {} if self._network or self._refused else {"segmentation": LOADING}

    @property
    def status(self) -> SegmentationStatus:
        """State as far as known; nothing is loaded for it."""
        if self._refused:
            return _unavailable(self._refused[1])
        template = "{model}, loaded" if self._network else "{model}, not loaded yet"
        return segmentation_status("off", phrases(template, model=self._model))

    def segment(
        self, image: Tensor, kernels: GaussianKernels, resolution: int
    ) -> tuple[SegmentationStatus, Segments | None]:
        """Segment an image and upsample the probabilities.

        Args:
            image: [1, 3, H, W] in 0..1.
            kernels: the image's.
            resolution: the longer side that the network sees, in pixels.

        Returns:
            What happened, and the segments if it went well.
        """
        try:
            network = copy.copy(self._load())  # which shares the weights
        except InputError as error:
            return _unavailable(error), None
        network.resolution = resolution
        try:
            encoding, where = self._encode(network, image, kernels.grid)
        except RuntimeError as error:
            logger.exception("Mask2Former failed")
            return _unavailable(_failed(error)), None
        segments = upsample_probabilities(
            encoding.features.to(image.device), network.classes, kernels, encoding.weights
        )
        longest = " x ".join(map(str, kernels.grid))
        template = "{weights}, at {resolution} pixels on {device}, {cells} cells"
        said = phrases(template, weights=encoding.weights, resolution=resolution, device=where, cells=longest)
        return segmentation_status("done", said), segments

    def _load(self) -> Mask2Former:
        with self._loading:
            if self._network is not None:
                return self._network
            if self._refused and time.monotonic() < self._refused[0]:
                raise self._refused[1]
            try:
                self._network = Mask2Former(self._model, offline=self._offline)
            except InputError as error:
                self._refused = time.monotonic() + AGAIN, error
                raise
            self._refused = None
            return self._network

    def _encode(self, network: Mask2Former, image: Tensor, grid: tuple[int, int]) -> tuple[Encoding, str]:
        """Encode on the image's device, or on the CPU where that lacks the memory, or an operation of the network."""
        try:
            return network(image, grid), image.device.type
        except RuntimeError as error:
            if image.device.type == "cpu":
                raise
            logger.warning("Mask2Former on %s: %s; trying the CPU", image.device, error)
            return network(image.cpu(), grid), "cpu"


def segmentation_status(state: Literal["off", "done", "unavailable"], said: Mapping[str, str]) -> SegmentationStatus:
    """Describe what happened, in both languages."""
    return SegmentationStatus(state=state, message=said[LANGUAGE.get()], texts=Texts.model_validate(said))


def _unavailable(error: InputError) -> SegmentationStatus:
    return segmentation_status("unavailable", texts(error))


def _failed(error: Exception) -> InputError:
    return InputError("Mask2Former", "failed ({reason})", reason=error)


def upsample_probabilities(
    probabilities: Tensor, classes: tuple[str, ...], kernels: GaussianKernels, source: str
) -> Segments:
    """Upsample class probabilities [1, K, h, w] by an image's kernels, and by the methods beside them."""
    ways: dict[str, Prepared] = {
        "bilinear": Bilinear().prepare(kernels.guidance, kernels.grid),
        "gsjbu": kernels,
        "pyramid": PyramidBilateral().prepare(kernels.guidance, kernels.grid),
    }
    if anyup := _anyup(kernels):
        ways["anyup"] = anyup
    signal_type = "probabilities" if len(classes) > 1 else "values"  # of one class they decide nothing
    high = {way: each.render(probabilities, signal_type).argmax(1, keepdim=True) for way, each in ways.items()}
    return Segments(kernels.guidance, probabilities.argmax(1, keepdim=True), high, classes, source)


def _anyup(kernels: GaussianKernels) -> Prepared | None:
    """Prepare AnyUp; None where its weights are not on this machine."""
    token = OFFLINE.set(True)
    try:
        return upsampler("anyup").prepare(kernels.guidance, kernels.grid)
    except InputError:
        return None
    finally:
        OFFLINE.reset(token)


def segment_mask(job: Job, config: MaskConfig, image: Tensor, mask: Tensor, *, device: str) -> bytes:
    """Upsample a drawn mask from the cells of a grid.

    Args:
        job: whose work this is.
        config: what was asked for.
        image: [1, 3, H, W] in 0..1, with sides that the stride divides.
        mask: [1, 1, H', W'] in 0..1, of any size, over the whole image.
        device: where to compute.

    Returns:
        A `Segmentation` as JSON.
    """
    stage, image = Stages(job), image.to(device)
    grid = image.shape[2] // config.stride, image.shape[3] // config.stride
    inside = F.adaptive_avg_pool2d(mask, grid)  # [1, 1, h, w]
    probabilities = torch.cat([1 - inside, inside], dim=1).to(device)
    with interruptible(job.check):
        kernels = UpsampleAnything.preset("spec").prepare(image, grid, progress=stage.fitting)
        segments = upsample_probabilities(probabilities, ("background", "drawn"), kernels, "a drawn mask")
    return segmentation(segments).model_dump_json().encode()


def example() -> Segments:
    """Make the bundled segmentation: a real network's probabilities for a bundled photograph."""
    sample = sample_probabilities()
    grid = sample.probabilities.shape[2], sample.probabilities.shape[3]
    kernels = UpsampleAnything.preset("spec").prepare(sample.image, grid)
    return upsample_probabilities(sample.probabilities, sample.classes, kernels, sample.source)


def segmentation(segments: Segments) -> Segmentation:
    """Draw segments: label maps, and the borders between classes over the photograph."""
    present, places = torch.unique(
        torch.cat([labels.flatten() for labels in (segments.low, *segments.high.values())]), return_inverse=True
    )
    counts = [segments.low.numel(), *(labels.numel() for labels in segments.high.values())]
    shapes = [segments.low.shape, *(labels.shape for labels in segments.high.values())]
    low, *high = (part.view(shape) for part, shape in zip(places.split(counts), shapes, strict=True))
    drawn = dict(zip(segments.high, high, strict=True))  # as places in `present`
    size = segments.image.shape[2], segments.image.shape[3]
    colours = class_colours(len(present))
    fractions = F.one_hot(drawn["gsjbu"].flatten(), len(present)).float().mean(0)
    pictures = {
        "photo": to_picture(segments.image),
        "seg_lr": enlarged(label_picture(low, colours), size),
        "boundaries_lr": outlined(segments.image, F.interpolate(low.float(), size, mode="nearest-exact").long()),
        **{f"seg_{way}": label_picture(labels, colours) for way, labels in drawn.items()},
        **{f"boundaries_{way}": outlined(segments.image, labels) for way, labels in drawn.items()},
    }
    classes = [
        SegmentClass(name=segments.classes[index], colour="#{:02x}{:02x}{:02x}".format(*colour), share=fraction)
        for index, colour, fraction in zip(present.tolist(), colours.tolist(), fractions.tolist(), strict=True)
    ]
    return Segmentation(
        images={name: data_url(picture) for name, picture in pictures.items()},
        classes=sorted(classes, key=lambda each: -each.share),
        source=segments.source,
        grid=(segments.low.shape[2], segments.low.shape[3]),
        H=size[0],
        W=size[1],
    )
