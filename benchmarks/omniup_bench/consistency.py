"""The tasks `consistency-…`: whether a result still means what went in, and whether trifles move it.

No truth is needed. Three things are asked of a method: that the means of the result over the cells are the signal; that
the mirror image of all that goes in gives the mirror image of what comes out; and that a little noise in the image, or
its compression, changes the result little.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from omniup.errors import InputError
from omniup.files import image_tensor, read_image, read_signal
from omniup.mixing import cell_means
from omniup_bench.task import Sample, Statistics, Task

NOISE = 0.02
"""Standard deviation of the noise, white being 1: five grey levels of 256."""

QUALITY = 50
"""Of the JPEG that the image is replaced by."""

MOST = 10
"""Images, at most: each is upsampled four times, and a method's consistency hardly depends on the image."""

EXAMPLE = "photos/voc_2009_003810"
"""A photograph with the probabilities that a network of 21 classes gave it, in cells of 16 × 12 pixels."""


class Consistency:
    """Whether a method keeps to the signal of another task, in its images: no truth is looked at.

    The folder is the other task's. That of network's predictions has one more image, `photos/voc_2009_003810.jpg`
    with `photos/voc_2009_003810.class_probabilities_32x32.npy`, [21, 32, 32], where that is there.

    Args:
        of: the other task.
    """

    factors: tuple[int, ...] = (8, 16, 32)
    metrics: Mapping[str, bool] = {"down": False, "mirror": False, "noise": False, "jpeg": False}

    def __init__(self, of: Task) -> None:
        self.of = of
        self.name = f"consistency-{of.name}"
        self.summary = f"the signal kept, mirrored alike, undisturbed by noise and JPEG, of {of.summary}"
        self.signal: Literal["measurement", "prediction"] = of.signal

    def samples(self, data: Path, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images; see `Task`. Each is four: itself, mirrored, noisy, compressed."""
        for name, image, signal in self._pairs(data, factor, count):
            images = torch.cat([image, image.flip(3), _noisy(image), _compressed(image)])
            signals = torch.cat([signal, signal.flip(3), signal, signal])
            yield Sample(name, images, signals, partial(_judge, signal))

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Root mean square changes, in percent of the signal's standard deviation; see `Task`."""
        return {name: 100 * math.sqrt(totals[name] / totals["variance"]) for name in self.metrics}

    def _pairs(self, data: Path, factor: int, count: int | None) -> Iterator[tuple[str, Tensor, Tensor]]:
        for sample in self.of.samples(data, factor, min(count or MOST, MOST)):
            yield sample.name, sample.image, sample.signal
        picture = data / f"{EXAMPLE}.jpg"
        if self.signal == "prediction" and factor == 16 and picture.is_file():
            yield EXAMPLE, read_image(picture), _example(data)


def _example(data: Path) -> Tensor:
    path = data / f"{EXAMPLE}.class_probabilities_32x32.npy"
    found = read_signal(path)
    if found.shape[1:] != (21, 32, 32):
        raise InputError(f"data: {path} has the shape {list(found.shape[1:])}; accepted is [21, 32, 32]")
    return found.float()


def _judge(signal: Tensor, result: Tensor) -> Statistics:
    """Mean squares over channels and pixels, so that large images count for no more than small ones."""
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
