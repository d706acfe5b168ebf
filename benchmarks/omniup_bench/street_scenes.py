"""The network that makes class probabilities and features of street scenes: not part of the package.

It lies beside the data, in `../models`, as code and weights: `street_scenes.py`, whose `load(weights)` returns it, and
`street_scenes.safetensors`. Running a benchmark on a folder of data thus runs the code beside it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniup.errors import InputError
from omniup_bench.data import Picture, labelled_pictures

STRIDE = 16
"""Of the network's probabilities and of the features that they come from, in pixels."""

FEATURES, PROBABILITIES = 1, 2
"""Which of the network's outputs they are."""

CLASSES = 11


@lru_cache(maxsize=1)
def street_scenes(data: Path) -> nn.Module:
    """Load the network that lies beside a folder of data.

    Returns:
        A module that makes of images [B, 3, H, W] in 0..1, with sides that are multiples of 16, features
        [B, 96, H/8, W/8] and [B, 192, H/16, W/16], and probabilities [B, 11, H/16, W/16].

    Raises:
        InputError: it is not there, or cannot be loaded.
    """
    code = data.resolve().parent / "models" / "street_scenes.py"
    if not code.is_file():
        raise InputError(f"data: there is no network at {code}; accepted is a folder with ../models/street_scenes.py")
    specification = importlib.util.spec_from_file_location("omniup_street_scenes", code)
    assert specification is not None and specification.loader is not None  # as for any file that ends in .py
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
        network: nn.Module = module.load(code.with_suffix(".safetensors"))
    except Exception as error:  # whatever that code raises
        raise InputError(f"data: {code}: {type(error).__name__}: {error}") from error
    return network.eval().requires_grad_(False)


def probabilities(network: nn.Module, image: Tensor, factor: int) -> Tensor:
    """Class probabilities of an image in cells of `factor` pixels, as the network itself would give them.

    Its own cells are 16 pixels wide. Finer ones, of 4 or 8, are `moved`; for other sizes the image is `scaled`.

    Args:
        network: as `street_scenes` loads it.
        image: [1, 3, H, W] in 0..1, sides that are multiples of 16.
        factor: pixels to a cell: a divisor of 16, or any number that is not far from it.

    Returns:
        [1, 11, h, w], sums of 1.
    """
    make = scaled if STRIDE % factor else moved
    return make(network, image, factor, PROBABILITIES)


def scaled(network: nn.Module, image: Tensor, factor: int, output: int) -> Tensor:
    """What the network gives for the image, scaled so that 16 of its pixels make a cell.

    Args:
        network: as `street_scenes` loads it.
        image: [1, 3, H, W] in 0..1.
        factor: pixels of the image to a cell.
        output: `FEATURES` or `PROBABILITIES`.

    Returns:
        [1, C, H / factor, W / factor], its sides rounded.
    """
    size = STRIDE * round(image.shape[2] / factor), STRIDE * round(image.shape[3] / factor)
    if size != image.shape[2:]:
        image = F.interpolate(image, size, mode="bilinear", antialias=True).clamp(0, 1)
    return _run(network, image, output)


def moved(network: nn.Module, image: Tensor, factor: int, output: int) -> Tensor:
    """What the network gives for the image moved by parts of a cell, put between each other (Long et al. 2015).

    So its cells are finer, and each sees what it would have seen there.

    Args:
        network: as `street_scenes` loads it.
        image: [1, 3, H, W] in 0..1, sides that are multiples of 16.
        factor: pixels to a cell: a divisor of 16, other than 1.
        output: `FEATURES` or `PROBABILITIES`.

    Returns:
        [1, C, H / factor, W / factor].
    """
    height, width = image.shape[2:]
    steps = STRIDE // factor
    first = (STRIDE - factor) // 2  # how far the first of the finer cells lies before the middle of its coarse one
    padded = F.pad(image, (STRIDE,) * 4, mode="replicate")
    starts = [STRIDE - first + factor * step for step in range(steps)]
    parts = [_run(network, padded[..., y : y + height, x : x + width], output) for y in starts for x in starts]
    return F.pixel_shuffle(torch.stack(parts, dim=2).flatten(1, 2), steps)  # [1, C, steps h, steps w]


@torch.no_grad()
def _run(network: nn.Module, image: Tensor, output: int) -> Tensor:
    return network(image)[output]


def scenes(data: Path, split: str, count: int | None = None) -> Iterator[Picture]:
    """Read street scenes: `camvid/SPLIT/NAME.jpg` with `NAME.labels.png`, 0 to 10 for classes, 11 for neither.

    What is left over of the sides after the network's cells is cut off: four rows at the top and at the bottom.

    Args:
        data: the folder of all data sets.
        split: `train`, `tune` or `val`.
        count: of pictures; all if None.

    Yields:
        Pictures; labels that are no class are -1.

    Raises:
        InputError: as `labelled_pictures`.
    """
    for picture in labelled_pictures(data, f"camvid/{split}", ".labels.png", count):
        height, width = (side // STRIDE * STRIDE for side in picture.labels.shape)
        top, left = ((side - kept) // 2 for side, kept in zip(picture.labels.shape, (height, width), strict=True))
        image = picture.image[..., top : top + height, left : left + width].contiguous()
        labels = picture.labels[top : top + height, left : left + width]
        yield Picture(picture.name, image, np.where(labels < CLASSES, labels, -1))
