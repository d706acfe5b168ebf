"""What the configurations of all trainings share: their fields, and how a YAML file is read and refused.

Reading one loads no network and decodes no image, so that a mistake costs a second. Relative paths are meant relative
to the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from omniup.errors import InputError
from omniup.files import SAMPLES

SAMPLE = "sample:"
"""What a photograph that comes along is called by: `sample:coffee`."""


def beside_the_file(path: Path, info: ValidationInfo) -> Path:
    """Take a relative path from the configuration's folder, or from the current one where there is no file."""
    return Path((info.context or {}).get("folder", "."), path.expanduser()).resolve()


def existing(path: Path) -> Path:
    """Refuse a path where nothing is."""
    if not path.exists():
        raise ValueError(f"there is no {path}")
    return path


def known_or_a_file(name: str, known: tuple[str, ...], info: ValidationInfo) -> str:
    """Accept a name that is known, or a path where something is."""
    if name in known:
        return name
    path = beside_the_file(Path(name), info)
    if not path.exists():
        raise ValueError(f"is {name!r}; accepted: {', '.join(known)}, or a file that is there")
    return str(path)


def _photographs(source: str, info: ValidationInfo) -> str:
    if not source.startswith(SAMPLE):
        return str(existing(beside_the_file(Path(source), info)))
    if source.removeprefix(SAMPLE) not in SAMPLES:
        raise ValueError(f"there is no {source}; accepted: {', '.join(SAMPLE + name for name in SAMPLES)}")
    return source


OutputPath: TypeAlias = Annotated[Path, AfterValidator(beside_the_file)]
InputPath: TypeAlias = Annotated[OutputPath, AfterValidator(existing)]
Photographs: TypeAlias = Annotated[str, AfterValidator(_photographs)]
"""A photograph, a folder of them, or `sample:NAME`."""

Side: TypeAlias = Annotated[int, Field(ge=8, le=4096)]
"""Of a square, in pixels."""

Share: TypeAlias = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]
Steps: TypeAlias = Annotated[int, Field(ge=1, le=100_000_000)]
Workers: TypeAlias = Annotated[int, Field(ge=0, le=256)]


class Section(BaseModel):
    """A part of the configuration, with these fields and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        """Refuse unknown fields in words that say which there are; pydantic's do not."""
        if isinstance(given, Mapping) and (unknown := [str(name) for name in given if name not in cls.model_fields]):
            raise ValueError(f"there is no field {', '.join(unknown)}; accepted: {', '.join(cls.model_fields)}")
        return given


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
        """The learning rate of a step, counted from 0, of so many: as a part of the greatest."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        if self.decay == "none":
            return 1.0
        return (1 + math.cos(math.pi * (step - self.warmup) / max(1, steps - self.warmup))) / 2


class CheckpointSettings(Section):
    """How often the state of the training is written, and how many of these checkpoints are kept."""

    every: Steps = 1000
    keep: Annotated[int, Field(ge=1, le=1000)] = 3


class TrainingSettings(Section):
    """What every training has.

    Attributes:
        steps: of the optimiser.
        batch: images a batch, in each process.
        accumulation: batches a step.
        precision: of convolutions and products: `no` for float32, or mixed with float32.
        seed: of everything that is drawn: initial weights, photographs, what is cut out of them and done to them.
        optimiser: of the weights.
        checkpoints: what an interrupted training goes on from.
        output: the folder for all that is written.
    """

    steps: Steps = 100_000
    batch: Annotated[int, Field(ge=1, le=4096)] = 4
    accumulation: Annotated[int, Field(ge=1, le=4096)] = 1
    precision: Literal["no", "bf16", "fp16"] = "no"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    optimiser: OptimiserSettings = OptimiserSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    output: OutputPath | None = None


Settings = TypeVar("Settings", bound=Section)


def read_settings(kind: type[Settings], path: str | Path, changes: Mapping[str, Any] | None = None) -> Settings:
    """Read a configuration.

    Args:
        kind: which fields there are.
        path: a YAML file.
        changes: values that stand in for the file's, by their paths, e.g. `{"optimiser.learning_rate": 1e-4}`.

    Raises:
        InputError: the file cannot be read or is not YAML, or a field is unknown, missing or impossible; a line for
            each, which names the field and what is accepted.
    """
    path = Path(path)
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); accepted: a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(given, dict):
        raise InputError(f"{path}: holds no fields; accepted: {', '.join(kind.model_fields)}")
    for field, value in (changes or {}).items():
        _change(given, field, value)
    try:
        return kind.model_validate(given, context={"folder": path.parent})
    except ValidationError as error:
        raise InputError(";\n".join(f"{path}: {refusal}" for refusal in _refusals(error, given))) from error


def _change(given: Any, field: str, value: Any) -> None:
    """Put a value where a path such as `backbones.0.patch` leads; sections that are not there yet are made."""
    *parents, last = field.split(".")
    try:
        for name in parents:
            given = given[int(name)] if isinstance(given, list) else given.setdefault(name, {})
        given[int(last) if isinstance(given, list) else last] = value
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{field}: there is no such place in the configuration") from error


#: What to say of a field, where pydantic's own words would not fit in.
_WORDS = {
    "value_error": "{error}",
    "missing": "is missing",
    "extra_forbidden": "there is no such field",
    "model_type": "is {input!r}; accepted: fields",
    "too_short": "has {actual_length} entries; accepted: at least {min_length}",
    "too_long": "has {actual_length} entries; accepted: at most {max_length}",
    "union_tag_not_found": "kind is missing",
    "union_tag_invalid": "kind is {tag!r}; accepted: {expected_tags}",
}


def _refusals(error: ValidationError, given: Any) -> list[str]:
    """Put what pydantic found in a line for each field."""
    lines = []
    for problem in error.errors(include_url=False):
        field = _path(problem["loc"], given)
        wanted = problem["msg"].removeprefix("Input should be ")
        words = _WORDS.get(problem["type"], "is {input!r}; accepted: {wanted}")
        text = words.format(input=problem["input"], wanted=wanted, **problem.get("ctx", {}))
        lines.append(f"{field}: {text}" if field else text)
    return lines


def _path(location: tuple[int | str, ...], given: Any) -> str:
    """Write where a problem is as the file has it: behind a section of one of several kinds, pydantic puts its kind."""
    names = []
    for name in location:
        if isinstance(given, Mapping) and name == given.get("kind"):
            continue
        names.append(str(name))
        try:
            given = given[name]
        except (IndexError, KeyError, TypeError):
            given = None
    return ".".join(names)
