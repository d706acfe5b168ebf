"""Configure AnyUp's training; the defaults are the recipe of the paper (arXiv 2510.12764)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationInfo, field_validator, model_validator

from omniup.errors import InputError
from omniup.files.settings import Section, beside_the_file, existing, read_settings
from omniup.training.settings import (
    Count,
    InputPath,
    LossWeight,
    Photographs,
    Side,
    Steps,
    TrainingSettings,
    Workers,
    known_or_a_file,
)
from omniup.upsamplers.anyup.pyramid import other_ratios
from omniup.upsamplers.anyup.weights import NAMES
from omniup.upsamplers.consistency import FULL

Patch: TypeAlias = Annotated[int, Field(ge=1, le=128)]

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


Reference: TypeAlias = Literal["enlarged", "moved", "segments"]


class _Backbone(Section):
    """Settings that all backbones have.

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
        return known_or_a_file(weights, ("random", "published"), info)

    @property
    def name(self) -> str:
        """Name in reports."""
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
            raise InputError("", "is {value!r}", "path.py:function", value=function)
        return f"{existing(beside_the_file(Path(path), info))}:{name}"

    @property
    def name(self) -> str:
        """Name in reports."""
        stem = Path(self.function.rpartition(":")[0]).stem
        return f"{stem}{'' if self.output is None else f'-output{self.output}'}-patch{self.patch}"


class DescriptorSettings(_Backbone):
    """A hand-made descriptor: histograms of oriented gradients, a bank of Gabor filters, projected mean colours."""

    kind: Literal["hog", "gabor", "colours"]

    @property
    def name(self) -> str:
        """Name in reports."""
        return f"{self.kind}-patch{self.patch}"


BackboneSettings: TypeAlias = Annotated[TimmSettings | LocalSettings | DescriptorSettings, Field(discriminator="kind")]


class DataSettings(Section):
    """Photographs, and the crops of them.

    Attributes:
        images: photographs, folders of them, or `sample:NAME`.
        image_size: of the square that is taken from a photograph.
        input_size: of the guidance, to which the square is reduced, and which the low-resolution features are of.
        crop_size: of the local crops of the square, whose features are the targets.
        crops: how many of them there are to an image; 0 for none: then the square itself is the guidance, and its
            features as a whole are the target (the strategy of JAFAR, arXiv 2506.11136).
        workers: processes that decode photographs; 0 does it in between.
    """

    images: Annotated[tuple[Photographs, ...], Field(min_length=1)]
    image_size: Side = 448
    input_size: Side = 224
    crop_size: Side = 224
    crops: Annotated[int, Field(ge=0, le=64)] = 4
    workers: Workers = 0

    @property
    def sides(self) -> dict[str, int]:
        """Sides of the images that backbones see, by the names of the fields."""
        sides = {"image_size": self.image_size, "input_size": self.input_size}
        return sides | ({"crop_size": self.crop_size} if self.crops else {})

    @model_validator(mode="after")
    def _within(self) -> DataSettings:
        for name, side in self.sides.items():
            if side > self.image_size:
                raise InputError(name, "is {value}", "up to image_size, {most}", value=side, most=self.image_size)
        return self


class ModelSettings(Section):
    """The network.

    Attributes:
        layout: of the feature-agnostic layer; `published` for the published weights.
        window_ratio: how far a pixel may look to either side, as a part of the image's; 1 for everywhere.
        feature_path: whether the features have a say in where pixels look, or the image alone.
        dynamic_basis: whether the filters of the feature-agnostic layer are changed for the features at hand.
        pyramid: ratios of windows that a pixel looks through besides; none by default.
        implicit: whether features vary inside cells.
        weights: what to start from: `paper` or `multi_backbone`, which are downloaded once, `omniup`, or a file; none
            by default.
    """

    layout: Literal["paper", "published"] = "paper"
    window_ratio: Annotated[float, Field(ge=0.001, le=1)] = 0.1
    feature_path: bool = True
    dynamic_basis: bool = False
    pyramid: tuple[float, ...] | None = None
    implicit: bool = False
    weights: str | None = None

    @field_validator("weights")
    @classmethod
    def _known_or_a_file(cls, weights: str | None, info: ValidationInfo) -> str | None:
        return weights and known_or_a_file(weights, NAMES, info)

    @model_validator(mode="after")
    def _used(self) -> ModelSettings:
        if self.dynamic_basis and not self.feature_path:
            raise InputError("dynamic_basis", "is true without a feature path, where it has no effect", "false")
        if self.pyramid is not None:
            other_ratios(self.pyramid, self.window_ratio)
        return self


class ReferenceSettings(Section):
    """Weights of the references that are drawn for batches; see `references.py`.

    Attributes:
        enlarged: a backbone's features of local crops, as `data` says.
        moved: its features of the photograph shifted by half a cell. The guidance is the photograph of `image_size`
            reduced to `input_size`, here and with segments.
        segments: segments that people outlined in the photographs of `images`.
        images: photographs with label maps beside them, `NAME.segments.png` for `NAME.jpg`.
    """

    enlarged: LossWeight = 1
    moved: LossWeight = 0
    segments: LossWeight = 0
    images: tuple[Photographs, ...] = ()

    @property
    def weights(self) -> dict[Reference, float]:
        """Weights by name."""
        return {"enlarged": self.enlarged, "moved": self.moved, "segments": self.segments}

    @model_validator(mode="after")
    def _something(self) -> ReferenceSettings:
        if not any(self.weights.values()):
            raise InputError("", "has weights of 0 only", "at least one above 0")
        if self.segments and not self.images:
            raise InputError("images", "is empty", "photographs with segments, where `segments` is above 0")
        return self


class LossSettings(Section):
    """Weights of the losses beside the distance from the targets; 0 leaves a loss out.

    Attributes:
        consistency: steps of consistency that results are given before they are compared, as most users' are.
        self_consistency: weight of the distance between what a changed and the clean guidance give.
        self_consistency_size: of the square map on which these are compared; by default the guidance's.
        input_consistency: weight of the distance between the reduced result and the low-resolution features.
    """

    consistency: Annotated[float, Field(ge=0, le=FULL)] = 0
    self_consistency: LossWeight = 0.1
    self_consistency_size: Side | None = None
    input_consistency: LossWeight = 0.1


class MetaSettings(Section):
    """Meta-training: losses are of the network after it has adapted to each image, as `AnyUp.adapt` does.

    Attributes:
        inner_steps: of the adaptation.
        first_order: whether the adaptation's gradients count as constants. Otherwise they are differentiated too, in
            more time, and in memory that grows with pixels × cells of a window.
        learning_rate: of the step sizes, which are larger numbers than weights.
    """

    inner_steps: Annotated[int, Field(ge=1, le=100)] = 3
    first_order: bool = True
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-2


class PretrainingSettings(Section):
    """Self-supervised tasks before the other losses; a weight of 0 leaves a task out.

    Attributes:
        steps: of the training's, how many are these: its first ones.
        inpainting: weight of the distance between what masked cells were and the result's means there.
        masked: how many cells are masked, as a part of all.
        scale_consistency: weight of the distance between the results for resized and for the clean guidance. Gradients
            of that distance are some thirty times shorter than those of the others.
        alignment: weight of the squared distance between the attention weights by the features of two backbones.
    """

    steps: Steps
    inpainting: LossWeight = 1.0
    masked: Annotated[float, Field(gt=0, lt=1)] = 0.25
    scale_consistency: LossWeight = 30.0
    alignment: LossWeight = 1.0

    @model_validator(mode="after")
    def _any(self) -> PretrainingSettings:
        if not (self.inpainting or self.scale_consistency or self.alignment):
            raise InputError("", "has no task", "a weight above 0 for inpainting, scale_consistency or alignment")
        return self


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
    """Validation of the network during training.

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


class Configuration(TrainingSettings):
    """All settings of the training.

    Attributes:
        data: photographs.
        backbones: frozen networks and descriptors; for every batch, one that is not held out is drawn.
        model: the network.
        references: what results are compared with.
        losses: beside the distance from the targets.
        augmentations: changes to the guidance for self-consistency.
        meta: losses after an adaptation to each image; none by default.
        pretraining: self-supervised tasks in the first steps; none by default.
        validation: measurements while the network learns; none by default.
    """

    data: DataSettings
    backbones: Annotated[tuple[BackboneSettings, ...], Field(min_length=1)]
    model: ModelSettings = ModelSettings()
    references: ReferenceSettings = ReferenceSettings()
    losses: LossSettings = LossSettings()
    augmentations: tuple[Augmentation, ...] = AUGMENTATIONS
    meta: MetaSettings | None = None
    pretraining: PretrainingSettings | None = None
    validation: ValidationSettings | None = None

    @model_validator(mode="after")
    def _fits(self) -> Configuration:
        check_backbones(self.backbones, self.data)
        for backbone in self.backbones:
            if self.references.moved and backbone.patch % 4:
                raise InputError(
                    "references.moved",
                    "is above 0, and {backbone} has a patch of {patch}",
                    "0, or backbones whose patches are multiples of 4",
                    backbone=backbone.name,
                    patch=backbone.patch,
                )
        return self

    @model_validator(mode="after")
    def _can_pretrain(self) -> Configuration:
        """Check that pretraining ends within the training, and has what its tasks are about."""
        if (settings := self.pretraining) is None:
            return self
        if settings.steps > self.steps:
            raise InputError(
                "pretraining.steps", "is {value}", "up to steps, {most}", value=settings.steps, most=self.steps
            )
        trained = [backbone for backbone in self.backbones if not backbone.held_out]
        if settings.alignment and len(trained) < 2:
            problem, accepted = "is {value} with one backbone to train on", "at least two, or 0"
            raise InputError("pretraining.alignment", problem, accepted, value=settings.alignment)
        for backbone in trained:
            if self.data.input_size == backbone.patch:
                accepted = "at least two cells of {backbone} along a side, for pretraining"
                raise InputError(
                    "data.input_size", "is {value}", accepted, value=self.data.input_size, backbone=backbone.name
                )
        return self


def check_backbones(backbones: Sequence[BackboneSettings], data: DataSettings) -> None:
    """Check that some backbone is trained on, that they have different names, and that patches fill every square.

    Raises:
        InputError: it is not so.
    """
    if all(backbone.held_out for backbone in backbones):
        raise InputError("backbones", "are all held out", "at least one that is trained on")
    names = [backbone.name for backbone in backbones]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError("backbones", "has {names} twice", "a name each", names=", ".join(sorted(twice)))
    for backbone in backbones:
        for name, side in data.sides.items():
            if side % backbone.patch:
                raise InputError(
                    f"data.{name}",
                    "is {value}",
                    "multiples of the patch of {backbone}, {patch}",
                    value=side,
                    backbone=backbone.name,
                    patch=backbone.patch,
                )


def read_configuration(path: str | Path, changes: Mapping[str, Any] | None = None) -> Configuration:
    """Read a configuration; see `read_settings`.

    Raises:
        InputError: the file cannot be read or is not YAML, or a field is unknown, missing or impossible.
    """
    return read_settings(Configuration, path, changes)
