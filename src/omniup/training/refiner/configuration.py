"""Configure the training of the refiner of upsampled features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from omniup.files.settings import Section, read_settings
from omniup.training import settings
from omniup.training.anyup.configuration import BackboneSettings, DataSettings, check_backbones
from omniup.training.settings import Count, Photographs, Steps, TrainingSettings, known_or_a_file
from omniup.upsamplers.anyup.refinement import MOST_STEPS
from omniup.upsamplers.anyup.weights import NAMES


class RefinerSettings(Section):
    """The refiner; its scale is that of the data, `image_size` / `input_size`.

    Attributes:
        width: of the denoiser: channels of its finer maps.
        components: how many principal components of an image's features are refined, at most.
    """

    width: Annotated[int, Field(ge=1, le=1024)] = 32
    components: Annotated[int, Field(ge=1, le=4096)] = 16


class OptimiserSettings(settings.OptimiserSettings):
    """AdamW.

    Attributes:
        learning_rate: see `omniup.training.settings`.
        warmup: likewise.
        decay: likewise.
        clip: the longest gradient.
    """

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    warmup: Annotated[int, Field(ge=0, le=1_000_000)] = 50
    decay: Literal["none", "cosine"] = "cosine"
    clip: Annotated[float, Field(gt=0, le=1e6)] = 1.0


class ValidationSettings(Section):
    """Validation on photographs that are not trained on.

    Attributes:
        every: how many steps lie between two measurements.
        images: photographs.
        count: how many of these are used, in alphabetical order.
        samples: of each.
        steps: of each sample.
    """

    every: Steps = 1000
    images: Annotated[tuple[Photographs, ...], Field(min_length=1)]
    count: Count = 8
    samples: Annotated[int, Field(ge=2, le=1000)] = 8
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)] = MOST_STEPS


class Configuration(TrainingSettings):
    """All settings of the training.

    Attributes:
        data: photographs; see AnyUp's training.
        backbones: likewise.
        anyup: weights of AnyUp, whose results are refined: `paper` or `multi_backbone`, which are downloaded once,
            `omniup`, or a file.
        refiner: what is trained.
        validation: measurements while it learns; none by default.
    """

    data: DataSettings
    backbones: Annotated[tuple[BackboneSettings, ...], Field(min_length=1)]
    anyup: str = "multi_backbone"
    refiner: RefinerSettings = RefinerSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    steps: Steps = 2_000
    batch: Annotated[int, Field(ge=1, le=4096)] = 2
    validation: ValidationSettings | None = None

    @field_validator("anyup")
    @classmethod
    def _known_or_a_file(cls, weights: str, info: ValidationInfo) -> str:
        return known_or_a_file(weights, NAMES, info)

    @model_validator(mode="after")
    def _fits(self) -> Configuration:
        check_backbones(self.backbones, self.data)
        return self


def read_configuration(path: str | Path, changes: Mapping[str, Any] | None = None) -> Configuration:
    """Read a configuration; see `read_settings`.

    Raises:
        InputError: the file cannot be read or is not YAML, or a field is unknown, missing or impossible.
    """
    return read_settings(Configuration, path, changes)
