"""The folders of images that the tasks read, laid out as `../shared/data` is, and what all tasks make of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omniup.errors import InputError
from omniup.files import read_image, read_labels
from omniup_bench.task import Split


@dataclass(frozen=True, eq=False)
class Picture:
    """A photograph of a data set, with the file that lies beside it.

    Attributes:
        name: folder and file, without the suffix.
        image: [1, 3, H, W] in 0..1.
        labels: [H, W], whole numbers.
    """

    name: str
    image: Tensor
    labels: NDArray[np.int64]


def labelled_pictures(data: Path, folder: str, suffix: str, count: int | None = None) -> Iterator[Picture]:
    """Read `NAME.jpg` and the label map beside it, `NAME` + suffix.

    Neighbours by name are often neighbours in a film. So the order is drawn, once and for all: the first few are as
    mixed as all are, and a run of more images contains every run of fewer.

    Args:
        data: the folder of all data sets.
        folder: of this one, e.g. `camvid/val`.
        suffix: of the label maps, e.g. `.labels.png`.
        count: of pictures; all if None.

    Raises:
        InputError: there is no such folder, a label map is missing or of another size, or a file cannot be read.
    """
    paths = sorted((data / folder).glob("*.jpg"), key=lambda path: hashlib.sha256(path.name.encode()).digest())
    if not paths:
        raise InputError(
            f"data: {data} has no {folder}/NAME.jpg; accepted is a folder in which {folder} holds photographs NAME.jpg "
            f"with label maps NAME{suffix}"
        )
    for path in paths[:count]:
        image, labels = read_image(path), read_labels(path.with_suffix(suffix))
        if image.shape[2:] != labels.shape[1:]:
            sizes = f"{list(labels.shape[1:])}, not {list(image.shape[2:])} as the photograph"
            raise InputError(f"data: {path.with_suffix(suffix)} is {sizes}; accepted are equal sizes")
        yield Picture(f"{folder}/{path.stem}", image, labels[0].numpy())


def grid_of(image: Tensor, factor: int) -> tuple[int, int]:
    """The grid (h, w) of a signal whose cells are about `factor` pixels of an image [B, C, H, W] wide and high."""
    height, width = (max(1, round(side / factor)) for side in image.shape[2:])
    return height, width


def held_back(folder: str, split: Split) -> str:
    """The folder of a data set that has none for tuning: its `train` is that, as nothing here was trained on it."""
    return f"{folder}/{'val' if split == 'val' else 'train'}"
