"""Define the fields that the configurations of all trainings share.

Reading one loads no network and decodes no image, so that a mistake costs a second. Relative paths are meant relative
to the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, Field, ValidationInfo

from omniup.errors import InputError
from omniup.files import SAMPLE, SAMPLES
from omniup.files.settings import Section, beside_the_file, existing


def known_or_a_file(name: str, known: tuple[str, ...], info: ValidationInfo) -> str:
    """Accept a name that is known, or a path that exists."""
    if name in known:
        return name
    path = beside_the_file(Path(name), info)
    if not path.exists():
        raise InputError("", "is {value!r}", "{names}, or a file that is there", value=name, names=", ".join(known))
    return str(path)


_Loaded = TypeVar("_Loaded")


def load_timm_weights(load: Callable[[bool | str], _Loaded], weights: str, field: str) -> _Loaded:
    """Load a network of timm, and refuse in the words of the configuration what cannot be loaded.

    Args:
        load: takes timm's `pretrained`.
        weights: `random`, `published` or a file.
        field: the field that says so.

    Raises:
        InputError: as `load`.
    """
    try:
        return load({"random": False, "published": True}.get(weights, weights))
    except InputError as error:
        if error.argument != "pretrained":
            raise
        if weights != "published":
            raise InputError(field, error.problem, error.accepted, **error.values) from error
        problem = "is published, and the weights of {name} cannot be had ({reason})"
        raise InputError(field, problem, "a file, or random", **error.values) from error


def _photographs(source: str, info: ValidationInfo) -> str:
    if not source.startswith(SAMPLE):
        return str(existing(beside_the_file(Path(source), info)))
    if source.removeprefix(SAMPLE) not in SAMPLES:
        raise InputError(
            "", "is {value!r}", "{names}", value=source, names=", ".join(SAMPLE + name for name in SAMPLES)
        )
    return source


OutputPath: TypeAlias = Annotated[Path, AfterValidator(beside_the_file)]
InputPath: TypeAlias = Annotated[OutputPath, AfterValidator(existing)]
Photographs: TypeAlias = Annotated[str, AfterValidator(_photographs)]
"""A photograph, a folder of them, or `sample:NAME`."""

Side: TypeAlias = Annotated[int, Field(ge=8, le=4096)]
"""Side of a square, in pixels."""

LossWeight: TypeAlias = Annotated[float, Field(ge=0, le=100)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]
Steps: TypeAlias = Annotated[int, Field(ge=1, le=100_000_000)]
Workers: TypeAlias = Annotated[int, Field(ge=0, le=256)]


class OptimiserSettings(Section):
    """AdamW.

    Attributes:
        learning_rate: at its greatest.
        warmup: how many steps it takes to grow to that.
        decay: what it does from then on: stay (`none`), or fall to nothing along half a `cosine`.
        betas: of the running means of the gradients and of their squares.
        weight_decay: what weights lose in a step, in units of the learning rate.
    """

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    warmup: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    decay: Literal["none", "cosine"] = "none"
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-5

    def schedule(self, step: int, steps: int) -> float:
        """Compute the learning rate of a step, counted from 0, of so many: as a fraction of the greatest."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        if self.decay == "none":
            return 1.0
        return (1 + math.cos(math.pi * (step - self.warmup) / max(1, steps - self.warmup))) / 2


class CheckpointSettings(Section):
    """Steps between checkpoints, and how many of these are kept."""

    every: Steps = 1000
    keep: Annotated[int, Field(ge=1, le=1000)] = 3


Precision: TypeAlias = Literal["auto", "no", "bf16", "fp16"]


class TrainingSettings(Section):
    """Settings of every training.

    Attributes:
        steps: of the optimiser.
        batch: images a batch, in each process.
        accumulation: batches a step.
        precision: of convolutions and products: `no` for float32, mixed with float32, or `auto`: bf16 where the device
            has instructions for it.
        seed: of everything that is drawn: initial weights, photographs, what is cut out of them and done to them.
        optimiser: of the weights.
        checkpoints: what an interrupted training goes on from.
        output: the folder for all that is written.
    """

    steps: Steps = 100_000
    batch: Annotated[int, Field(ge=1, le=4096)] = 4
    accumulation: Annotated[int, Field(ge=1, le=4096)] = 1
    precision: Precision = "no"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    optimiser: OptimiserSettings = OptimiserSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    output: OutputPath | None = None
