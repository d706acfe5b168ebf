"""Load the sample photographs that come with scikit-image: public domain or CC0, on every user's machine.

And class probabilities of one of them, to try what mixes classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from omniup.errors import InputError
from omniup.files.images import image_tensor, read_image

#: Names of the photographs: a cup on a table, a cat, a portrait, a launch.
SAMPLES = ("coffee", "chelsea", "astronaut", "rocket")


SAMPLE = "sample:"
"""Begins the names of samples where paths are accepted too."""


def sample_image(name: str = "coffee") -> Image.Image:
    """Load one of the `SAMPLES`, RGB.

    Raises:
        InputError: there is none of this name.
    """
    if name not in SAMPLES:
        raise InputError("sample", "is {name!r}", "{samples}", name=name, samples=", ".join(SAMPLES))
    from skimage.data import data_dir  # here, since few calls need it; its functions import skimage.io, a second

    with Image.open(next(Path(data_dir).glob(f"{name}.*"))) as photograph:
        return photograph.convert("RGB")


def read_photograph(source: str | Path) -> Tensor:
    """Read a photograph, [1, 3, H, W] in 0..1: a path, or `sample:NAME`.

    Raises:
        InputError: it cannot be read, or there is no sample of this name.
    """
    if isinstance(source, str) and source.startswith(SAMPLE):
        return image_tensor(sample_image(source.removeprefix(SAMPLE)))
    return read_image(source)


@dataclass(frozen=True, eq=False)
class SampleProbabilities:
    """Class probabilities of a photograph.

    Attributes:
        image: [1, 3, H, W] in 0..1.
        probabilities: [1, K, h, w], sums of 1 over K.
        classes: the K names.
        source: where they come from.
    """

    image: Tensor
    probabilities: Tensor
    classes: tuple[str, ...]
    source: str


def sample_probabilities() -> SampleProbabilities:
    """Load eight classes of the sample `astronaut`, 32 × 32; from tools/class_probabilities.py."""
    with np.load(Path(__file__).with_name("class_probabilities.npz"), allow_pickle=False) as arrays:
        probabilities = torch.from_numpy(arrays["probabilities"]).float()  # [1, K, h, w]
        classes = tuple(str(name) for name in arrays["classes"])
    return SampleProbabilities(
        image_tensor(sample_image("astronaut")),
        probabilities / probabilities.sum(1, keepdim=True),  # they are kept in float16
        classes,
        "a small network trained on strokes drawn on this photograph",
    )
