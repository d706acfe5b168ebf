"""Draw all random numbers of a batch, so that the degradation itself is a function of them.

The images of a batch lie in one tensor and therefore share its sizes. Everything else is drawn for each image from a
seed of its own: the first images of a batch come out the same however many follow.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from random import Random
from typing import Any, cast

import torch

from omniup.restoration.degradation.config import (
    BlurSettings,
    Degradation,
    FirstStage,
    LastSettings,
    NoiseSettings,
    ResizeSettings,
    SecondStage,
)
from omniup.restoration.degradation.kernels import NO_BLUR, Kernel, KernelKind
from omniup.restoration.degradation.noise import Noise
from omniup.restoration.degradation.resize import Resize


@dataclass(frozen=True)
class StageDraws:
    """The random numbers of one image in one stage."""

    blur: Kernel
    noise: Noise
    quality: int


@dataclass(frozen=True)
class ImageDraws:
    """The random numbers of one image; `low_pass` is the last filter."""

    first: StageDraws
    second: StageDraws
    low_pass: Kernel


@dataclass(frozen=True)
class BatchDraws:
    """The random numbers of a whole batch; `jpeg_after` is the second JPEG after the last resize, not before it."""

    first: Resize
    second: Resize
    last: Resize
    jpeg_after: bool


@dataclass(frozen=True)
class Draws:
    """All random numbers of a batch of images."""

    batch: BatchDraws
    images: tuple[ImageDraws, ...]

    def record(self) -> list[dict[str, Any]]:
        """Describe the draws of each image as an object for JSON; a kernel has the numbers of its kind."""
        batch = dataclasses.asdict(self.batch)
        return [{"batch": batch, "image": _without_none(dataclasses.asdict(image))} for image in self.images]


def draw(settings: Degradation, count: int, generator: torch.Generator) -> Draws:
    """Draw everything for a batch of `count` images.

    Args:
        settings: the ranges and probabilities.
        count: of images.
        generator: on the CPU, so that the draws are the same on every device.
    """
    seeds = [int(torch.randint(2**63 - 1, (), generator=generator)) for _ in range(1 + count)]
    batch = _draw_batch(settings, Random(seeds[0]))
    return Draws(batch, tuple(_draw_image(settings, Random(seed)) for seed in seeds[1:]))


def _draw_batch(settings: Degradation, random: Random) -> BatchDraws:
    shrunk = 1 / settings.stage2_scale
    return BatchDraws(
        first=_draw_resize(settings.first.resize, 1, random),
        second=_draw_resize(settings.second.resize, shrunk, random),
        last=Resize(shrunk, random.choice(settings.last.modes)),
        jpeg_after=_happens(settings.last.jpeg_after, random),
    )


def _draw_image(settings: Degradation, random: Random) -> ImageDraws:
    return ImageDraws(
        first=_draw_stage(settings.first, random),
        second=_draw_stage(settings.second, random),
        low_pass=_draw_last_kernel(settings.last, random),
    )


def _draw_stage(settings: FirstStage | SecondStage, random: Random) -> StageDraws:
    return StageDraws(
        _draw_kernel(settings.blur, random), _draw_noise(settings.noise, random), random.randint(*settings.quality)
    )


def _draw_resize(settings: ResizeSettings, around: float, random: Random) -> Resize:
    low, high = settings.factor
    directions = (low, 1.0), (1.0, high), (1.0, 1.0)
    (bounds,) = random.choices(directions, (settings.down, settings.up, settings.keep))
    return Resize(around * random.uniform(*bounds), random.choice(settings.modes))


def _draw_kernel(settings: BlurSettings, random: Random) -> Kernel:
    if not _happens(settings.probability, random):
        return NO_BLUR
    size = _odd(settings.size, random)
    if _happens(settings.low_pass, random):
        cutoff = settings.cutoff if size < settings.large else settings.cutoff_large
        return Kernel("low_pass", size, cutoff=random.uniform(*cutoff))
    kinds = settings.kinds.model_dump()
    (kind,) = random.choices(cast("list[KernelKind]", list(kinds)), list(kinds.values()))
    is_anisotropic = kind.endswith("anisotropic")
    return Kernel(
        kind,
        size,
        sigma_x=random.uniform(*settings.sigma),
        sigma_y=random.uniform(*settings.sigma) if is_anisotropic else None,
        rotation=random.uniform(*settings.rotation) if is_anisotropic else None,
        beta=_draw_beta(kind, settings, random),
    )


def _draw_beta(kind: KernelKind, settings: BlurSettings, random: Random) -> float | None:
    """Draw below or above 1 with even odds, since most of the range lies above."""
    if kind.startswith("generalised"):
        low, high = settings.beta_generalised
    elif kind.startswith("plateau"):
        low, high = settings.beta_plateau
    else:
        return None
    return random.uniform(low, 1) if _happens(0.5, random) else random.uniform(1, high)


def _draw_last_kernel(settings: LastSettings, random: Random) -> Kernel:
    if not _happens(settings.low_pass, random):
        return NO_BLUR
    return Kernel("low_pass", _odd(settings.size, random), cutoff=random.uniform(*settings.cutoff))


def _draw_noise(settings: NoiseSettings, random: Random) -> Noise:
    is_gaussian = _happens(settings.gaussian, random)
    return Noise(
        kind="gaussian" if is_gaussian else "poisson",
        strength=random.uniform(*(settings.sigma if is_gaussian else settings.poisson)),
        grey=_happens(settings.grey, random),
        seed=random.getrandbits(63),
    )


def _odd(size: tuple[int, int], random: Random) -> int:
    return random.randrange(size[0], size[1] + 1, 2)


def _happens(probability: float, random: Random) -> bool:
    return random.random() < probability


def _without_none(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in facts.items()
        if value is not None
    }
