"""The network that makes class probabilities and features of street scenes: not part of the package.

It lies beside the data, in `../models`, as code and weights: `street_scenes.py`, whose `load(weights)` returns it, and
`street_scenes.safetensors`. Running a benchmark on a folder of data thus runs the code beside it.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniup.errors import InputError

STRIDE = 16
"""Of the network's probabilities, in pixels."""


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

    Its own cells are 16 pixels wide. Finer ones, of 4 or 8, are its predictions for the image moved by part of a cell,
    put between each other. For other sizes the image is scaled so that 16 of its pixels make a cell.

    Args:
        network: as `street_scenes` loads it.
        image: [1, 3, H, W] in 0..1, sides that are multiples of 16.
        factor: pixels to a cell: a divisor of 16, or any number that is not far from it.

    Returns:
        [1, 11, h, w], sums of 1.
    """
    height, width = image.shape[2:]
    if STRIDE % factor:
        size = STRIDE * round(height / factor), STRIDE * round(width / factor)
        return _classes(network, F.interpolate(image, size, mode="bilinear", antialias=True).clamp(0, 1))
    steps = STRIDE // factor
    first = (STRIDE - factor) // 2  # how far the first of the finer cells lies before the middle of its coarse one
    padded = F.pad(image, (STRIDE,) * 4, mode="replicate")
    starts = [STRIDE - first + factor * step for step in range(steps)]
    parts = [_classes(network, padded[..., y : y + height, x : x + width]) for y in starts for x in starts]
    return F.pixel_shuffle(torch.stack(parts, dim=2).flatten(1, 2), steps)  # [1, 11, steps h, steps w]


@torch.inference_mode()
def _classes(network: nn.Module, image: Tensor) -> Tensor:
    return network(image)[2]
