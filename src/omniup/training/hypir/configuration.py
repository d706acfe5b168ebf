"""Configure HYPIR's training; the defaults are the authors' (arXiv 2507.20590)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationInfo, field_validator, model_validator

from omniup.errors import InputError
from omniup.files.settings import Section, beside_the_file, read_settings
from omniup.restoration.base_model import PUBLISHED
from omniup.restoration.degradation import Degradation
from omniup.restoration.model_files import TINY
from omniup.training import settings
from omniup.training.restoration import DataSettings, NamedDegradation, ValidationSettings
from omniup.training.settings import InputPath, LossWeight, Precision, Steps, TrainingSettings, known_or_a_file

Timestep: TypeAlias = Annotated[int, Field(ge=0, le=10_000)]


class GeneratorSettings(Section):
    """Networks of the generator, and the weights that are trained.

    Attributes:
        model: a repository of the Hugging Face hub, a folder in diffusers' layout, or `tiny`, at random weights.
        train: `lora`, an adapter of the U-Net, or `all` of the U-Net's weights.
        vae: whether the VAE is `frozen` or `trained` as a whole.
        weights: a LoRA file to begin with.
        lora_rank: by default the model's, which for the published one is 256.
        model_t: the timestep that the U-Net is given; by default the model's, 200.
        coeff_t: the timestep of the scheduler's one step; likewise.
        unet_settings: diffusers' settings of the U-Net in place of the model's, which must be at random weights.
        vae_settings: likewise of the VAE.
        gradient_checkpointing: compute inner results twice rather than keep them: less memory, more time.
        ema: the decay of the moving average of the trained weights, which becomes the result; it begins lower.
        base: sources of the published model's networks, tried in order; see docs/restoration.md.
    """

    model: str = PUBLISHED
    train: Literal["lora", "all"] = "lora"
    vae: Literal["frozen", "trained"] = "frozen"
    weights: InputPath | None = None
    lora_rank: Annotated[int, Field(ge=1, le=4096)] | None = None
    model_t: Timestep | None = None
    coeff_t: Timestep | None = None
    unet_settings: Mapping[str, Any] = Field(default_factory=dict)
    vae_settings: Mapping[str, Any] = Field(default_factory=dict)
    gradient_checkpointing: bool = True
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    base: tuple[str, ...] | None = None

    @field_validator("model")
    @classmethod
    def _folder_beside_the_file(cls, model: str, info: ValidationInfo) -> str:
        folder = beside_the_file(Path(model), info)
        return str(folder) if model != TINY and folder.is_dir() else model

    @model_validator(mode="after")
    def _adapter(self) -> GeneratorSettings:
        if self.train == "all" and (name := next((n for n in ("weights", "lora_rank") if getattr(self, n)), None)):
            raise InputError(
                name, "is {value}, of an adapter", "nothing where train is 'all'", value=getattr(self, name)
            )
        return self


class DiscriminatorSettings(Section):
    """Discriminator of restored and real pictures: heads on the features of a frozen ConvNeXt.

    Attributes:
        backbone: timm's name of it.
        weights: `published`, which timm downloads once, a file, also of OpenCLIP, or `random`, always the same.
        width: channels of the heads.
        target: what real pictures are to get, of 1.
    """

    backbone: str = "convnext_xxlarge.clip_laion2b_soup"
    weights: str = "published"
    width: Annotated[int, Field(ge=1, le=4096)] = 512
    target: Annotated[float, Field(gt=0, le=1)] = 0.8

    @field_validator("weights")
    @classmethod
    def _known_or_a_file(cls, weights: str, info: ValidationInfo) -> str:
        return known_or_a_file(weights, ("published", "random"), info)


class LossSettings(Section):
    """Weights of the losses; 0 leaves a loss out, and does not load its network.

    Attributes:
        mse: weight of the mean squared error, with pictures in -1..1.
        perceptual: weight of LPIPS with VGG16 (arXiv 1801.03924).
        adversarial: weight of what the discriminator says.
        lpips: weights of VGG16: `published`, which torchvision downloads once, a file of torchvision's, or `random`.
    """

    mse: LossWeight = 1.0
    perceptual: LossWeight = 5.0
    adversarial: LossWeight = 0.5
    lpips: str = "published"

    @field_validator("lpips")
    @classmethod
    def _known_or_a_file(cls, lpips: str, info: ValidationInfo) -> str:
        return known_or_a_file(lpips, ("published", "random"), info)

    @model_validator(mode="after")
    def _something(self) -> LossSettings:
        if not (self.mse or self.perceptual or self.adversarial):
            raise InputError("", "has the weights 0 for mse, perceptual and adversarial", "at least one above 0")
        return self


class OptimiserSettings(settings.OptimiserSettings):
    """AdamW, at a constant learning rate, one for the generator and one for the discriminator.

    Attributes:
        discriminator_rate: the learning rate of the discriminator.
        clip: the longest gradient of either.
    """

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-5
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-2
    discriminator_rate: Annotated[float, Field(gt=0, le=1)] = 1e-5
    clip: Annotated[float, Field(gt=0, le=1e6)] = 1.0


class CheckpointSettings(settings.CheckpointSettings):
    """Steps between checkpoints, and how many of these are kept."""

    every: Steps = 500
    keep: Annotated[int, Field(ge=1, le=1000)] = 2


class Configuration(TrainingSettings):
    """All settings of the training. A step updates the generator once and the discriminator once.

    Attributes:
        data: sharp photographs.
        degradation: what is done to them, or a file that says it; see examples/degradation.yaml. Each process has a
            pool of its own.
        generator: the networks.
        discriminator: the network that discriminates restored from real pictures.
        losses: weights of the losses.
        optimiser: of the weights.
        gradients_every: how many steps lie between two measurements of each loss's gradient, at the U-Net's last layer.
        validation: measurements while the generator learns; none by default.
    """

    data: DataSettings
    degradation: NamedDegradation = Degradation()
    generator: GeneratorSettings = GeneratorSettings()
    discriminator: DiscriminatorSettings = DiscriminatorSettings()
    losses: LossSettings = LossSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    steps: Steps = 30_000
    precision: Precision = "auto"
    checkpoints: CheckpointSettings = CheckpointSettings()
    gradients_every: Steps = 100
    validation: ValidationSettings | None = None

    @model_validator(mode="after")
    def _fits(self) -> Configuration:
        if self.degradation.pool_size < self.batch:
            raise InputError(
                "degradation.pool_size",
                "is {value}",
                "sizes from the batch on, {least}",
                value=self.degradation.pool_size,
                least=self.batch,
            )
        return self


def read_configuration(path: str | Path, changes: Mapping[str, Any] | None = None) -> Configuration:
    """Read a configuration; see `read_settings`.

    Raises:
        InputError: the file cannot be read or is not YAML, or a field is unknown, missing or impossible.
    """
    return read_settings(Configuration, path, changes)
