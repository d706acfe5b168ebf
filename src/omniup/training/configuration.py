"""The configuration of a training run: what its YAML file may say, and the refusal of everything else.

Reading it loads no network and decodes no image, so that a mistake costs a second. Relative paths are meant relative to
the file. The defaults are the recipe of the paper (arXiv 2510.12764).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from omniup.errors import InputError
from omniup.files import SAMPLES

SAMPLE = "sample:"
"""What a photograph that comes along is called by: `sample:coffee`."""


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    """Take a relative path from the configuration's folder, or from the current one where there is no file."""
    return Path((info.context or {}).get("folder", "."), path.expanduser()).resolve()


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ValueError(f"there is no {path}")
    return path


def _known_or_a_file(name: str, known: tuple[str, ...], info: ValidationInfo) -> str:
    if name in known:
        return name
    path = _beside_the_file(Path(name), info)
    if not path.exists():
        raise ValueError(f"is {name!r}; accepted: {', '.join(known)}, or a file that is there")
    return str(path)


def _photographs(source: str, info: ValidationInfo) -> str:
    if not source.startswith(SAMPLE):
        return str(_existing(_beside_the_file(Path(source), info)))
    if source.removeprefix(SAMPLE) not in SAMPLES:
        raise ValueError(f"there is no {source}; accepted: {', '.join(SAMPLE + name for name in SAMPLES)}")
    return source


OutputPath: TypeAlias = Annotated[Path, AfterValidator(_beside_the_file)]
InputPath: TypeAlias = Annotated[OutputPath, AfterValidator(_existing)]
Photographs: TypeAlias = Annotated[str, AfterValidator(_photographs)]
"""A photograph, a folder of them, or `sample:NAME`."""

Side: TypeAlias = Annotated[int, Field(ge=8, le=4096)]
"""Of a square, in pixels."""

Patch: TypeAlias = Annotated[int, Field(ge=1, le=128)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]
Steps: TypeAlias = Annotated[int, Field(ge=1, le=100_000_000)]

Augmentation: TypeAlias = Literal[
    "colour_jitter",
    "photometric_distortion",
    "grayscale",
    "blur",
    "jpeg",
    "autocontrast",
    "equalise",
    "sharpen",
    "posterise",
    "solarise",
    "noise",
]
AUGMENTATIONS: tuple[Augmentation, ...] = Augmentation.__args__  # type: ignore[attr-defined]  # of the Literal


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


class _Backbone(Section):
    """What all backbones have.

    Attributes:
        patch: the side of what one cell of the features stands for, in pixels.
        held_out: whether it is only measured on and not trained on, to see what the network generalises to.
    """

    patch: Patch
    held_out: bool = False


class TimmSettings(_Backbone):
    """A backbone of timm.

    Attributes:
        model: its name, as timm has it.
        weights: `random`, which are always the same, `published`, which timm downloads once, or a file.
        layer: which block or stage; the last by default.
    """

    kind: Literal["timm"]
    model: str
    weights: str = "random"
    layer: int | None = None

    @field_validator("weights")
    @classmethod
    def _known_or_a_file(cls, weights: str, info: ValidationInfo) -> str:
        return _known_or_a_file(weights, ("random", "published"), info)

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.model}{'' if self.layer is None else f'-layer{self.layer}'}-patch{self.patch}"


class LocalSettings(_Backbone):
    """A network that a Python file of the user's makes. The file is run, with all that this means.

    Attributes:
        function: `path.py:function`, which returns what turns an image [B, 3, H, W] in 0..1 into features.
        weights: a file, which the function is called with; without it, it is called with nothing.
        output: which one, where there are several features.
    """

    kind: Literal["local"]
    function: str
    weights: InputPath | None = None
    output: Annotated[int, Field(ge=0)] | None = None

    @field_validator("function")
    @classmethod
    def _in_a_file(cls, function: str, info: ValidationInfo) -> str:
        path, colon, name = function.rpartition(":")
        if not (colon and path.endswith(".py") and name.isidentifier()):
            raise ValueError(f"is {function!r}; accepted: path.py:function")
        return f"{_existing(_beside_the_file(Path(path), info))}:{name}"

    @property
    def name(self) -> str:
        """What reports call it."""
        stem = Path(self.function.rpartition(":")[0]).stem
        return f"{stem}{'' if self.output is None else f'-output{self.output}'}-patch{self.patch}"


class DescriptorSettings(_Backbone):
    """A hand-made descriptor: histograms of oriented gradients, a bank of Gabor filters, projected mean colours."""

    kind: Literal["hog", "gabor", "colours"]

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.kind}-patch{self.patch}"


BackboneSettings: TypeAlias = Annotated[TimmSettings | LocalSettings | DescriptorSettings, Field(discriminator="kind")]


class DataSettings(Section):
    """Photographs, and what is cut out of them.

    Attributes:
        images: photographs, folders of them, or `sample:NAME`.
        image_size: of the square that is taken from a photograph.
        input_size: of the guidance, to which the square is reduced, and which the low-resolution features are of.
        crop_size: of the local crops of the square, whose features are the targets.
        crops: how many of them there are to an image.
        workers: processes that decode photographs; 0 does it in between.
    """

    images: Annotated[tuple[Photographs, ...], Field(min_length=1)]
    image_size: Side = 448
    input_size: Side = 224
    crop_size: Side = 224
    crops: Annotated[int, Field(ge=1, le=64)] = 4
    workers: Annotated[int, Field(ge=0, le=256)] = 0

    @model_validator(mode="after")
    def _within(self) -> DataSettings:
        for name in ("input_size", "crop_size"):
            if getattr(self, name) > self.image_size:
                raise ValueError(f"{name} is {getattr(self, name)}; accepted: up to image_size, {self.image_size}")
        return self


class ModelSettings(Section):
    """The network.

    Attributes:
        layout: of the feature-agnostic layer; `published` for the published weights.
        weights: what to start from: `paper` or `multi_backbone`, which are downloaded once, or a file; none by default.
    """

    layout: Literal["paper", "published"] = "paper"
    weights: str | None = None

    @field_validator("weights")
    @classmethod
    def _known_or_a_file(cls, weights: str | None, info: ValidationInfo) -> str | None:
        return weights and _known_or_a_file(weights, ("paper", "multi_backbone"), info)


class OptimiserSettings(Section):
    """AdamW.

    Attributes:
        learning_rate: its greatest value.
        warmup: how many steps it takes to grow to that.
        decay: what it does from then on: `none`, as in the paper, or fall to nothing along half a `cosine`.
        betas: of the running means of gradients and of their squares.
        weight_decay: for each step, in units of the learning rate.
    """

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    warmup: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    decay: Literal["none", "cosine"] = "none"
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-5

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of so many."""
        warm = min(1.0, (step + 1) / (self.warmup + 1))
        if self.decay == "none":
            return self.learning_rate * warm
        done = max(0, step - self.warmup) / max(1, steps - self.warmup)
        return self.learning_rate * warm * (1 + math.cos(math.pi * done)) / 2


class LossSettings(Section):
    """What is added to the distance from the targets, and how much of it; 0 leaves it out.

    Attributes:
        self_consistency: weight of the distance between what a changed and the clean guidance give.
        self_consistency_size: of the square map on which these are compared; by default the guidance's.
        input_consistency: weight of the distance between the reduced result and the low-resolution features.
    """

    self_consistency: Share = 0.1
    self_consistency_size: Side | None = None
    input_consistency: Share = 0.1


class ProbeSettings(Section):
    """Segmentation by a linear probe. Beside every photograph lies its label map: `NAME.labels.png` for `NAME.jpg`.

    Attributes:
        train: the folder that the probe is fitted to.
        test: the folder that it is measured on.
        images: how many of either folder are used, in alphabetical order.
        ignore: the label that counts for nothing.
    """

    train: InputPath
    test: InputPath
    images: Count = 32
    ignore: Annotated[int, Field(ge=0, le=255)] | None = None


class ValidationSettings(Section):
    """How the network is measured while it learns.

    Attributes:
        every: how many steps lie between two measurements.
        images: photographs that are not trained on.
        count: how many of these are used, in alphabetical order.
        probe: segmentation by a linear probe.
    """

    every: Steps = 1000
    images: Annotated[tuple[Photographs, ...], Field(min_length=1)]
    count: Count = 8
    probe: ProbeSettings | None = None


class CheckpointSettings(Section):
    """How often the state of the training is written, and how many of these checkpoints are kept."""

    every: Steps = 1000
    keep: Annotated[int, Field(ge=1, le=1000)] = 3


class Configuration(Section):
    """All of it.

    Attributes:
        data: photographs.
        backbones: frozen networks and descriptors; for every batch, one that is not held out is drawn.
        model: the network.
        optimiser: of the network's weights.
        losses: beside the distance from the targets.
        augmentations: changes to the guidance for self-consistency.
        steps: of the optimiser.
        batch: images a batch, in each process.
        accumulation: batches a step.
        precision: of the network's convolutions and products: `no` for float32, or mixed with float32.
        seed: of everything that is drawn: initial weights, photographs, crops, backbones, augmentations.
        validation: measurements while the network learns; none by default.
        checkpoints: what an interrupted training goes on from.
        output: the folder for all that is written.
    """

    data: DataSettings
    backbones: Annotated[tuple[BackboneSettings, ...], Field(min_length=1)]
    model: ModelSettings = ModelSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    losses: LossSettings = LossSettings()
    augmentations: tuple[Augmentation, ...] = AUGMENTATIONS
    steps: Steps = 100_000
    batch: Annotated[int, Field(ge=1, le=4096)] = 4
    accumulation: Annotated[int, Field(ge=1, le=4096)] = 1
    precision: Literal["no", "bf16", "fp16"] = "no"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    validation: ValidationSettings | None = None
    checkpoints: CheckpointSettings = CheckpointSettings()
    output: OutputPath | None = None

    @model_validator(mode="after")
    def _fits(self) -> Configuration:
        """There is something to train on, each backbone has a name of its own, and its patches fill every square."""
        if all(backbone.held_out for backbone in self.backbones):
            raise ValueError("backbones: all are held out; accepted: at least one that is trained on")
        names = [backbone.name for backbone in self.backbones]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"backbones: {', '.join(sorted(twice))} occurs twice")
        for backbone in self.backbones:
            for name in ("image_size", "input_size", "crop_size"):
                if (side := getattr(self.data, name)) % backbone.patch:
                    raise ValueError(
                        f"data.{name} is {side}; accepted: multiples of the patch of {backbone.name}, {backbone.patch}"
                    )
        return self


def read_configuration(path: str | Path, changes: Mapping[str, Any] | None = None) -> Configuration:
    """Read a configuration.

    Args:
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
        raise InputError(f"{path}: holds no fields; accepted: {', '.join(Configuration.model_fields)}")
    for field, value in (changes or {}).items():
        _change(given, field, value)
    try:
        return Configuration.model_validate(given, context={"folder": path.parent})
    except ValidationError as error:
        raise InputError(";\n".join(f"{path}: {refusal}" for refusal in _refusals(error))) from error


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
    "model_type": "is {input!r}; accepted: fields",
    "too_short": "has {actual_length} entries; accepted: at least {min_length}",
    "too_long": "has {actual_length} entries; accepted: at most {max_length}",
    "union_tag_not_found": "kind is missing",
    "union_tag_invalid": "kind is {tag!r}; accepted: {expected_tags}",
}

#: Behind a backbone's index, pydantic puts its kind.
_KIND = re.compile(r"(backbones\.\d+)\.\w+(?=\.|$)")


def _refusals(error: ValidationError) -> list[str]:
    """Put what pydantic found in a line for each field."""
    lines = []
    for problem in error.errors(include_url=False):
        field = _KIND.sub(r"\1", ".".join(map(str, problem["loc"])))
        wanted = problem["msg"].removeprefix("Input should be ")
        words = _WORDS.get(problem["type"], "is {input!r}; accepted: {wanted}")
        text = words.format(input=problem["input"], wanted=wanted, **problem.get("ctx", {}))
        lines.append(f"{field}: {text}" if field else text)
    return lines
