"""Labels and class probabilities: what is mixed is the probability of each class, and the likeliest class wins.

Mixing the numbers of labels, or their colours, would invent classes that are not there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.upsamplers.base import Size, Upsampler
from omniup.upsamplers.upsample_anything import UpsampleAnything


def for_labels(method: Upsampler) -> Upsampler:
    """What a method is for votes, which come some labels at a time: one that mixes each label's for themselves.

    Raises:
        InputError: the method takes its signals for measurements. A label is no mean over a cell.
    """
    if not isinstance(method, UpsampleAnything) or method.kind in ("values", "votes"):
        return method
    if method.kind == "measurement":
        raise InputError("kind is 'measurement', and the signal is labels: accepted are values, votes and prediction")
    return dataclasses.replace(method, kind="votes")


def likeliest(
    render: Callable[[Tensor], Tensor],
    classes: int,
    probabilities: Callable[[Tensor], Tensor],
    size: Size,
    *,
    memory: int,
) -> Tensor:
    """Find the likeliest class of each pixel, a few classes at a time.

    Args:
        render: mixes, [1, K, h, w] to [1, K, H, W].
        classes: how many there are.
        probabilities: gives those of some classes, [k] whole numbers, as [1, k, h, w].
        size: (H, W) of the result, in pixels.
        memory: bytes that the mixed probabilities of the classes may take at a time.

    Returns:
        [1, 1, H, W] int64, the first of those that are equally likely.
    """
    at_once = max(1, memory // (4 * size[0] * size[1]))
    best = place = None
    for part in torch.arange(classes).split(at_once):
        value, likely = render(probabilities(part)).max(dim=1, keepdim=True)  # [1, 1, H, W] each
        likely = likely + int(part[0])
        if best is None or place is None:
            best, place = value, likely
        else:
            place = torch.where(value > best, likely, place)
            best = torch.maximum(best, value)
    assert place is not None  # as long as there is a class
    return place


def votes(labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Probabilities, 0 or 1, of labels [1, 1, h, w] that are numbered from 0; for `likeliest`."""
    return lambda part: (labels == part.to(labels).view(1, -1, 1, 1)).float()
