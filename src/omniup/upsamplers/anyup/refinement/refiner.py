"""Refine features by diffusion: samples of what they may be at a finer resolution, their mean and their spread.

    r_j = v_j · (t - u) / σ_j          the residual of the result u, t the truth, in the components v_j of the image
    x_T ~ N(0, 1) → … → x_0 = r_j      by a few steps, each with the denoiser's estimate of r_j
    sample = u + Σ_j σ_j r_j v_j

The components are the principal ones of the image's own features (`components.py`), and each is a batch entry of one
channel, so there may be any number of channels. The denoiser works on a grid `scale` times as fine as the features',
the one that it was trained on; from there residuals are interpolated. So its cost follows the cells, not the pixels.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.files import read_tensors
from omniup.files.weights import summary
from omniup.mixing import DEFAULT_MEMORY, cell_means
from omniup.upsamplers.anyup.network import check_channels
from omniup.upsamplers.anyup.refinement.components import PrincipalComponents
from omniup.upsamplers.anyup.refinement.denoiser import Denoiser, conditions_of
from omniup.upsamplers.anyup.refinement.sampling import sample_residuals
from omniup.upsamplers.base import check_image
from omniup.upsamplers.checks import ImageLike, Size, as_signal, check_finite, check_number, enough_memory, parse_memory
from omniup.upsamplers.progress import Progress, ProgressLike, shown
from omniup.upsamplers.representation import ShortRepr

MOST_STEPS = 10
"""The most steps of a sample: given the conditions, residuals are nearly normal, and more steps change little."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Residuals(ShortRepr):
    """Sampled residuals of one image.

    Attributes:
        components: K of the image's features.
        sampled: [S, K, H', W'], in units of the components' deviations.
        mean: [K, H', W'], expected of them.
    """

    components: PrincipalComponents
    sampled: Tensor
    mean: Tensor

    def add_mean(self, maps: Tensor, memory: int) -> None:
        """Add the mean of the residuals to maps [C, H, W], in place."""
        self._add(maps, self.mean, memory)

    def add_offset(self, maps: Tensor, sample: int, memory: int) -> None:
        """Add what a sample's residual differs by from the mean to maps [C, H, W], in place."""
        self._add(maps, self.sampled[sample] - self.mean, memory)

    def spread(self, size: Size) -> Tensor:
        """Compute the deviation of the samples, its root mean square over the channels: [1, H, W]."""
        offsets = self.sampled - self.sampled.mean(0)  # [S, K, H', W']
        variances = offsets.square().sum(0) / (len(offsets) - 1)  # [K, H', W']
        variance = torch.einsum("khw,k->hw", variances, self.components.deviations.square())
        return _interpolated((variance / len(self.components.mean)).sqrt()[None], size)

    def _add(self, maps: Tensor, coordinates: Tensor, memory: int) -> None:
        vectors = self.components.vectors(coordinates)  # [C, H', W']
        channels = max(1, memory // (2 * maps[0].numel() * vectors.itemsize))
        for part, added in zip(maps.split(channels), vectors.split(channels), strict=True):
            part += _interpolated(added, (maps.shape[1], maps.shape[2]))


class Samples(Sequence[Tensor]):
    """Samples of refined features, [B, C, H, W] each, which are computed when they are asked for.

    Args:
        mean: [B, C, H, W], expected of them.
        residuals: of each image.
    """

    def __init__(self, mean: Tensor, residuals: Sequence[Residuals]) -> None:
        self._mean, self._residuals = mean, residuals

    def __len__(self) -> int:
        return len(self._residuals[0].sampled)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        made = self._mean.clone()
        for image, residuals in zip(made, self._residuals, strict=True):
            residuals.add_offset(image, range(len(self))[index], DEFAULT_MEMORY)
        return made


@dataclasses.dataclass(frozen=True, eq=False)
class Refined:
    """Refined features.

    Attributes:
        mean: [B, C, H, W], the initial result and the expected residual: the mean of very many samples.
        spread: [B, 1, H, W], the deviation of the samples at each pixel: its root mean square over the channels, in the
            features' unit. Components that are not refined have no part in it.
        samples: S features, [B, C, H, W] each.
    """

    mean: Tensor
    spread: Tensor
    samples: Samples


class Refiner(nn.Module):
    """Refinement of upsampled features, by AnyUp in the first place: see `AnyUp.refine`.

    Untrained, it finds no residual: the mean and all samples are the initial result, and the spread is zero.

    Args:
        width: of the denoiser.
        scale: ratio of the resolution at which it works to that of the features.
        components: how many principal components are refined, at most.

    Raises:
        InputError: a setting is out of range.

    Example:
        >>> import torch
        >>> image, features = torch.rand(1, 3, 32, 48), torch.randn(1, 20, 4, 6)
        >>> initial = torch.nn.functional.interpolate(features, (32, 48), mode="bilinear")
        >>> refined = Refiner()(image, features, initial, samples=2, steps=2)
        >>> torch.equal(refined.mean, initial), float(refined.spread.max()), len(refined.samples)
        (True, 0.0, 2)
    """

    def __init__(self, *, width: int = 32, scale: float = 2.0, components: int = 16) -> None:
        check_number("width", width, 1, 1024, whole=True)
        check_number("scale", scale, 1, 64)
        check_number("components", components, 1, 4096, whole=True)
        super().__init__()
        self.scale, self.components = float(scale), components
        self.denoiser = Denoiser(width)

    @classmethod
    def from_pretrained(cls, weights: str | Path) -> Refiner:
        """Load trained weights, without gradients of their own.

        Args:
            weights: a .safetensors file that `omniup train refiner` wrote.

        Raises:
            InputError: it cannot be read, or is none of a refiner.
        """
        state, stored = read_tensors(weights)
        try:
            network = cls(**json.loads(stored["refiner"]))
            network.load_state_dict(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            problem = "is {value}, which holds no refiner ({reason})"
            accepted = "a file that `omniup train refiner` wrote"
            raise InputError("weights", problem, accepted, value=str(weights), reason=summary(error)) from error
        return network.eval().requires_grad_(False)

    def metadata(self) -> dict[str, str]:
        """Return what a .safetensors file should say of the weights, in its metadata, for `from_pretrained`."""
        settings = {"width": self.denoiser.width, "scale": self.scale, "components": self.components}
        return {"refiner": json.dumps(settings)}

    @torch.no_grad()
    def forward(
        self,
        image: ImageLike,
        signal: Tensor,
        initial: Tensor,
        *,
        samples: int = 8,
        steps: int = MOST_STEPS,
        seed: int = 0,
        memory: int | str = DEFAULT_MEMORY,
        progress: ProgressLike = None,
    ) -> Refined:
        """Refine upsampled features, each image by itself; nothing is differentiable.

        Args:
            image: RGB or grey, of any size.
            signal: [B, C, h, w], the features.
            initial: [B, C, H, W], upsampled from them.
            samples: how many, from 2 on.
            steps: of each sample, from 1 to 10; see `sampling.py`.
            seed: of the noise, which is the same for each image of a batch.
            memory: bytes of working memory, or a text such as `"1GB"`, beside the result and the sampled residuals:
                a map of `scale` times the features' resolution for each component and sample.
            progress: called after each step.

        Raises:
            InputError: an argument is none of these, the image has other than one or three channels, or `memory` is too
                little for some rows of one map.
            MissingPackageError: diffusers is not installed.
        """
        signal, initial = check_finite(as_signal(signal)), check_finite(as_signal(initial, "initial"), "initial")
        size = initial.shape[2], initial.shape[3]
        guidance, _ = check_image(image, (signal.shape[2], signal.shape[3]), size)
        _check_batch(guidance, signal, initial)
        check_number("samples", samples, 2, 1000, whole=True)
        check_number("steps", steps, 1, MOST_STEPS, whole=True)
        check_number("seed", seed, 0, 2**63 - 1, whole=True)
        limit = parse_memory(memory)
        self.to(signal.device)
        guidance = guidance.to(signal.device, torch.float32).expand(len(signal), 3, -1, -1)
        mean, spread, residuals = initial.clone(), [], []
        with enough_memory(), _counted(progress, len(signal) * steps) as step:
            for view, features, refined in zip(guidance.split(1), signal.float(), mean, strict=True):
                components, conditions = self.conditions(view, features, refined.float())
                shape = samples, len(conditions), *conditions.shape[2:]
                noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(signal.device)
                relative = components.deviations / components.deviations[:1]
                sampled, expected = sample_residuals(
                    self.denoiser, noise, conditions, relative, steps=steps, memory=limit, step=step
                )
                residuals.append(Residuals(components, sampled, expected))
                residuals[-1].add_mean(refined, limit)
                spread.append(residuals[-1].spread(size).to(initial.dtype))
        return Refined(mean, torch.stack(spread), Samples(mean, residuals))

    @torch.no_grad()
    def conditions(self, guidance: Tensor, features: Tensor, initial: Tensor) -> tuple[PrincipalComponents, Tensor]:
        """Compute an image's components, and the conditions of their residuals at the resolution of the denoiser.

        Args:
            guidance: [1, 3, Y, X] in 0..1.
            features: [C, h, w].
            initial: [C, H, W].

        Returns:
            The components, K of them; and [K, 9, H', W'].
        """
        rows, columns = (
            min(round(self.scale * cells), side)
            for cells, side in zip(features.shape[1:], initial.shape[1:], strict=True)
        )
        components = PrincipalComponents.of(features, self.components)
        return components, conditions_of(guidance, features, cell_means(initial[None], (rows, columns))[0], components)


def _check_batch(guidance: Tensor, signal: Tensor, initial: Tensor) -> None:
    """Refuse an image and an initial result that do not go with the features."""
    check_channels(guidance)
    if not initial.is_floating_point():
        raise InputError("initial", "is of type {dtype}", "floating point", dtype=initial.dtype)
    if initial.shape[:2] != signal.shape[:2] or len(guidance) not in (1, len(signal)):
        raise InputError(
            "signal",
            "has the shape {shape}, with {images} images and an initial result {initial}",
            "one image or one for each signal, and results of the same images and channels",
            shape=list(signal.shape),
            images=len(guidance),
            initial=list(initial.shape),
        )


def _interpolated(maps: Tensor, size: Size) -> Tensor:
    """Interpolate maps [C, h, w] bilinearly to a size."""
    return maps if maps.shape[1:] == size else F.interpolate(maps[None], size, mode="bilinear")[0]


@contextmanager
def _counted(progress: ProgressLike, count: int) -> Iterator[Callable[[], None]]:
    """Yield what counts steps, of so many, and shows them."""
    start, done = perf_counter(), 0
    with shown(progress, "refine") as show:

        def step() -> None:
            nonlocal done
            done += 1
            if show is not None:
                show(Progress(done, count, (perf_counter() - start) * (count - done) / done))

        yield step
