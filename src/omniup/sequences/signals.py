"""Give each frame its low-resolution signal: from an array, from a file a frame, or from an encoder run on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from omniup.encoders import Encoder
from omniup.encoders.dense import encode_image
from omniup.errors import InputError, optional_import
from omniup.files.refusals import Subject, printable
from omniup.files.zarr_folders import is_zarr
from omniup.sequences.frames import identity_of, in_order
from omniup.upsamplers.checks import Size, as_signal, as_tensor, check_finite
from omniup.upsamplers.holes import cells_without, fill_nearest
from omniup.upsamplers.layouts import arrange
from omniup.upsamplers.regions import Region
from omniup.upsamplers.signal_files import read_signal_file

SUFFIXES = (".npy", ".zarr")
"""Suffixes of files that hold the signals of all frames."""

_FRAME_SUFFIXES = (".npy", ".npz", ".safetensors", ".png", ".tif", ".tiff", ".exr")

_ACCEPTED = "an array [T, C, h, w] as .npy or .zarr, or a folder with one file a frame"


@dataclass(frozen=True, eq=False)
class Cells:
    """The low-resolution signal of one frame.

    Attributes:
        values: [1, C, h, w].
        signal_type: as for `omniup.upsample`.
        valid: which cells count; None where all do.
        region: the part of the frame that they cover; None for all of it.
        palette: the colours of labels, red, green and blue for each in turn; None if there are none.
    """

    values: Tensor
    signal_type: str = "auto"
    valid: Tensor | None = None
    region: Region | None = None
    palette: list[int] | None = None


class Signals(Protocol):
    """Signals of the frames of a video, by their numbers.

    Attributes:
        count: how many there are; None where any frame has one.
    """

    count: int | None

    def of(self, image: Tensor, number: int) -> Cells:
        """Return the signal of a frame.

        Args:
            image: [1, 3, H, W].
            number: of the frame.

        Raises:
            InputError: there is none, or it cannot be accepted.
        """

    def fingerprint(self) -> list[Any]:
        """Return what identifies the signals, as plain data."""


class ArraySignals:
    """Signals that lie in an array: mapped from a file, of zarr, or in memory.

    Args:
        array: [T, C, h, w] or [T, h, w]; with `grid` [T, N, C], tokens; other layouts as in `layouts.py`.
        name: what refusals call it.
        signal_type: as for `omniup.upsample`.
        grid: likewise.
        layout: likewise.
        invalid: numbers that stand for holes.
        identity: what identifies the content.

    Raises:
        InputError: it is no such array.
    """

    def __init__(
        self,
        array: Any,
        *,
        name: str = "signals",
        signal_type: str = "auto",
        grid: Size | None = None,
        layout: str = "auto",
        invalid: Sequence[float] = (),
        identity: Sequence[Any] = (),
    ) -> None:
        self._array, self._name, self._signal_type = array, name, signal_type
        self._grid, self._layout, self._invalid, self._identity = grid, layout, invalid, list(identity)
        shape = tuple(array.shape)
        if len(shape) not in (3, 4) or 0 in shape:
            raise InputError(name, "has the shape {shape}", _ACCEPTED, shape=list(shape))
        self.count: int | None = shape[0]

    def of(self, image: Tensor, number: int) -> Cells:
        """Return the signal of a frame; see `Signals`."""
        count = self._array.shape[0]
        if number >= count:
            raise _lacking(self._name, count)
        is_stack = len(self._array.shape) == 4 or self._grid is not None
        part = self._array[number : number + 1] if is_stack else self._array[number]
        with Subject(self._name, _ACCEPTED).attempt("read"):
            numbers = part if isinstance(part, Tensor) else np.array(part)  # mapped files are read here
        pixels = image.shape[2], image.shape[3]
        values = arrange(as_tensor(numbers, self._name), pixels, images=1, grid=self._grid, layout=self._layout)
        valid = cells_without(values, self._invalid)
        values = check_finite(values if valid is None else fill_nearest(values, valid))
        return Cells(as_signal(values), self._signal_type, valid)

    def fingerprint(self) -> list[Any]:
        """Return what identifies the signals."""
        return self._identity


class FileSignals:
    """Signals that lie in a file for each frame, in the order of the numbers in their names.

    Args:
        folder: of the files.
        **options: as for `read_signal_file`.

    Raises:
        InputError: the folder holds no such files.
    """

    def __init__(self, folder: str | Path, **options: Any) -> None:
        self._folder, self._options = Path(folder), options
        found = [path for path in self._folder.iterdir() if path.suffix.lower() in _FRAME_SUFFIXES]
        self._files = sorted((path for path in found if not path.name.startswith(".")), key=in_order)
        if not self._files:
            raise InputError(printable(folder), "holds no signals", _ACCEPTED)
        self.count: int | None = len(self._files)

    def of(self, image: Tensor, number: int) -> Cells:
        """Return the signal of a frame; see `Signals`."""
        if number >= len(self._files):
            raise _lacking(printable(self._folder), len(self._files))
        found = read_signal_file(self._files[number], (image.shape[2], image.shape[3]), **self._options).gathered()
        if len(found.values) != 1:
            raise InputError(printable(self._files[number]), "holds signals of several frames", "one file a frame")
        return Cells(found.values, found.signal_type, found.valid, palette=found.palette)

    def fingerprint(self) -> list[Any]:
        """Return what identifies the signals: their folder and how many there are."""
        return [str(self._folder.resolve()), len(self._files)]


class EncodedSignals:
    """Signals that an encoder makes of each frame.

    Args:
        encoder: makes them.
        signal_type: as for `omniup.upsample`.
        identity: what identifies the encoder.
        **how: `resolution`, `sides` and `precision` of `encode_image`.
    """

    def __init__(
        self, encoder: Encoder, *, signal_type: str = "auto", identity: Sequence[Any] = (), **how: Any
    ) -> None:
        self._encoder, self._signal_type, self._identity, self._how = encoder, signal_type, list(identity), how
        self.count: int | None = None

    def of(self, image: Tensor, number: int) -> Cells:
        """Return the signal of a frame; see `Signals`."""
        whole = image.shape[2], image.shape[3]
        encoded = encode_image(image, self._encoder, size=whole, **self._how)
        region = None if encoded.region == (0, 0, *whole) else encoded.region
        return Cells(encoded.encoding.features, self._signal_type, region=region)

    def fingerprint(self) -> list[Any]:
        """Return what identifies the signals."""
        return self._identity


def open_signals(
    path: str | Path, *, are_labels: bool | None = None, name: str | None = None, **options: Any
) -> Signals:
    """Open stored signals.

    Args:
        path: an array [T, C, h, w] as .npy, which is mapped, or .zarr; or a folder with one file a frame.
        are_labels: as for `read_signal_file`.
        name: likewise, of files a frame.
        **options: `signal_type`, `grid`, `layout` and `invalid`, likewise.

    Raises:
        InputError: there are none.
    """
    place, subject = Path(path), Subject(printable(path), _ACCEPTED)
    if place.is_dir() and not is_zarr(place):
        return FileSignals(place, are_labels=are_labels, name=name, **options)
    open_array = {".npy": _mapped, ".zarr": _zarr_array}.get(".zarr" if place.is_dir() else place.suffix.lower())
    if open_array is None:
        raise subject.refusal("is no such file")
    with subject.attempt("read"):
        array = open_array(place)
        identity = identity_of(place)
    if are_labels:
        options["signal_type"] = "labels"
    elif are_labels is False and options.get("signal_type", "auto") == "auto" and array.dtype.kind in "biu":
        options["signal_type"] = "measurement"
    return ArraySignals(array, name=printable(path), identity=identity, **options)


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _zarr_array(path: Path) -> Any:
    return optional_import("zarr", extra="geo").open_array(str(path), mode="r")


def _lacking(name: str, count: int) -> InputError:
    return InputError(name, "has signals of {count} frames, and the video has more", "one for each frame", count=count)
