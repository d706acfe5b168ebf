"""Read squares of photographs with label maps, which validation fits its probes to and measures them on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.files import read_labels, read_photograph
from omniup.training.photographs import central_square, photographs, reduce


@dataclass(frozen=True, eq=False)
class Labelled:
    """Photographs with label maps.

    Attributes:
        images: [N, 3, S, S] in 0..1.
        labels: [N, S, S], whole numbers; -1 for what counts for nothing.
    """

    images: Tensor
    labels: Tensor


def read_with_labels(source: str, suffix: str) -> tuple[Tensor, Tensor]:
    """Read a photograph [1, 3, H, W] and the label map [1, 1, H, W] that lies beside it with a suffix of its own.

    Raises:
        InputError: one of them cannot be read, or they differ in size.
    """
    path = Path(source).with_suffix(suffix)
    image, labels = read_photograph(source), read_labels(path)[None]
    if labels.shape[2:] != image.shape[2:]:
        raise InputError(
            str(path),
            "is {labels}",
            "the photograph's size, {image}",
            labels=list(labels.shape[2:]),
            image=list(image.shape[2:]),
        )
    return image, labels


def read_labelled(folder: Path, count: int, side: int, ignore: int | None) -> Labelled:
    """Read the central squares of photographs, with the label maps that lie beside them.

    Args:
        folder: of `NAME.jpg` (or another suffix) with `NAME.labels.png`.
        count: how many, in alphabetical order.
        side: of the squares, in pixels.
        ignore: the label that counts for nothing.

    Raises:
        InputError: a photograph has no label map, or one of another size.
    """
    images, maps = [], []
    for source in photographs([str(folder)])[:count]:
        image, labels = read_with_labels(source, ".labels.png")
        images.append(reduce(central_square(image), side))
        maps.append(F.interpolate(central_square(labels).float(), (side, side), mode="nearest-exact")[0].long())
    labels = torch.cat(maps)  # [N, S, S]
    return Labelled(torch.cat(images), labels if ignore is None else labels.where(labels != ignore, -1))
