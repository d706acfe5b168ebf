"""Read the data sets: folders of images with label maps or depth, laid out as docs/benchmarking.md says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omniup.errors import InputError
from omniup.files import read_image, read_labels, read_signal
from omniup.upsamplers.bands import scale_bands

Split: TypeAlias = Literal["val", "tune"]
"""Images to report on, or those that settings may be tuned on."""

CLASSES = 11
"""Number of classes of street scenes."""

MULTIPLE = 16
"""Side of the network's cells, in pixels: street scenes are cropped to multiples of it."""


@dataclass(frozen=True)
class Folders:
    """The folders that the benchmark reads from.

    Attributes:
        data: the folder of all data sets.
        models: the folder of the weights of networks that make signals.
        weights: the folder of the published weights of methods; it need not exist.
    """

    data: Path
    models: Path
    weights: Path

    @classmethod
    def of(cls, data: str | Path, models: str | Path | None = None, weights: str | Path | None = None) -> Folders:
        """Name the folders; those that are not given are `models` and `weights` beside the data."""
        beside = Path(data).resolve().parent
        return cls(Path(data), Path(models or beside / "models"), Path(weights or beside / "weights"))


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image with its label map.

    Attributes:
        name: folder and file, without the suffix.
        image: [1, 3, H, W] in 0..1.
        labels: [H, W], integers.
    """

    name: str
    image: Tensor
    labels: NDArray[np.int64]


def labelled_images(folders: Folders, folder: str, suffix: str, count: int | None = None) -> Iterator[LabelledImage]:
    """Read `NAME.jpg` with the label map `NAME` + suffix.

    Neighbours by name are often neighbours in a video. So the order is that of a hash of the names: the first few are
    as mixed as all are, and a run of more images contains every run of fewer.

    Args:
        folders: with the data sets.
        folder: of this one, e.g. `camvid/val`.
        suffix: of the label maps, e.g. `.labels.png`.
        count: of images; all if None.

    Raises:
        InputError: there is no such folder, a label map is missing or of another size, or a file cannot be read.
    """
    paths = sorted((folders.data / folder).glob("*.jpg"), key=lambda path: hashlib.sha256(path.name.encode()).digest())
    if not paths:
        raise InputError(
            "data",
            "is {data}, which has no {folder}/NAME.jpg",
            "a folder in which {folder} holds images NAME.jpg with label maps NAME{suffix}",
            data=str(folders.data),
            folder=folder,
            suffix=suffix,
        )
    for path in paths[:count]:
        image, labels = read_image(path), read_labels(path.with_suffix(suffix))
        if image.shape[2:] != labels.shape[1:]:
            raise InputError(
                str(path.with_suffix(suffix)),
                "has the size {size}",
                "that of the image, {expected}",
                size=list(labels.shape[1:]),
                expected=list(image.shape[2:]),
            )
        yield LabelledImage(f"{folder}/{path.stem}", image, labels[0].numpy())


def street_scenes(folders: Folders, split: str, count: int | None = None) -> Iterator[LabelledImage]:
    """Read street scenes: `camvid/SPLIT/NAME.jpg` with `NAME.labels.png`, 0 to 10 for classes, 11 for none.

    Sides are cropped to multiples of 16: of 360 rows four at the top and four at the bottom.

    Args:
        folders: with the data sets.
        split: `train`, `tune` or `val`.
        count: of images; all if None.

    Yields:
        Images; labels that are no class are -1.

    Raises:
        InputError: as `labelled_images`.
    """
    for scene in labelled_images(folders, f"camvid/{split}", ".labels.png", count):
        height, width = (side // MULTIPLE * MULTIPLE for side in scene.labels.shape)
        top, left = ((side - kept) // 2 for side, kept in zip(scene.labels.shape, (height, width), strict=True))
        image = scene.image[..., top : top + height, left : left + width].contiguous()
        labels = scene.labels[top : top + height, left : left + width]
        yield LabelledImage(scene.name, image, np.where(labels < CLASSES, labels, -1))


def depth_pairs(folders: Folders, count: int | None = None) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Read images with depth, `depth/NAME.npz`: the arrays `guide`, 8-bit [3, H, W], and `depth`, [H, W], above 0.

    Args:
        folders: with the data sets.
        count: of pairs; all if None.

    Yields:
        Names, images [1, 3, H, W] in 0..1 and depth maps [1, 1, H, W].

    Raises:
        InputError: there are none, or a file holds something else.
    """
    accepted = "the arrays guide, [3, H, W] in 0..255, and depth, [H, W] above 0"
    for path, guide, depth in _guided_maps(folders, "depth", "depth", accepted, count):
        if guide.shape[1] != 3:
            raise InputError(str(path), "holds a guide of {count} channels", accepted, count=guide.shape[1])
        if not (guide.min() >= 0 and guide.max() <= 255 and depth.min() > 0):
            raise InputError(str(path), "has values outside the ranges", accepted)
        yield f"depth/{path.stem}", guide / 255, depth


def canopy_scenes(folders: Folders, count: int | None = None) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Read satellite images with heights of vegetation, `canopy/NAME.npz`.

    Each has the arrays `guide`, bands [G, H, W] in units of the sensor, and `height`, [H, W], metres.

    Args:
        folders: with the data sets.
        count: of scenes; all if None.

    Yields:
        Names, bands [1, G, H, W] in 0..1 (see `scale_bands`) and heights [1, 1, H, W].

    Raises:
        InputError: there are none, or a file holds something else.
    """
    accepted = "the arrays guide, [G, H, W] in any unit, and height, [H, W], 0 or more"
    for path, guide, height in _guided_maps(folders, "canopy", "height", accepted, count):
        if height.min() < 0:
            raise InputError(str(path), "has values outside the ranges", accepted)
        yield f"canopy/{path.stem}", scale_bands(guide), height


def _guided_maps(
    folders: Folders, folder: str, name: str, accepted: str, count: int | None
) -> Iterator[tuple[Path, Tensor, Tensor]]:
    """Read the arrays `guide` [1, G, H, W] and NAME [1, 1, H, W] of the files `FOLDER/*.npz`."""
    paths = sorted((folders.data / folder).glob("*.npz"))
    if not paths:
        raise InputError(
            "data",
            "is {data}, which has no {folder}/NAME.npz",
            "a folder that has such files, each with {contents}",
            data=str(folders.data),
            folder=folder,
            contents=accepted,
        )
    for path in paths[:count]:
        guide, values = (read_signal(path, name=each).float() for each in ("guide", name))
        if values.shape[1] != 1 or guide.shape[2:] != values.shape[2:]:
            raise InputError(
                str(path),
                "holds guide {guide} and {name} {values}",
                accepted,
                guide=list(guide.shape[1:]),
                name=name,
                values=list(values.shape[1:]),
            )
        yield path, guide, values


def model_file(models: Path, name: str) -> Path:
    """Return the path of a network's weights in the folder of models.

    Raises:
        InputError: there is no such file.
    """
    path = models / name
    if not path.is_file():
        accepted = "the folder of networks' weights, which docs/benchmarking.md describes"
        raise InputError("models", "is {models}, which has no {name}", accepted, models=str(models), name=name)
    return path


def bsds_folder(split: Split) -> str:
    """Return the folder of a split of BSDS500: its `train` is for tuning, as nothing here was trained on it."""
    return "bsds500/val" if split == "val" else "bsds500/train"


def grid_of(image: Tensor, factor: int) -> tuple[int, int]:
    """Return the grid (h, w) whose cells are about `factor` pixels of an image [B, C, H, W] wide and high."""
    height, width = (max(1, round(side / factor)) for side in image.shape[2:])
    return height, width
