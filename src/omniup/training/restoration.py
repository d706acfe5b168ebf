"""Read sharp squares with prompts, in an endless, repeatable sequence, for the trainings of restoration.

As in AnyUp's training, what is at a position depends on the seed and the position alone. A photograph that cannot be
read is replaced by another, drawn likewise, with a warning.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, ValidationInfo, model_validator
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from omniup.errors import InputError, optional_import
from omniup.files import read_photograph
from omniup.files.refusals import Subject, printable
from omniup.files.settings import Section, SettingsError, beside_the_file, existing
from omniup.restoration.degradation import Degradation
from omniup.training.photographs import photographs
from omniup.training.randomness import draw
from omniup.training.settings import Count, InputPath, Photographs, Side, Steps, Workers

logger = logging.getLogger(__name__)

ATTEMPTS = 16
"""Photographs that are tried for a place before it is given up."""

LISTS = (".csv", ".jsonl", ".parquet")

Probability: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Fraction: TypeAlias = Annotated[float, Field(gt=0, le=1)]


def _read_degradation(degradation: Any, info: ValidationInfo) -> Any:
    """Read the settings of a degradation where a configuration names a file instead."""
    if not isinstance(degradation, str):
        return degradation
    path = existing(beside_the_file(Path(degradation), info))
    try:
        return Degradation.read(path)
    except SettingsError:
        raise
    except InputError as error:  # it names the file, not a field
        raise SettingsError([error]) from error


NamedDegradation: TypeAlias = Annotated[Degradation, BeforeValidator(_read_degradation)]
"""Settings of a degradation, or a file that has them."""


class SourceSettings(Section):
    """Sharp photographs.

    Attributes:
        images: photographs, folders of them, or `sample:NAME`; nothing is said about them.
        list: a table of more: .csv or .parquet, or .jsonl with an object a line. Paths in it are relative to it.
        path_column: its column of paths.
        prompt_column: its column of prompts, which may be missing, or empty in places.
    """

    images: tuple[Photographs, ...] = ()
    list: InputPath | None = None
    path_column: str = "path"
    prompt_column: str = "prompt"

    @model_validator(mode="after")
    def _some(self) -> SourceSettings:
        if not self.images and self.list is None:
            raise InputError("", "has neither images nor a list", "at least one of the two")
        return self


class DataSettings(SourceSettings):
    """Sharp photographs, and the squares cut out of them.

    Attributes:
        image_size: of the square that is trained on.
        keep: how much of a photograph's shorter side the square has, before it is resized: from, to.
        flip: how likely it is mirrored.
        rotate: how likely it is turned, by one, two or three quarters.
        empty_prompt: how likely a prompt is left out.
        workers: processes that decode photographs; 0 does it in between.
    """

    image_size: Side = 512
    keep: tuple[Fraction, Fraction] = (0.7, 1.0)
    flip: Probability = 0.5
    rotate: Probability = 0.0
    empty_prompt: Probability = 0.0
    workers: Workers = 0

    @model_validator(mode="after")
    def _ascending(self) -> DataSettings:
        if self.keep[0] > self.keep[1]:
            raise InputError(
                "keep", "is {low:g} to {high:g}", "an ascending range", low=self.keep[0], high=self.keep[1]
            )
        return self


class ValidationSettings(SourceSettings):
    """Validation during a training, on photographs not trained on.

    Attributes:
        every: how many steps lie between two measurements.
        count: how many photographs are used, in order.
        panels: how many of these are drawn.
    """

    every: Steps = 100
    count: Count = 8
    panels: Annotated[int, Field(ge=0, le=64)] = 4


class Photograph(NamedTuple):
    """Path of a photograph, and its prompt."""

    source: str
    prompt: str = ""


def find_photographs(settings: SourceSettings) -> list[Photograph]:
    """List the photographs of a configuration: first the images, then the rows of the list.

    Raises:
        InputError: a folder holds no photographs, or the list cannot be read or has no such column.
        MissingPackageError: pyarrow is needed and not installed.
    """
    found = [Photograph(source) for source in photographs(settings.images)]
    if settings.list is not None:
        found += _read_list(settings.list, settings.path_column, settings.prompt_column)
    return found


def _read_list(path: Path, path_column: str, prompt_column: str) -> list[Photograph]:
    subject = Subject(
        printable(path), "a table as {suffixes} with a column {column}", suffixes=", ".join(LISTS), column=path_column
    )
    if path.suffix not in LISTS:
        raise subject.refusal("has another suffix")
    parquet = optional_import("pyarrow.parquet", extra="train") if path.suffix == ".parquet" else None
    rows: Iterable[dict[str, Any]]
    with subject.attempt("read"):
        if parquet is not None:
            names = [name for name in (path_column, prompt_column) if name in parquet.read_schema(path).names]
            rows = parquet.read_table(path, columns=names).to_pylist()
        elif path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
            rows = [dict(json.loads(line)) for line in lines if line.strip()]
    found = []
    for number, row in enumerate(rows, 1):
        place, prompt = row.get(path_column), row.get(prompt_column)
        if not isinstance(place, str) or not place:
            raise subject.refusal("has no {column} in row {number}", number=number)
        found.append(Photograph(str(path.parent / place), str(prompt) if prompt else ""))
    if not found:
        raise subject.refusal("has no rows")
    return found


class Squares(Dataset[tuple[Tensor, str]]):
    """Random squares of photographs, [3, side, side] in 0..1, with their prompts, at any position from 0 on.

    Each run through all photographs has an order of its own.

    Args:
        photographs: which.
        settings: what is cut out of them.
        seed: of what is drawn.
    """

    def __init__(self, photographs: Sequence[Photograph], settings: DataSettings, seed: int) -> None:
        self.photographs, self.settings, self.seed = photographs, settings, seed
        self._order = lru_cache(maxsize=2)(self._draw_order)
        self._broken: set[str] = set()

    def __getitem__(self, position: int) -> tuple[Tensor, str]:
        """Read the photograph at a position, or another in its place, and cut a square out.

        Raises:
            InputError: none of many could be read.
        """
        turn, place = divmod(position, len(self.photographs))
        chosen = self.photographs[self._order(turn)[place]]
        others = draw(self.seed, "replacement", position)
        for _ in range(ATTEMPTS):
            try:
                image = read_photograph(chosen.source)  # [1, 3, H, W]
            except InputError as error:
                if chosen.source not in self._broken:  # each of them once
                    self._broken.add(chosen.source)
                    logger.warning("%s; another takes its place", error)
                chosen = self.photographs[int(others.integers(len(self.photographs)))]
            else:
                random = draw(self.seed, "square", position)
                left_out = random.random() < self.settings.empty_prompt
                return cut(image, self.settings, random), "" if left_out else chosen.prompt
        raise InputError(
            f"{chosen.source} and others", "cannot be read, {attempts} photographs in a row", attempts=ATTEMPTS
        )

    def _draw_order(self, turn: int) -> NDArray[np.int64]:
        return draw(self.seed, "order", turn).permutation(len(self.photographs))


def cut(image: Tensor, settings: DataSettings, random: np.random.Generator) -> Tensor:
    """Cut a random square out of a photograph [1, 3, H, W] in 0..1, mirror and turn it: [3, side, side]."""
    height, width = image.shape[2:]
    side = max(1, round(min(height, width) * random.uniform(*settings.keep)))
    top, left = (int(random.integers(length - side, endpoint=True)) for length in (height, width))
    square = image[:, :, top : top + side, left : left + side]
    if side != settings.image_size:
        size = (settings.image_size, settings.image_size)
        square = F.interpolate(square, size, mode="bicubic", antialias=True).clamp(0, 1)
    if random.random() < settings.flip:
        square = square.flip(3)
    if random.random() < settings.rotate:
        square = square.rot90(int(random.integers(1, 4)), (2, 3))
    return square[0].contiguous()


def gather(squares: Sequence[tuple[Tensor, str]]) -> tuple[Tensor, list[str]]:
    """Make a batch: [B, 3, side, side] and B prompts."""
    images, prompts = zip(*squares, strict=True)
    return torch.stack(images), list(prompts)
