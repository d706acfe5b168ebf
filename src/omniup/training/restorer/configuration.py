"""Configure the training of the small restorer; the defaults are those of the weights that come with the package."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from omniup.errors import InputError
from omniup.files.settings import Section, read_settings
from omniup.restoration.residual_network import CELL
from omniup.restoration.restorer import SMALL
from omniup.training import restoration, settings
from omniup.training.settings import Count, LossWeight, Precision, Side, Steps, TrainingSettings, known_or_a_file

NotNegative = Annotated[float, Field(ge=0, le=100)]


class DataSettings(restoration.DataSettings):
    """Sharp photographs, the squares cut out of them, and what is kept of these once they are degraded.

    Attributes:
        border: cut off degraded squares, from 0 to so many pixels on either side at random, so that the blocks of JPEG
            lie anywhere.
    """

    image_size: Side = 112
    keep: tuple[restoration.Fraction, restoration.Fraction] = (0.28, 0.5)
    rotate: restoration.Probability = 0.5
    border: Annotated[int, Field(ge=0, le=64)] = 16

    @model_validator(mode="after")
    def _cells(self) -> DataSettings:
        side = self.image_size - self.border
        if side < CELL or side % CELL:
            raise InputError(
                "border",
                "leaves {side} pixels of {size}",
                "multiples of {cell}",
                side=side,
                size=self.image_size,
                cell=CELL,
            )
        return self


class DegradationSettings(Section):
    """One of the degradations that are trained on.

    Attributes:
        weight: of this degradation where one is drawn for each group of images, relative to the others.
        settings: what is done to them, or a file that says it; without it images stay as they are.
        known: whether the levels of degradation follow from its draws: there is no second blur, resize or noise.
    """

    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    settings: restoration.NamedDegradation | None = None
    known: bool = False


class NetworkSettings(Section):
    """The network.

    Attributes:
        widths: channels at 1/2, 1/4 and 1/8 of the resolution.
        blocks: residual blocks at each.
        ema: the decay of the moving average of the weights, which becomes the result; it begins lower.
        weights: what to start from: `small`, which come with the package, or a file; random ones by default.
    """

    widths: tuple[Count, Count, Count] = (56, 80, 112)
    blocks: Annotated[int, Field(ge=1, le=64)] = 2
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    weights: str | None = None

    @field_validator("weights")
    @classmethod
    def _known_or_a_file(cls, weights: str | None, info: ValidationInfo) -> str | None:
        return None if weights is None else known_or_a_file(weights, (SMALL,), info)


class LossSettings(Section):
    """The loss: the mean over images of log(MSE + floor), as much as PSNR, and the error of the estimated levels.

    Attributes:
        floor: mean squared error, of pictures in 0..1, below which the loss is as good as the error itself. Without it
            pictures that need no restoring would outweigh all others.
        levels: weight of the error of the levels, where they are known.
        overestimated: weight of levels that are estimated too high, relative to those too low: fine texture looks like
            noise, and is lost if it is taken for that.
    """

    floor: Annotated[float, Field(gt=0, le=1)] = 5e-4
    levels: LossWeight = 1.0
    overestimated: Annotated[float, Field(ge=1, le=100)] = 3.0


class OptimiserSettings(settings.OptimiserSettings):
    """Muon for the convolutions of the residual blocks, AdamW for all other weights.

    Attributes:
        muon_rate: the learning rate of Muon, whose updates are as large as AdamW's at this rate.
        clip: the longest gradient.
    """

    muon_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    warmup: Annotated[int, Field(ge=0, le=1_000_000)] = 200
    decay: Literal["none", "cosine"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.1
    clip: Annotated[float, Field(gt=0, le=1e6)] = 1.0


class ValidationSettings(restoration.ValidationSettings):
    """Validation on whole photographs not trained on, each degraded in each of the ways that are trained on.

    Attributes:
        every: how many steps lie between two measurements.
        count: how many photographs are used, in order.
    """

    every: Steps = 1000
    count: Count = 16


class Configuration(TrainingSettings):
    """All settings of the training.

    Attributes:
        data: sharp photographs.
        degradations: what is done to them, by name.
        scales: weights of the scales 1, 2, 3 and 4, one of which is drawn for each batch: photographs are reduced
            before they are degraded, and enlarged again afterwards. The sharpening of degradations is for scale 1.
        group: images that are degraded together, and therefore share the sizes between resizes; a batch has several.
        network: the network.
        losses: what is minimised.
        validation: measurements while it learns; none by default.
    """

    data: DataSettings
    degradations: Mapping[str, DegradationSettings] = Field(min_length=1)
    scales: Annotated[tuple[NotNegative, ...], Field(min_length=1, max_length=4)] = (1.0,)
    group: Annotated[int, Field(ge=1, le=4096)] = 2
    network: NetworkSettings = NetworkSettings()
    losses: LossSettings = LossSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    batch: Annotated[int, Field(ge=1, le=4096)] = 16
    steps: Steps = 8_000
    precision: Precision = "auto"
    validation: ValidationSettings | None = None

    @model_validator(mode="after")
    def _whole_pixels(self) -> Configuration:
        side = self.data.image_size - self.data.border
        scales = [scale for scale, weight in enumerate(self.scales, 1) if weight]
        if not scales or side % math.lcm(*scales):
            raise InputError(
                "scales", "do not divide {side} pixels", "weights of scales that do, not all of them 0", side=side
            )
        return self

    @model_validator(mode="after")
    def _whole_groups(self) -> Configuration:
        if self.batch % self.group:
            raise InputError(
                "group", "is {group} in batches of {batch}", "a divisor", group=self.group, batch=self.batch
            )
        return self


def read_configuration(path: str | Path, changes: Mapping[str, Any] | None = None) -> Configuration:
    """Read a configuration; see `read_settings`.

    Raises:
        InputError: the file cannot be read or is not YAML, or a field is unknown, missing or impossible.
    """
    return read_settings(Configuration, path, changes)
