"""The tasks `probe-…`: what a linear probe reads off upsampled features, at every pixel (arXiv 2510.12764, section 4).

A probe is fitted either to each method's own results for other images, which asks whether what is wanted is in them, or
to the low-resolution features as they are (`…-lr`), which asks whether results still mean what the features meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.evaluation.probes import LinearProbe
from omniup.mixing import cell_means
from omniup.upsamplers import Upsampler
from omniup.upsamplers.base import Size
from omniup_bench.street_scenes import FEATURES, scaled, street_scenes
from omniup_bench.task import Read, Sample, Statistics

Fit: TypeAlias = Callable[[Tensor, Tensor, Tensor], LinearProbe]
"""Of vectors [n, C], targets [n, K] times their counts, and counts [n]."""

FittedTo: TypeAlias = Literal["results", "features"]
FITTED_TO: tuple[FittedTo, ...] = ("results", "features")

EVERY = 7
"""Of the results' rows and columns, one that a probe is fitted to; no divisor of a factor, so that all parts of a cell
occur."""


@dataclass(frozen=True, eq=False)
class Example:
    """An image, and what a probe should read at its pixels.

    Attributes:
        name: of the image.
        image: [1, 3, H, W] in 0..1.
        target: [1, K, H, W].
        counts: [1, 1, H, W], 1 where the target counts, else 0.
        judge: compares what was read, [1, K, H', W'], with the truth.
        size: (H', W') of the result to judge; the image's own if None.
    """

    name: str
    image: Tensor
    target: Tensor
    counts: Tensor
    judge: Callable[[Tensor], Statistics]
    size: Size | None = None


class Truth(Protocol):
    """What a probe is to read.

    Attributes:
        name: in one word; and where results are not of the image's size, after an @, how large they are beside it.
        images: which they are, in a few.
        factors: as of a `Task`.
        metrics: as of a `Task`.
        fit: fits the probe.
    """

    name: str
    images: str
    factors: tuple[int, ...]
    metrics: Mapping[str, bool]
    fit: Fit

    def fitting(self, data: Path) -> Iterator[Example]:
        """The images that probes are fitted to. A probe that is judged on one of them is fitted to the others."""

    def judging(self, data: Path, count: int | None) -> Iterator[Example]:
        """The images to judge on."""

    def scores(self, totals: Statistics) -> dict[str, float]:
        """As of a `Task`."""


class Probe:
    """A linear probe on a street-scene network's features, which lies beside the folder of data; see `street_scenes`.

    Args:
        truth: what it is to read.
        fitted_to: `results` of each method, or the low-resolution `features`.
    """

    signal: Literal["measurement", "prediction"] = "prediction"

    def __init__(self, truth: Truth, fitted_to: FittedTo) -> None:
        self.truth, self.fitted_to = truth, fitted_to
        name, at, part = truth.name.partition("@")
        self.name = f"probe-{name}{'' if fitted_to == 'results' else '-lr'}{at}{part}"
        source = "the upsampled" if fitted_to == "results" else "the low-resolution"
        self.summary = f"{name} by a linear probe that was fitted to {source} features ({truth.images})"
        self.factors, self.metrics = truth.factors, truth.metrics
        self._learnt: dict[tuple[Path, int], Read] = {}  # what no method has a part in

    def samples(self, data: Path, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images; see `Task`. Judges take what a probe has read."""
        network = street_scenes(data)
        for example in self.truth.judging(data, count):
            features = scaled(network, example.image, factor, FEATURES)
            yield Sample(example.name, example.image, features, example.judge, example.size)

    def learn(self, method: Upsampler, data: Path, factor: int) -> Read:
        """Fit the probe; see `Learner`."""
        if self.fitted_to == "results":
            return self._fit(method, data, factor)
        if (data, factor) not in self._learnt:
            self._learnt[data, factor] = self._fit(None, data, factor)
        return self._learnt[data, factor]

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Of all images' pixels together; see `Task`."""
        return self.truth.scores(totals)

    def _fit(self, method: Upsampler | None, data: Path, factor: int) -> Read:
        """Gather vectors of the method's results, or of the features where there is none."""
        network = street_scenes(data)
        seen: dict[str, tuple[Tensor, ...]] = {}  # by image: vectors [n, C], targets [n, K] times counts, counts [n]
        for example in self.truth.fitting(data):
            features = scaled(network, example.image, factor, FEATURES)
            if method is None:
                size = features.shape[2], features.shape[3]
                maps = features, *(cell_means(each, size) for each in (example.target * example.counts, example.counts))
            else:
                result = method(example.image, features).cpu()
                whole = result, example.target * example.counts, example.counts
                first = EVERY // 2
                maps = tuple(each[:, :, first::EVERY, first::EVERY] for each in whole)
            vectors, targets, counts = (each[0].flatten(1).T.contiguous() for each in maps)
            seen[example.name] = vectors, targets, counts[:, 0]
        return _Reader(seen, self.truth.fit)


class _Reader:
    """Reads with a probe that has not seen the image."""

    def __init__(self, seen: Mapping[str, tuple[Tensor, ...]], fit: Fit) -> None:
        self.seen, self.fit = seen, fit
        self.probes: dict[str | None, LinearProbe] = {}  # by the image that was left out

    def __call__(self, name: str, result: Tensor) -> Tensor:
        left_out = name if name in self.seen else None
        if left_out not in self.probes:
            kept = [maps for other, maps in self.seen.items() if other != left_out]
            if not kept:
                raise InputError(f"data: {name} is the only image to fit a probe to; accepted are two or more")
            vectors, targets, counts = (torch.cat(parts) for parts in zip(*kept, strict=True))
            self.probes[left_out] = self.fit(vectors, targets, counts)
        return self.probes[left_out].read(result)
