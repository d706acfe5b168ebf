"""Fit the calibrations of `omniup.upsamplers.confidence`, and measure what confidences are worth.

    python benchmarks/confidence.py fit --data DIR       # prints the constants, from images for tuning
    python benchmarks/confidence.py report --data DIR    # prints the tables of docs/confidence.md, from others

Measurements are depth, canopy heights, and a region of each segmented photograph; in the report also its smoothed
lightness. Depth and canopy heights have two images each and no split: there both are fitted to, and `fit` also prints
what one is worth on the other.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.mixing import DEFAULT_MEMORY, cell_means
from omniup.upsamplers import SignalType, upsampler
from omniup.upsamplers.confidence import (
    Calibration,
    feature_cues,
    is_mask,
    label_cues,
    mask_cues,
    measurement_cues,
    probability_cues,
)
from omniup_bench.calibration import (
    Outcomes,
    class_outcomes,
    confidence_scores,
    confidence_sums,
    feature_outcomes,
    measurement_outcomes,
    reliability_curve,
)
from omniup_bench.data import (
    CLASSES,
    Folders,
    Split,
    bsds_folder,
    canopy_scenes,
    depth_pairs,
    grid_of,
    labelled_images,
    street_scenes,
)
from omniup_bench.dense import DenseFeatures
from omniup_bench.networks import IMAGENET, STREET_SCENES, probabilities
from omniup_bench.quality import total
from omniup_bench.task import Statistics

IMAGES = 5
"""Number of images of each data set, the first ones."""

PIXELS = 8000
"""Number of pixels of each result that are fitted to."""

DEFAULT_WEIGHT = 8.0
"""Weight of results of the default method; those of the others have 1."""

FITTED = ("pyramid_bilateral", "bilinear", "bicubic", "joint_bilateral", "guided_filter")
"""Methods that the calibrations are fitted to, the default first."""

REPORTED = (*FITTED, "nearest", "anyup")
"""Methods in the report; the last, with the weights `paper`, at 16× only."""

SMOOTH = 32
"""Pixels to a cell of what is kept of smooth fields, 32."""

RIDGE = 1e-3
"""Penalty of the squared weights of cues, in their standard deviations."""


@dataclass(frozen=True, eq=False)
class Case:
    """A signal to upsample and what its result is compared with.

    Attributes:
        data: name of the data.
        factor: pixels to a cell.
        index: of the image.
        image: [1, G, H, W].
        signal: [1, C, h, w].
        signal_type: of the signal.
        outcomes: function from a result to its outcomes.
        size: (H', W') of the result; the image's own if None.
    """

    data: str
    factor: int
    index: int
    image: Tensor
    signal: Tensor
    signal_type: SignalType
    outcomes: Callable[[Tensor], Outcomes]
    size: tuple[int, int] | None = None


def cases(signal_type: SignalType, split: Split, folders: Folders) -> Iterator[Case]:
    """Read what the calibration of a type is fitted to, or measured on."""
    if signal_type in ("probabilities", "labels"):
        for index, scene in enumerate(street_scenes(folders, split, IMAGES)):
            for factor in (4, 8, 16, 32):
                yield _street_case(signal_type, index, factor, scene.image, scene.labels, folders)
    elif signal_type == "measurement":
        for data, pairs in (("depth", depth_pairs(folders)), ("canopy", canopy_scenes(folders))):
            for index, (_, image, truth) in enumerate(pairs):
                for factor in (4, 8, 16, 32) if data == "depth" else (4, 8, 16):
                    yield _measurement_case(data, index, factor, image, truth)
        for index, picture in enumerate(labelled_images(folders, bsds_folder(split), ".segments.png", IMAGES)):
            largest = np.bincount(picture.labels.flatten()).argmax()
            truth = torch.from_numpy(picture.labels == largest).float()[None, None]
            for factor in (4, 8, 16, 32):
                yield _measurement_case("masks", index, factor, picture.image, truth)
            for factor in (4, 8, 16) if split == "val" else ():  # see the document: fitting to these spoils others
                yield _measurement_case("smooth", index, factor, picture.image, _smooth(picture.image))
    else:
        yield from _feature_cases("moved", split, folders)


def _feature_cases(reference: str, split: Split, folders: Folders) -> Iterator[Case]:
    for encoder in (STREET_SCENES, IMAGENET):
        task = DenseFeatures("moved" if reference == "moved" else "enlarged", split, encoder)
        for factor in task.factors:
            for index, (picture, low, target) in enumerate(task.pairs(folders, factor, IMAGES)):

                def compare(result: Tensor, target: Tensor = target) -> Outcomes:
                    return feature_outcomes(result, target)

                size = target.shape[2], target.shape[3]
                yield Case(task.name, factor, index, picture.image, low, "features", compare, size)


def _street_case(
    signal_type: SignalType, index: int, factor: int, image: Tensor, truth: NDArray[np.int64], folders: Folders
) -> Case:
    if signal_type == "probabilities":
        low = probabilities(image, factor, folders.models)
        return Case(signal_type, factor, index, image, low, signal_type, lambda made: class_outcomes(made, truth))
    classes = F.one_hot(torch.from_numpy(truth) + 1, CLASSES + 1).permute(2, 0, 1)[None].float()  # none is the first
    low = cell_means(classes, grid_of(image, factor)).argmax(1, keepdim=True) - 1  # [1, 1, h, w]

    def compare(result: Tensor) -> Outcomes:
        return class_outcomes(F.one_hot(result[0, 0] + 1, CLASSES + 1).permute(2, 0, 1)[None, 1:].float(), truth)

    return Case("labels", factor, index, image, low, "labels", compare)


def _measurement_case(data: str, index: int, factor: int, image: Tensor, truth: Tensor) -> Case:
    low = cell_means(truth, grid_of(image, factor))
    return Case(data, factor, index, image, low, "measurement", lambda made: measurement_outcomes(made, truth, low))


def _smooth(image: Tensor) -> Tensor:
    """Make a field without edges, like one of temperatures, of an image: its lightness, of which few cells are kept."""
    lightness = cell_means(image.mean(1, keepdim=True), grid_of(image, SMOOTH))  # [1, 1, h, w]
    return F.interpolate(lightness, (image.shape[2], image.shape[3]), mode="bicubic")


TYPES: tuple[SignalType, ...] = ("probabilities", "labels", "measurement", "features")

CUES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "probabilities": probability_cues,
    "labels": label_cues,
    "measurement": measurement_cues,
    "mask": mask_cues,
    "features": lambda result, signal: feature_cues(result, signal, DEFAULT_MEMORY),
}
"""By the names of the calibrations: measurements have two."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """Some pixels of a result.

    Attributes:
        case: what was upsampled, its data, factor and image's index.
        calibration: name of the one that applies, in `CUES`.
        method: what it was upsampled by.
        cues: [n, K].
        outcomes: of the n pixels, all valid.
    """

    case: tuple[str, int, int]
    calibration: str
    method: str
    cues: NDArray[np.float64]
    outcomes: Outcomes


def sample(signal_type: SignalType, folders: Folders) -> Iterator[Sampled]:
    """Upsample the cases for tuning by all methods, and choose pixels at random."""
    random = np.random.default_rng(0)
    for case in cases(signal_type, "tune", folders):
        calibration = "mask" if signal_type == "measurement" and is_mask(case.signal) else signal_type
        for method in FITTED:
            grid = case.signal.shape[2], case.signal.shape[3]
            result = upsampler(method).prepare(case.image, grid, case.size).render(case.signal, case.signal_type)
            found = case.outcomes(result)
            cues = CUES[calibration](result, case.signal)[0].double().permute(1, 2, 0).numpy()[found.valid]  # [n, K]
            chosen = random.permutation(len(cues))[:PIXELS]
            valid = np.ones((1, len(chosen)), dtype=bool)
            outcomes = Outcomes(valid, found.outcome[chosen], found.error[chosen])
            yield Sampled((case.data, case.factor, case.index), calibration, method, cues[chosen], outcomes)


def fit(samples: Sequence[Sampled], with_products: bool) -> Calibration:
    """Fit a calibration by Newton's method: logistic regression of the outcome, each data set with the same weight."""
    cues = np.concatenate([each.cues for each in samples])  # [n, K]
    outcome = np.concatenate([each.outcomes.outcome for each in samples])
    parts = Counter(each.case[0] for each in samples)
    factors = [(DEFAULT_WEIGHT if each.method == FITTED[0] else 1.0) / parts[each.case[0]] for each in samples]
    weight = np.concatenate([np.full(len(each.cues), factor) for each, factor in zip(samples, factors, strict=True)])
    weight /= weight.sum()
    mean = weight @ cues
    deviation = np.sqrt(weight @ (cues - mean) ** 2)
    scaled = (cues - mean) / deviation
    products = scaled[:, :-1] * scaled[:, -1:] if with_products else scaled[:, :0]
    terms = np.concatenate([np.ones((len(cues), 1)), scaled, scaled**2, products], axis=1)
    penalty = RIDGE * np.eye(terms.shape[1])
    penalty[0, 0] = 0
    found = np.zeros(terms.shape[1])
    for _ in range(15):
        chance = 1 / (1 + np.exp(-np.clip(terms @ found, -30, 30)))
        slope = terms.T @ (weight * (outcome - chance)) - penalty @ found
        curvature = (terms * (weight * (chance * (1 - chance) + 1e-4))[:, None]).T @ terms + penalty
        found = found + np.linalg.solve(curvature, slope)
    first, second, mixed = np.split(found[1:], [cues.shape[1], 2 * cues.shape[1]])
    squares = second / deviation**2
    slopes = first / deviation - 2 * mean * squares
    bias = found[0] - (first * mean / deviation).sum() + (squares * mean**2).sum()
    if with_products:
        mixed = mixed / (deviation[:-1] * deviation[-1])
        slopes[:-1] -= mixed * mean[-1]
        slopes[-1] -= (mixed * mean[:-1]).sum()
        bias += (mixed * mean[:-1]).sum() * mean[-1]
    return Calibration(_rounded([bias])[0], _rounded(slopes), _rounded(squares), _rounded(mixed))


def _rounded(numbers: Sequence[float] | NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{number:.4g}") for number in numbers)


def show_fit(folders: Folders) -> None:
    """Print the constants, and how they do on the pixels that they were fitted to."""
    for signal_type in TYPES:
        by_calibration: dict[str, list[Sampled]] = defaultdict(list)
        for each in sample(signal_type, folders):
            by_calibration[each.calibration].append(each)
        for name, samples in by_calibration.items():
            with_products = name == "measurement"
            calibration = fit(samples, with_products)
            print(f"{name.upper()} = {calibration}", flush=True)
            _print_scores(_scores(samples, calibration))
            for index in (0, 1) if name == "measurement" else ():
                print(f"fitted without image {index} of each, measured on it:")
                kept = fit([each for each in samples if each.case[2] != index], with_products)
                _print_scores(_scores([each for each in samples if each.case[2] == index], kept))


def _scores(samples: Sequence[Sampled], calibration: Calibration) -> dict[tuple[str, str], list[Statistics]]:
    found: dict[tuple[str, str], list[Statistics]] = defaultdict(list)
    for each in samples:
        cues = torch.from_numpy(each.cues).T[None, :, None]  # [1, K, 1, n]
        found[each.case[0], each.method].append(confidence_sums(calibration(cues), each.outcomes))
    return found


def report(folders: Folders) -> None:
    """Print the tables: scores of each method, and the reliability curves of the default one."""
    found: dict[tuple[str, str], list[Statistics]] = defaultdict(list)
    for signal_type in TYPES:
        _measure(cases(signal_type, "val", folders), folders, found)
    _measure((case for case in _feature_cases("enlarged", "val", folders)), folders, found)
    _print_scores(found)
    print("\n| data | " + " | ".join(f"{bin_ / 10:.1f}" for bin_ in range(10)) + " |")
    for (data, method), statistics in found.items():
        if method == FITTED[0]:
            bins = np.asarray(total(statistics)["reliability"])
            share = bins[0] / bins[0].sum()
            points = zip(*reliability_curve(bins), share, strict=True)
            texts = (f"{x:.2f} → {y:.2f}" if part >= 0.01 else "" for x, y, part in points)
            print(f"| {data} | " + " | ".join(texts) + " |")


def _measure(some: Iterator[Case], folders: Folders, found: dict[tuple[str, str], list[Statistics]]) -> None:
    for case in some:
        for method in REPORTED if case.factor == 16 else REPORTED[:-1]:  # AnyUp takes much longer than the others
            settings = {"weights": folders.weights / "anyup_paper.pth"} if method == "anyup" else {}
            try:
                grid = case.signal.shape[2], case.signal.shape[3]
                prepared = upsampler(method, **settings).prepare(case.image, grid, case.size)
            except InputError as error:  # guidance of four bands
                print(f"{case.data}: {method}: {error}")
                continue
            result = prepared.render(case.signal, case.signal_type)
            confidence = prepared.confidence(case.signal, case.signal_type)
            found[case.data, method].append(confidence_sums(confidence, case.outcomes(result)))
    print(end="", flush=True)


def _print_scores(found: Mapping[tuple[str, str], Sequence[Statistics]]) -> None:
    print("| data | method | rank correlation | mean deviation | largest deviation |\n|---|---|---|---|---|")
    for (data, method), statistics in found.items():
        scores = confidence_scores(total(statistics))
        print(f"| {data} | `{method}` | " + " | ".join(f"{score:.2f}" for score in scores.values()) + " |", flush=True)


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("fit", "report"))
    parser.add_argument("--data", type=Path, required=True, help="the folder of data sets")
    arguments = parser.parse_args()
    action = show_fit if arguments.action == "fit" else report
    action(Folders.of(arguments.data))


if __name__ == "__main__":
    main()
