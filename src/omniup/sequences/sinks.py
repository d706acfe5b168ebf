"""Put the results of a video where they go, frame by frame: a film, pictures, or arrays.

Whatever has been added is whole or not there; `keep` puts on the disk what has been added, and a run that is killed
goes on from the last `keep`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from omniup.errors import optional_import
from omniup.files import atomic_write, write_image, write_signal
from omniup.files.atomic import remove_folder
from omniup.files.outputs import LOCK
from omniup.files.refusals import Subject, printable
from omniup.files.zarr_folders import sweep_zarr
from omniup.sequences.films import FilmPart, join_parts
from omniup.sequences.frames import Frame
from omniup.sequences.painting import Drawing
from omniup.sequences.unfinished import Unfinished


class Sink(Protocol):
    """Takes results."""

    def add(self, frame: Frame, result: Tensor) -> None:
        """Take the result [1, C, H, W] of a frame."""

    def keep(self) -> None:
        """Put on the disk what has been added."""

    def finish(self, times: Sequence[int]) -> None:
        """Make the output of all frames that were added, whose times are given; more may be added afterwards."""


class FilmSink:
    """Writes a film.

    Args:
        path: of the film.
        unfinished: holds its parts.
        painter: draws the frames.
        time_base: the unit of presentation times, in seconds.
        rate: frames a second, on average.
        sound: a film whose sound is copied; None for no sound.
    """

    def __init__(
        self,
        path: str | Path,
        unfinished: Unfinished,
        painter: Drawing,
        *,
        time_base: Fraction,
        rate: Fraction,
        sound: Path | None,
    ) -> None:
        self._path, self._unfinished, self._painter = path, unfinished, painter
        self._time_base, self._rate, self._sound = time_base, rate, sound
        self._part: FilmPart | None = None
        self._kept = len(unfinished.times)  # frames in parts that are on the disk

    def add(self, frame: Frame, result: Tensor) -> None:
        """Encode a frame."""
        if self._part is None:
            self._part = FilmPart(self._time_base, self._rate)
        self._part.add(self._painter.draw(frame.image, result), frame.time)

    def keep(self) -> None:
        """Write the part that has been encoded."""
        if self._part is None:
            return
        with atomic_write(self._unfinished.part(self._kept)) as file:
            file.write(self._part.close())
        self._kept, self._part = self._kept + self._part.count, None

    def finish(self, times: Sequence[int]) -> None:
        """Join the parts."""
        if self._part is not None and self._part.count:
            self.keep()
        if self._kept:
            join_parts(self._unfinished.parts(), times[: self._kept], self._time_base, self._path, self._sound)


class FolderSink:
    """Writes a file for each frame: a picture where there is a painter, else an array.

    Args:
        folder: of the files.
        painter: draws the frames.
    """

    PATTERN = "frame-*"

    def __init__(self, folder: str | Path, painter: Drawing | None) -> None:
        self._folder, self._painter = Path(folder), painter

    def add(self, frame: Frame, result: Tensor) -> None:
        """Write the file of a frame."""
        name = f"frame-{frame.number:06}"
        if self._painter is None:
            write_signal(self._folder / f"{name}.npy", result)
        else:
            write_image(self._folder / f"{name}.png", Image.fromarray(self._painter.draw(frame.image, result)))

    def keep(self) -> None:
        """Do nothing: each file is on the disk."""

    def finish(self, times: Sequence[int]) -> None:
        """Remove files of a longer run before, or of another form."""
        suffix = ".npy" if self._painter is None else ".png"
        whole = {f"frame-{number:06}{suffix}" for number in range(len(times))}
        for path in self._folder.glob(self.PATTERN):
            if path.name not in whole:
                path.unlink()


class ZarrSink:
    """Writes an array [T, C, H, W] of zarr, one chunk a frame.

    Args:
        path: of the array.
        count: frames that are there already.
    """

    def __init__(self, path: str | Path, count: int) -> None:
        self._path, self._count = Path(path), count
        self._zarr = optional_import("zarr", extra="geo")
        self._array: Any = None

    def add(self, frame: Frame, result: Tensor) -> None:
        """Write the chunk of a frame."""
        numbers = (result.float() if result.dtype == torch.bfloat16 else result).detach().cpu().numpy()
        with Subject(printable(self._path), "a folder that can be written to").attempt("written"):
            if self._array is None:
                self._array = self._opened(numbers)
            self._array.resize((frame.number + 1, *numbers.shape[1:]))
            self._array[frame.number] = numbers[0]

    def keep(self) -> None:
        """Do nothing: each chunk is on the disk."""

    def finish(self, times: Sequence[int]) -> None:
        """Do nothing: each chunk is whole."""

    def _opened(self, numbers: Any) -> Any:
        if self._count:
            sweep_zarr(self._path)
            return self._zarr.open_array(str(self._path), mode="r+")
        for path in self._path.iterdir():
            if path.name != LOCK:
                remove_folder(path) if path.is_dir() else path.unlink()
        shape = numbers.shape
        return self._zarr.open_array(
            str(self._path), mode="a", shape=(0, *shape[1:]), chunks=shape, dtype=numbers.dtype.str
        )
