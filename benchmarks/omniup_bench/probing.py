"""Define the tasks `probe-…`: linear probes on upsampled features, at every pixel (arXiv 2510.12764, section 4).

A probe is fitted either to each method's own results for other images, which tests whether they hold the information,
or to the low-resolution features (`…-lr`), which tests whether upsampling keeps the features' meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.evaluation.probes import LinearProbe
from omniup.mixing import cell_means
from omniup.upsamplers import SignalType
from omniup_bench.data import Folders
from omniup_bench.networks import STREET_SCENES, described, features, suffix
from omniup_bench.task import Read, Sample, Statistics, Upsample

Regression: TypeAlias = Callable[[Tensor, Tensor, Tensor], LinearProbe]
"""Function that fits a probe to vectors [n, C], targets [n, K] times their counts, and counts [n]."""

FittedTo: TypeAlias = Literal["results", "features"]

EVERY = 7
"""Step between the rows and columns of results that a probe is fitted to; coprime to the factors, so that all parts of
a cell occur."""


@dataclass(frozen=True, eq=False)
class Example:
    """An image with a probe's target at its pixels.

    Attributes:
        name: of the image.
        image: [1, 3, H, W] in 0..1.
        target: [1, K, H, W].
        counts: [1, 1, H, W], 1 where the target is known, else 0.
        evaluate: function that compares what was read, [1, K, H', W'], with the ground truth.
        size: (H', W') of the result; the image's own if None.
    """

    name: str
    image: Tensor
    target: Tensor
    counts: Tensor
    evaluate: Callable[[Tensor], Statistics]
    size: tuple[int, int] | None = None


class ProbeTarget(Protocol):
    """A quantity that probes read from features.

    Attributes:
        name: in one word; for results smaller than the image, followed by @ and the ratio of the sides.
        images: a few words on the images.
        factors: as of a `Task`.
        metrics: as of a `Task`.
        regression: function that fits a probe.
    """

    name: str
    images: str
    factors: tuple[int, ...]
    metrics: Mapping[str, bool]
    regression: Regression

    def fitting(self, folders: Folders) -> Iterator[Example]:
        """Read the images that probes are fitted to; for an image among them, the probe is fitted to the others."""

    def evaluation(self, folders: Folders, count: int | None) -> Iterator[Example]:
        """Read the images to evaluate on."""

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Compute scores; as of a `Task`."""


class Probe:
    """A linear probe on a network's features.

    Args:
        target: the quantity that it reads.
        fitted_to: `results` of each method, or the low-resolution `features`.
        encoder: see `feature_network`.
    """

    signal_type: SignalType = "features"

    def __init__(self, target: ProbeTarget, fitted_to: FittedTo, encoder: str = STREET_SCENES) -> None:
        self.target, self.fitted_to, self.encoder = target, fitted_to, encoder
        name, at, ratio = target.name.partition("@")
        self.name = f"probe-{name}{'' if fitted_to == 'results' else '-lr'}{at}{ratio}{suffix(encoder)}"
        source = "the upsampled" if fitted_to == "results" else "the low-resolution"
        self.summary = f"{name} by a linear probe fitted to {source} features of {described(encoder)} ({target.images})"
        self.factors, self.metrics = target.factors, target.metrics
        self._fitted: dict[tuple[Folders, int], Read] = {}  # to features: the same for all methods

    def samples(self, folders: Folders, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images, which evaluate what a probe has read; see `Task`."""
        for example in self.target.evaluation(folders, count):
            low = features(self.encoder, example.image, factor, folders.models)
            yield Sample(example.name, example.image, low, example.evaluate, example.size)

    def fit(self, upsample: Upsample, folders: Folders, factor: int) -> Read:
        """Fit the probe; see `FittedTask`."""
        if self.fitted_to == "results":
            return self._fit(upsample, folders, factor)
        if (folders, factor) not in self._fitted:
            self._fitted[folders, factor] = self._fit(None, folders, factor)
        return self._fitted[folders, factor]

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Score all images' pixels together; see `Task`."""
        return self.target.scores(totals)

    def _fit(self, upsample: Upsample | None, folders: Folders, factor: int) -> Read:
        """Gather vectors of upsampled features, or of the features themselves without an upsampling."""
        seen: dict[str, tuple[Tensor, ...]] = {}  # by image: vectors [n, C], targets [n, K] times counts, counts [n]
        for example in self.target.fitting(folders):
            low = features(self.encoder, example.image, factor, folders.models)
            if upsample is None:
                size = low.shape[2], low.shape[3]
                maps = low, *(cell_means(each, size) for each in (example.target * example.counts, example.counts))
            else:
                result = upsample(example.image, low, None)
                whole = result, example.target * example.counts, example.counts
                first = EVERY // 2
                maps = tuple(each[:, :, first::EVERY, first::EVERY] for each in whole)
            vectors, targets, counts = (each[0].flatten(1).T.contiguous() for each in maps)
            seen[example.name] = vectors, targets, counts[:, 0]
        return _Reader(seen, self.target.regression)


class _Reader:
    """Read with a probe that was not fitted to the image."""

    def __init__(self, seen: Mapping[str, tuple[Tensor, ...]], regression: Regression) -> None:
        self.seen, self.regression = seen, regression
        self.probes: dict[str | None, LinearProbe] = {}  # by the image that was left out

    def __call__(self, name: str, result: Tensor) -> Tensor:
        left_out = name if name in self.seen else None
        if left_out not in self.probes:
            kept = [maps for other, maps in self.seen.items() if other != left_out]
            if not kept:
                raise InputError("data", "has no image but {name} to fit a probe to", "two or more", name=name)
            vectors, targets, counts = (torch.cat(parts) for parts in zip(*kept, strict=True))
            self.probes[left_out] = self.regression(vectors, targets, counts)
        return self.probes[left_out].read(result)
