"""Refine AnyUp's results by diffusion: whether the spread of the samples ranks the errors, and whether the mean helps.

    python benchmarks/refinement.py DIR

Trains a refiner on ImageNet's and BSDS500's photographs for training, on real features at strides 8, 16 and 32, a
random network's and HOG's, without the street-scene network's. Then measures it on photographs of BSDS500's validation
split: features of the photograph reduced to half, upsampled to the grid of the photograph's own features, and compared
with these. And against another reference than it was trained on, `dense-moved` of docs/benchmarking.md. A training that
is there already is not repeated, one that was stopped goes on. DIR is the folder of data sets that docs/benchmarking.md
describes, with the folders models and weights beside it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from measure import show
from omniup import AnyUp
from omniup.training.anyup.backbones import Backbone, build
from omniup.training.anyup.configuration import DescriptorSettings
from omniup.training.photographs import measured_squares, reduce
from omniup.training.refiner import Configuration, Progress, train
from omniup.upsamplers.anyup import Refiner
from omniup.upsamplers.anyup.refinement.components import PrincipalComponents
from omniup_bench.calibration import rank_correlation
from omniup_bench.data import Folders
from omniup_bench.dense import DenseFeatures
from omniup_bench.networks import IMAGENET, STREET_SCENES
from omniup_bench.street_network import FILE

STREET = Path(__file__).with_name("street_backbone.py")
LITE0 = "tf_efficientnet_lite0"
BINS = 8
CPU = torch.device("cpu")

Pair: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Guidance [1, 3, Y, X], features [1, C, h, w] and the truth [1, C, H, W]."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Measurements of one photograph with one backbone.

    Attributes:
        before: root mean square error of AnyUp's result, relative to the deviation of the truth.
        after: that of the mean of the samples.
        confidence: rank correlation of the error of AnyUp's result with 1 - its confidence.
        spread: rank correlation of the error of the mean with the spread.
        ratio: root mean square of the spread, of the error of the mean within the components that are refined.
        seconds: of the refinement.
        points: [2, N], spread and that error at each pixel, relative to the features' deviation.
    """

    before: float
    after: float
    confidence: float
    spread: float
    ratio: float
    seconds: float
    points: np.ndarray[Any, np.dtype[np.float64]]


def main() -> None:
    """Train what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=Path("out/refinement"), help="where the training is")
    parser.add_argument("--refiner", type=Path, help="a refiner that is there, in place of the training")
    parser.add_argument("--photographs", type=int, default=20, help="how many are measured on")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--sampling-steps", type=int, default=10)
    parser.add_argument("--steps", type=int, default=800, help="of the training")
    options = parser.parse_args()

    folders = Folders.of(options.data)
    configuration = configure(folders, options.steps)
    refiner = Refiner.from_pretrained(options.refiner or _trained(configuration, options.output))
    anyup = AnyUp.from_pretrained(configuration.anyup)
    squares = measured_squares([str(folders.data / "bsds500/val")], options.photographs, configuration.data.image_size)
    sampling = {"samples": options.samples, "steps": options.sampling_steps}
    found: dict[str, list[Measured]] = {}
    for settings in configuration.backbones:
        if isinstance(settings, DescriptorSettings) or settings.weights == "random":
            continue  # these are there to be trained on; gains on them are not worth much (docs/training.md)
        name = f"{settings.name}{', held out' if settings.held_out else ''}"
        side = configuration.data.input_size
        found[name] = list(measure(refiner, anyup, enlarged(build(settings, CPU), squares, side), sampling))
        print(f"{name}: measured", flush=True)
    for encoder in (IMAGENET, STREET_SCENES):
        found[f"{encoder}, moved"] = list(
            measure(refiner, anyup, moved(encoder, folders, options.photographs), sampling)
        )
        print(f"{encoder}, moved: measured", flush=True)
    _show_scores(found)
    _show_curves(found)


def configure(folders: Folders, steps: int) -> Configuration:
    """Configure the training."""
    lite0 = {"kind": "timm", "model": LITE0, "weights": str(folders.models.resolve() / f"{LITE0}.safetensors")}
    street = {"kind": "local", "function": f"{STREET.resolve()}:load", "weights": str(folders.models.resolve() / FILE)}
    return Configuration.model_validate(
        {
            "data": {
                "images": [str(folders.data.resolve() / name) for name in ("bsds500/train", "imagenet/train")],
                "image_size": 320,
                "input_size": 160,
                "crop_size": 320,  # the whole square: a second pass of the backbone, and AnyUp's is the costly one
                "crops": 1,
            },
            "backbones": [
                *(lite0 | {"layer": layer, "patch": patch} for layer, patch in ((2, 8), (3, 16), (4, 32))),
                {"kind": "timm", "model": "resnet18", "layer": 2, "patch": 8},
                {"kind": "hog", "patch": 8},
                *(street | {"output": output, "patch": patch, "held_out": True} for output, patch in ((0, 8), (1, 16))),
            ],
            "anyup": str(folders.weights.resolve() / "anyup_multi_backbone.pth"),
            "checkpoints": {"every": 50, "keep": 2},
            "precision": "bf16",
            "steps": steps,
        }
    )


def enlarged(backbone: Backbone, squares: Tensor, side: int) -> Iterator[Pair]:
    """Give photographs [N, 3, S, S], reduced, with their features and those of the photograph itself."""
    for image in squares.split(1):
        guidance = reduce(image, side)
        yield guidance, backbone(guidance), backbone(image)


def moved(encoder: str, folders: Folders, count: int) -> Iterator[Pair]:
    """Give street scenes with features at stride 16 and those of the scene moved by parts of a cell."""
    for picture, features, truth in DenseFeatures("moved", "val", encoder).pairs(folders, 16, count):
        yield picture.image, features, truth


@torch.no_grad()
def measure(refiner: Refiner, anyup: AnyUp, pairs: Iterator[Pair], sampling: dict[str, int]) -> Iterator[Measured]:
    """Measure one photograph after the other."""
    for guidance, features, truth in pairs:
        prepared = anyup.prepare(guidance, (features.shape[2], features.shape[3]), (truth.shape[2], truth.shape[3]))
        initial = prepared.render(features, "features")
        confidence = prepared.confidence(features, "features")
        start = time.process_time()
        refined = refiner(guidance, features, initial, **sampling)
        seconds = time.process_time() - start
        components = PrincipalComponents.of(features[0], refiner.components)
        before, after = (_lengths(made - truth) for made in (initial, refined.mean))
        within = _lengths(torch.einsum("kc,bchw->bkhw", components.directions, refined.mean - truth))
        spread = refined.spread.flatten().double().numpy() * math.sqrt(features.shape[1])
        unit, deviation = (
            _root_mean_square(_lengths(maps - maps.mean((2, 3), keepdim=True))) for maps in (features, truth)
        )
        yield Measured(
            _root_mean_square(before) / deviation,
            _root_mean_square(after) / deviation,
            rank_correlation(confidence.flatten().double().numpy(), before),
            rank_correlation(-spread, after),
            _root_mean_square(spread) / _root_mean_square(within),
            seconds,
            np.stack([spread, within]) / unit,
        )


def _trained(configuration: Configuration, folder: Path) -> Path:
    """Train the refiner, from where an interrupted training stopped, and return its weights."""

    def report(progress: Progress) -> None:
        if progress.step % 50 == 0:
            print(f"step {progress.step} of {progress.steps}: {progress.losses['loss']:.3f}", flush=True)

    outcome = train(configuration, folder, resume=True, progress=report)
    if outcome.weights is None:
        raise SystemExit(f"stopped after step {outcome.step}; the same command goes on")
    return outcome.weights


def _show_scores(found: dict[str, list[Measured]]) -> None:
    header = ["backbone", "error of AnyUp", "of the mean", "change, %", "ρ of 1 - confidence", "ρ of the spread"]
    header += ["spread / error", "seconds"]
    rows = []
    for name, measured in found.items():
        change = [100 * (each.after / each.before - 1) for each in measured]
        columns = [[getattr(each, field) for each in measured] for field in ("before", "after", "confidence", "spread")]
        before, after, confidence, spread = columns
        row = [name, f"{np.mean(before):.3f}", f"{np.mean(after):.3f}", _interval(change, 1)]
        row += [_interval(confidence, 2), _interval(spread, 2)]
        row += [f"{np.mean([each.ratio for each in measured]):.2f}"]
        rows.append([*row, f"{np.mean([each.seconds for each in measured]):.1f}"])
    show("Refined results against the truth (± 95 % interval over photographs)", header, rows, CPU)


def _show_curves(found: dict[str, list[Measured]]) -> None:
    """Print the calibration curves: pixels in bins of equal number by their spread, and the error in each."""
    rows = []
    for name, measured in found.items():
        spread, error = np.concatenate([each.points for each in measured], axis=1)
        bins = np.array_split(np.argsort(spread), BINS)
        rows.append(
            [name, *(f"{_root_mean_square(spread[bin_]):.2f} → {_root_mean_square(error[bin_]):.2f}" for bin_ in bins)]
        )
    header = ["backbone", *(f"{place + 1}/{BINS}" for place in range(BINS))]
    show("Spread → error within the refined components, in deviations of the features", header, rows, CPU)


def _interval(values: Sequence[float], digits: int) -> str:
    mean, half = np.mean(values), 1.96 * np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{mean:+.{digits}f} ± {half:.{digits}f}"


def _lengths(maps: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Compute the lengths of the vectors of [1, C, H, W]: [H W]."""
    return maps[0].double().norm(dim=0).flatten().numpy()


def _root_mean_square(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Compute the root of the mean square."""
    return float(np.sqrt(np.mean(values**2)))


if __name__ == "__main__":
    main()
