"""Configure the degradation: each number a field with the published value as its default, read from YAML.

The values are those that HYPIR trains with (arXiv 2507.20590), which follows Real-ESRGAN (arXiv 2107.10833).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from omniup.errors import InputError
from omniup.files import Source
from omniup.files.settings import Section, read_settings

ResizeMode: TypeAlias = Literal["area", "bilinear", "bicubic"]


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise InputError("", "is {low:g} to {high:g}", "an ascending range", low=bounds[0], high=bounds[1])
    return bounds


def _around_one(bounds: tuple[float, float]) -> tuple[float, float]:
    if not bounds[0] <= 1 <= bounds[1]:
        raise InputError("", "is {low:g} to {high:g}", "a range around 1", low=bounds[0], high=bounds[1])
    return bounds


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise InputError("", "is {value}", "odd numbers", value=size)
    return size


# Strict: YAML has numbers, so neither a text nor `yes` need become one.
Probability = Annotated[float, Field(strict=True, ge=0, le=1)]
Positive = Annotated[float, Field(strict=True, ge=0.01, le=100)]
NotNegative = Annotated[float, Field(strict=True, ge=0, le=255)]
Angle = Annotated[float, Field(strict=True, ge=-2 * math.pi, le=2 * math.pi)]
Cutoff = Annotated[float, Field(strict=True, gt=0, le=math.sqrt(2) * math.pi)]  # from there on everything passes
Odd = Annotated[int, Field(strict=True, ge=1, le=101), AfterValidator(_odd)]
Quality = Annotated[int, Field(strict=True, ge=1, le=100)]

PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
NotNegativeRange = Annotated[tuple[NotNegative, NotNegative], AfterValidator(_ascending)]
AngleRange = Annotated[tuple[Angle, Angle], AfterValidator(_ascending)]
CutoffRange = Annotated[tuple[Cutoff, Cutoff], AfterValidator(_ascending)]
RangeAroundOne = Annotated[tuple[Positive, Positive], AfterValidator(_around_one)]
OddRange = Annotated[tuple[Odd, Odd], AfterValidator(_ascending)]
QualityRange = Annotated[tuple[Quality, Quality], AfterValidator(_ascending)]
Modes = Annotated[tuple[ResizeMode, ...], Field(min_length=1)]

_ALL_MODES: Modes = ("area", "bilinear", "bicubic")


def _check_alternatives(**probabilities: float) -> None:
    total = math.fsum(probabilities.values())
    if abs(total - 1) > 1e-6:
        raise InputError(
            "",
            "has probabilities that add up to {total:g}, of what excludes each other, {names}",
            "a sum of 1",
            total=total,
            names=", ".join(probabilities),
        )


class SharpeningSettings(Section):
    """Unsharp masking, of the target and of what is degraded.

    The published kernel has the size 50 and the width 0, which OpenCV takes for 51 and 0.3 ((51 - 1) / 2 - 1) + 0.8.
    """

    size: Odd = Field(51, description="Side of the Gaussian kernel, in pixels.")
    sigma: Positive = Field(8.0, description="Its width, in pixels.")
    weight: NotNegative = Field(0.5, description="Factor of the difference from the blurred image that is added.")
    threshold: NotNegative = Field(10.0, description="The least difference that is sharpened, of 255.")


class KernelKinds(Section):
    """Probabilities of the kinds of Gaussian-like kernels, once a kernel is not a low-pass one."""

    isotropic: Probability = 0.45
    anisotropic: Probability = 0.25
    generalised_isotropic: Probability = 0.12
    generalised_anisotropic: Probability = 0.03
    plateau_isotropic: Probability = 0.12
    plateau_anisotropic: Probability = 0.03

    @model_validator(mode="after")
    def _alternatives(self) -> KernelKinds:
        _check_alternatives(**self.model_dump())
        return self


class BlurSettings(Section):
    """Kernels of a stage."""

    probability: Probability = Field(1.0, description="Probability of any blur at all.")
    size: OddRange = Field((7, 21), description="Side of the kernel, in pixels, odd.")
    low_pass: Probability = Field(0.1, description="Probability of a circular low-pass filter (sinc).")
    cutoff: CutoffRange = Field(
        (math.pi / 3, math.pi), description="Cutoff of a low-pass filter, in radians per pixel."
    )
    large: Odd = Field(13, description="From this size on, the cutoff is from cutoff_large.")
    cutoff_large: CutoffRange = (math.pi / 5, math.pi)
    kinds: KernelKinds = KernelKinds()
    sigma: PositiveRange = Field((0.2, 3.0), description="Width, in pixels; along both axes if anisotropic.")
    rotation: AngleRange = Field((-math.pi, math.pi), description="Rotation of anisotropic kernels, in radians.")
    beta_generalised: RangeAroundOne = Field((0.5, 4.0), description="Shape: below or above 1 with even odds.")
    beta_plateau: RangeAroundOne = Field((1.0, 2.0), description="Likewise.")


class ResizeSettings(Section):
    """A change of size by one factor for the whole batch."""

    up: Probability = 0.2
    down: Probability = 0.7
    keep: Probability = 0.1
    factor: RangeAroundOne = Field((0.15, 1.5), description="Down to the first, up to the second.")
    modes: Modes = Field(_ALL_MODES, description="Equally likely.")

    @model_validator(mode="after")
    def _alternatives(self) -> ResizeSettings:
        _check_alternatives(up=self.up, down=self.down, keep=self.keep)
        return self


class NoiseSettings(Section):
    """Noise of a stage."""

    gaussian: Probability = Field(0.5, description="Probability of Gaussian noise; else it is Poisson noise.")
    sigma: NotNegativeRange = Field((1.0, 30.0), description="Deviation of Gaussian noise, of 255.")
    poisson: NotNegativeRange = Field((0.05, 3.0), description="Factor of Poisson noise.")
    grey: Probability = Field(0.4, description="Probability of the same noise in all channels.")


class FirstStage(Section):
    """Settings of the first stage: blur, resize, noise, JPEG."""

    blur: BlurSettings = BlurSettings()
    resize: ResizeSettings = ResizeSettings()
    noise: NoiseSettings = NoiseSettings()
    quality: QualityRange = Field((30, 95), description="Quality of JPEG; 100 is no compression at all.")


class SecondBlur(BlurSettings):
    """Blur of the second stage, as in the first, but weaker."""

    probability: Probability = Field(0.8, description="Probability of any blur at all.")
    sigma: PositiveRange = Field((0.2, 1.5), description="Width, in pixels; along both axes if anisotropic.")


class SecondResize(ResizeSettings):
    """Resize of the second stage, as in the first; the factor is on top of 1 / stage2_scale."""

    up: Probability = 0.3
    down: Probability = 0.4
    keep: Probability = 0.3
    factor: RangeAroundOne = Field((0.3, 1.2), description="Down to the first, up to the second.")


class SecondNoise(NoiseSettings):
    """Noise of the second stage, as in the first, but weaker."""

    sigma: NotNegativeRange = Field((1.0, 25.0), description="Deviation of Gaussian noise, of 255.")
    poisson: NotNegativeRange = Field((0.05, 2.5), description="Factor of Poisson noise.")


class SecondStage(Section):
    """Settings of the second stage: blur, resize, noise; JPEG before or after the last resize."""

    blur: SecondBlur = SecondBlur()
    resize: SecondResize = SecondResize()
    noise: SecondNoise = SecondNoise()
    quality: QualityRange = Field((30, 95), description="Quality of JPEG; 100 is no compression at all.")


class LastSettings(Section):
    """Resize to 1 / stage2_scale, and the low-pass filter after it."""

    jpeg_after: Probability = Field(0.5, description="Probability of JPEG after both; else it is before them.")
    modes: Modes = Field(_ALL_MODES, description="Equally likely.")
    low_pass: Probability = Field(0.8, description="Probability of a circular low-pass filter (sinc).")
    size: OddRange = Field((7, 21), description="Side of its kernel, in pixels, odd.")
    cutoff: CutoffRange = Field((math.pi / 3, math.pi), description="In radians per pixel.")


class Degradation(Section):
    """All settings of the degradation.

    Example:
        >>> Degradation().first.resize.factor
        (0.15, 1.5)
        >>> Degradation.read(b"second: {blur: {probability: 0.5}}").second.blur.sigma
        (0.2, 1.5)
    """

    sharpening: SharpeningSettings = SharpeningSettings()
    first: FirstStage = FirstStage()
    second: SecondStage = SecondStage()
    stage2_scale: float = Field(
        4.0, strict=True, ge=1, le=16, description="Factor by which the second stage shrinks images."
    )
    last: LastSettings = LastSettings()
    pool_size: int = Field(256, strict=True, ge=1, description="Pairs that training keeps to draw its batches from.")

    @classmethod
    def read(cls, source: Source) -> Degradation:
        """Read YAML; what it does not name keeps its default. See `read_settings`.

        Raises:
            InputError: the source cannot be read or is not YAML, or a field is unknown or impossible; names each.
        """
        return read_settings(cls, source)
