"""Augment the guidance photometrically, with torchvision's transforms, by the recipe's names.

The paper does not say how often and how strongly each is applied; here about three of the eleven are applied at a
time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from types import ModuleType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from omniup.errors import optional_import
from omniup.training.anyup.configuration import Augmentation

PROBABILITY = 0.3
"""Probability of each augmentation."""

JPEG_QUALITY = (30, 95)

Transform = Callable[[Tensor], Tensor]


def _jpeg(image: Tensor) -> Tensor:
    """Compress an image [3, H, W] as JPEG of random quality, with Pillow's codec: torchvision's will be removed."""
    quality = int(torch.randint(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1, ()))
    with BytesIO() as file:
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


_MAKE: dict[Augmentation, Callable[[ModuleType], Transform]] = {
    "colour_jitter": lambda v2: v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    "photometric_distortion": lambda v2: v2.RandomPhotometricDistort(p=1),
    "grayscale": lambda v2: v2.RandomGrayscale(p=1),
    "blur": lambda v2: v2.GaussianBlur(kernel_size=5, sigma=(0.1, 2.0)),
    "jpeg": lambda _: _jpeg,
    "autocontrast": lambda v2: v2.RandomAutocontrast(p=1),
    "equalise": lambda v2: v2.RandomEqualize(p=1),
    "sharpen": lambda v2: v2.RandomAdjustSharpness(sharpness_factor=2, p=1),
    "posterise": lambda v2: v2.RandomPosterize(bits=4, p=1),
    "solarise": lambda v2: v2.RandomSolarize(threshold=192, p=1),
    "noise": lambda v2: v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.GaussianNoise(sigma=0.05), v2.ToDtype(torch.uint8, scale=True)]
    ),
}


class Augmentations:
    """Photometric augmentation of each image of a batch by itself, drawn from torch's global generator.

    Args:
        names: which changes, applied in this order, each with `PROBABILITY`.

    Raises:
        MissingPackageError: torchvision is not installed.
    """

    def __init__(self, names: Sequence[Augmentation]) -> None:
        v2 = optional_import("torchvision.transforms.v2", extra="train")
        self._transforms = [_MAKE[name](v2) for name in names]

    def __call__(self, images: Tensor) -> Tensor:
        """Augment [B, 3, H, W] in 0..1 on the CPU; the result is in steps of 1/255."""
        levels = (images * 255).round().byte()  # the JPEG codec and the histograms want bytes
        return torch.stack([self._change(image) for image in levels]).float() / 255

    def _change(self, image: Tensor) -> Tensor:
        for transform in self._transforms:
            if torch.rand(()) < PROBABILITY:
                image = transform(image)
        return image
