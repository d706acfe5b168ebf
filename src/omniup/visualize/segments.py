"""Draw label maps: a colour for each class, and the borders between classes over a photograph."""

from __future__ import annotations

import colorsys

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from omniup.errors import InputError
from omniup.visualize.colours import to_picture
from omniup.visualize.tensors import check_map

GOLDEN = (5**0.5 - 1) / 2  # of a turn: successive hues stay far apart however many there are


def class_colours(classes: int) -> NDArray[np.uint8]:
    """Choose a colour for each class: [classes, 3], always the same for the first n, neighbours far apart."""
    rows = [colorsys.hls_to_rgb(0.6 + GOLDEN * k, (0.45, 0.65, 0.3, 0.8)[k % 4], 0.65) for k in range(classes)]
    return (np.array(rows).reshape(-1, 3) * 255).round().astype(np.uint8)


def label_picture(labels: Tensor, colours: NDArray[np.uint8]) -> Image.Image:
    """Draw a label map.

    Args:
        labels: [1, 1, h, w], whole numbers, which class.
        colours: [classes, 3], red, green and blue of each.

    Returns:
        w × h pixels of RGB.

    Raises:
        InputError: a label map of another shape, or a label without a colour.
    """
    check_map("labels", labels, channels=(1,))
    low, high = (int(bound) for bound in labels.aminmax())
    if low < 0 or high >= len(colours):
        raise InputError(
            "labels", "has values from {low} to {high}", "0 to {most}", low=low, high=high, most=len(colours) - 1
        )
    return Image.fromarray(colours[labels[0, 0].cpu().numpy()])


def outlined(image: Tensor, labels: Tensor) -> Image.Image:
    """Draw the borders between classes over a photograph, to see whether they lie on its edges.

    Args:
        image: [1, 3, H, W] in 0..1.
        labels: [1, 1, H, W], whole numbers.

    Returns:
        W × H pixels of RGB: a white line with a dark one beside it, which shows on any ground.

    Raises:
        InputError: another shape, or differing sizes.
    """
    check_map("labels", labels, channels=(1,))
    if image.shape[2:] != labels.shape[2:]:
        raise InputError(
            "image",
            "has the shape {image}, and labels {labels}",
            "equal sizes",
            image=list(image.shape),
            labels=list(labels.shape),
        )
    numbers = labels[0, 0].cpu()
    near, far = (torch.zeros_like(numbers, dtype=torch.bool) for _ in range(2))  # [H, W], the two sides of a border
    for axis in (0, 1):
        border = numbers.diff(dim=axis) != 0
        near.narrow(axis, 0, border.shape[axis]).logical_or_(border)
        far.narrow(axis, 1, border.shape[axis]).logical_or_(border)
    photo = image.detach()[0].float().cpu().clone()  # [3, H, W]
    photo[:, far] *= 0.25
    photo[:, near] = 1
    return to_picture(photo[None])
