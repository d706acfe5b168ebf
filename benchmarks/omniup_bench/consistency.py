"""Define the tasks `consistency-…`: errors against the signal, and changes of the result with the image.

No ground truth is needed. Three things are measured: how far the result's means over the cells are from the signal;
how far the result for mirrored inputs is from the mirrored result; and how much noise or compression of the image
changes the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from omniup.errors import InputError
from omniup.files import image_tensor, read_image, read_signal
from omniup.mixing import cell_means
from omniup.upsamplers import SignalType
from omniup_bench.data import Folders
from omniup_bench.task import Sample, Statistics, Task

NOISE = 0.02
"""Standard deviation of the noise, white being 1: five grey levels of 256."""

QUALITY = 50
"""Quality setting of the JPEG compression."""

MOST = 10
"""Maximum number of images: each is upsampled four times, and a method's consistency hardly depends on the image."""

EXAMPLE = "photos/voc_2009_003810"
"""A photograph with class probabilities of another network, of 21 classes, in cells of 16 × 12 pixels."""


class Consistency:
    """The consistency of a method on the images and signals of another task.

    Of class probabilities there is one more image, if the data has it: `photos/voc_2009_003810.jpg` with
    `photos/voc_2009_003810.class_probabilities_32x32.npy`, [21, 32, 32].

    Args:
        of: the other task.
    """

    factors: tuple[int, ...] = (8, 16, 32)
    metrics: Mapping[str, bool] = {"down": False, "mirror": False, "noise": False, "jpeg": False}

    def __init__(self, of: Task) -> None:
        self.of = of
        self.name = f"consistency-{of.name}"
        self.summary = f"cell means, mirroring, noise and JPEG: {of.summary}"
        self.signal_type: SignalType = of.signal_type

    def samples(self, folders: Folders, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images, each in four views: itself, mirrored, noisy, compressed; see `Task`."""
        for name, image, signal in self._pairs(folders, factor, count):
            images = torch.cat([image, image.flip(3), _noisy(image), _compressed(image)])
            signals = torch.cat([signal, signal.flip(3), signal, signal])
            yield Sample(name, images, signals, partial(_evaluate, signal))

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Compute root mean square changes, in percent of the signal's standard deviation; see `Task`."""
        return {name: 100 * math.sqrt(totals[name] / totals["variance"]) for name in self.metrics}

    def _pairs(self, folders: Folders, factor: int, count: int | None) -> Iterator[tuple[str, Tensor, Tensor]]:
        for sample in self.of.samples(folders, factor, min(count or MOST, MOST)):
            yield sample.name, sample.image, sample.signal
        picture = folders.data / f"{EXAMPLE}.jpg"
        if self.signal_type == "probabilities" and factor == 16 and picture.is_file():
            yield EXAMPLE, read_image(picture), _example(folders)


def _example(folders: Folders) -> Tensor:
    path = folders.data / f"{EXAMPLE}.class_probabilities_32x32.npy"
    found = read_signal(path)
    if found.shape[1:] != (21, 32, 32):
        raise InputError(str(path), "has the shape {shape}", "[21, 32, 32]", shape=list(found.shape[1:]))
    return found.float()


def _evaluate(signal: Tensor, result: Tensor) -> Statistics:
    """Compute mean squares over channels and pixels, so that large images count no more than small ones."""
    plain, mirrored, noisy, compressed = result.double().split(1)
    signal = signal.double()
    grid = signal.shape[2], signal.shape[3]
    changes = {
        "down": cell_means(plain, grid) - signal,
        "mirror": mirrored.flip(3) - plain,
        "noise": noisy - plain,
        "jpeg": compressed - plain,
    }
    variance = signal.var(dim=(2, 3), correction=0).mean()
    return {name: float(change.square().mean()) for name, change in changes.items()} | {"variance": float(variance)}


def _noisy(image: Tensor) -> Tensor:
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    return (image + NOISE * noise).clamp(0, 1)


def _compressed(image: Tensor) -> Tensor:
    pixels = (255 * image[0]).round().byte().permute(1, 2, 0).numpy()
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=QUALITY)
    return image_tensor(Image.open(file))
