"""Survey a whole picture once before its blocks: the units of its numbers, and averages over the cells of grids."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.files import read_tensors, write_tensors
from omniup.files.atomic import atomic_write
from omniup.files.refusals import Subject, printable
from omniup.jobs.pictures import Picture
from omniup.jobs.units import Units, find_units
from omniup.mixing import add_to_cell_means
from omniup.upsamplers.checks import Size


class Survey:
    """Survey of the whole picture of a job, found once and kept in the folder of the job.

    Args:
        picture: open.
        folder: of the job.
        check: called after each window of a pass over the picture; what it raises ends the work.

    Attributes:
        units: of the picture's numbers.

    Raises:
        InputError: the picture cannot be read.
    """

    def __init__(self, picture: Picture, folder: Path, check: Callable[[], None]) -> None:
        self._picture, self._folder, self._check = picture, folder, check
        place = folder / "units.json"
        if place.exists():
            with Subject(printable(place), "the file that the job wrote").attempt("read"):
                found = json.loads(place.read_text("utf-8"))
                limits = tuple((black, white) for black, white in found["limits"])
                self.units = Units(found["divisor"], limits, found["equal_channels"])
            return
        self.units = find_units(picture, check)
        with atomic_write(place) as file:
            file.write(json.dumps(dataclasses.asdict(self.units)).encode())

    @property
    def channels(self) -> int:
        """Number of channels of the guidance."""
        return self._picture.channels * self.units.equal_channels

    def guidance(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
        """Read a window: guidance [1, G, rows, columns], and which pixels have a value, boolean [rows, columns].

        Raises:
            InputError: it cannot be read.
        """
        numbers, valid = self._picture.read(rows, columns)
        return self.units.guidance(numbers, valid), torch.from_numpy(valid)

    def average(self, grids: tuple[Size, ...]) -> Mapping[Size, Tensor]:
        """Average the guidance over the cells of grids: [1, G, *grid] each, in 0..1.

        Raises:
            InputError: the picture cannot be read.
        """
        if not grids:
            return {}
        place = self._folder / "averages.safetensors"
        names = {grid: f"{grid[0]}x{grid[1]}" for grid in grids}
        if place.exists():
            tensors, _ = read_tensors(place)
            if set(tensors) != set(names.values()):
                raise InputError(printable(place), "holds the averages of other grids", "--overwrite, to begin anew")
            return {grid: tensors[name] for grid, name in names.items()}
        means = {grid: torch.zeros(1, self.channels, *grid) for grid in grids}
        for rows, columns in self._picture.windows():
            guidance, _ = self.guidance(rows, columns)
            for each in means.values():
                add_to_cell_means(each, guidance, rows.start, columns.start, self._picture.size)
            self._check()
        for each in means.values():
            each.clamp_(0, 1)  # against rounding
        write_tensors(place, {names[grid]: each for grid, each in means.items()}, {})
        return means
