r"""Judge AnyUp's extensions, each against the same training without it, on networks that were trained.

    python benchmarks/extensions.py DIR                                     # screening: all, two seeds, 600 steps
    python benchmarks/extensions.py DIR --extension pyramid --extension implicit --combined \
        --steps 1200 --seeds 3 --held-out ImageNet --held-out "street scenes"

Each training continues the published weights by the recipe examples/anyup_omniup.yaml, without the kinds of backbones
that are held out in turn; then tasks of `omniup bench` are measured with one step of consistency. Differences from the
control are paired: the same images, seed and kind held out; their intervals are over images and trainings. Each is
measured as soon as it is trained. What the file of results has whole is not trained again, here or on another machine;
--results FILE names one to go on from. A training's name there has its steps and a digest of its settings, so that what
another recipe has led to is not taken for it; what was trained by other code is to be taken out by hand. A training
that was stopped goes on. DIR is the folder of data sets that docs/benchmarking.md describes, with the folders models
and weights beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor
from tqdm import tqdm

from measure import show
from omniup import AnyUp
from omniup.training.anyup import read_configuration
from omniup.upsamplers import Upsampler
from omniup.upsamplers.checks import ImageLike, Size
from omniup_bench.catalogue import find_task
from omniup_bench.data import Folders
from omniup_bench.intervals import Estimate
from omniup_bench.methods import Entry
from omniup_bench.quality import measure
from omniup_bench.rankings import Ranking, rankings
from omniup_bench.records import Results, results_file
from trainings import KINDS, RECIPE, recipe_changes, trained

CONTROL, ADAPTED = "control", "adapted control"

INTERPOLATION = "bilinear", "bicubic"

EXTENSIONS: Mapping[str, dict[str, Any]] = {
    CONTROL: {},
    ADAPTED: {},  # the control's weights, adapted to each image: what meta-training is to improve
    "basis": {"model.dynamic_basis": True},
    "pyramid": {"model.pyramid": [0.05, 0.1, 0.2]},
    "implicit": {"model.implicit": True},
    "meta": {"meta.inner_steps": 3},
    "pretraining": {"pretraining.steps": 0.5, "pretraining.scale_consistency": 30},  # steps: of all
}
"""Changes to the recipe. The two that are no part of a training, fusion and refinement, have scripts of their own."""

LITE = "+timm:tf_efficientnet_lite0"
"""Suffix of tasks on features of an ImageNet network."""

TASKS: Mapping[tuple[str, int], tuple[str, ...]] = {
    (f"probe-labels-lr{LITE}", 16): ("miou", "trimap_miou@6"),
    (f"probe-labels-lr{LITE}", 32): ("miou", "trimap_miou@6"),
    (f"dense-moved{LITE}", 16): ("cosine",),
    (f"dense-enlarged{LITE}", 16): ("cosine",),
    ("probe-labels-lr", 16): ("miou", "trimap_miou@6"),
    ("dense-moved", 16): ("cosine",),
    ("dense-enlarged", 16): ("cosine",),
}
"""Metrics of tasks and factors."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A training: an extension, or several joined by +, the kind that is held out, the seed and the steps."""

    extension: str
    held_out: str
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """Name of its rows in the results."""
        recipe = json.dumps([yaml.safe_load(RECIPE.read_text()), self.settings], sort_keys=True)
        digest = hashlib.sha256(recipe.encode()).hexdigest()[:6]
        return f"{self.extension} without {self.held_out} {self.seed} {self.steps} steps {digest}"

    @property
    def folder(self) -> str:
        """Name of the folder that it is trained in."""
        return dataclasses.replace(self, extension=CONTROL).name if self.extension == ADAPTED else self.name

    @property
    def is_adapted(self) -> bool:
        """Whether its network adapts to each image that it is measured on."""
        return self.extension == ADAPTED or "meta" in self.extension.split("+")

    @property
    def settings(self) -> dict[str, Any]:
        """Its changes to the recipe: in float32, so that trainings of different machines can be compared."""
        changes: dict[str, Any] = {"steps": self.steps, "seed": self.seed, "precision": "no"}
        for part in self.extension.split("+"):
            changes |= EXTENSIONS[part]
        if "pretraining.steps" in changes:
            changes["pretraining.steps"] = round(changes["pretraining.steps"] * self.steps)
        return changes

    def changes(self, folders: Folders) -> dict[str, Any]:
        """Return all changes to the recipe, with what lies where on this machine."""
        return recipe_changes(folders, self.held_out) | {"checkpoints.every": 50} | self.settings


def main() -> None:
    """Train and measure what is missing, and print the tables."""
    options = _options()
    folders = Folders.of(options.data)
    wanted = options.extension or [name for name in EXTENSIONS if name != CONTROL]
    rows = [CONTROL, *wanted, *(["+".join(wanted)] if options.combined else [])]
    held_out = options.held_out or ["street scenes"]
    options.output.mkdir(parents=True, exist_ok=True)
    seeds = range(options.seeds)
    runs = [Run(row, kind, seed, options.steps) for seed, kind, row in itertools.product(seeds, held_out, rows)]
    with results_file(options.results or options.output / "results.jsonl") as results:
        for name in INTERPOLATION:
            _measure(Entry.parse(name), folders, results, options.images)
        for run in runs:
            if _is_whole(run, results, options.images):
                continue
            file = trained(read_configuration(RECIPE, run.changes(folders)), options.output / run.folder)
            entry = Entry.parse(f"{run.name}=anyup:{file},consistency=1")
            entry = _AdaptedEntry(*vars(entry).values()) if run.is_adapted else entry
            _measure(entry, folders, results, options.images)
        names = {*INTERPOLATION, *(run.name for run in runs)}
        lines = [line for line in results.quality if line.method in names and (line.task, line.factor) in TASKS]
    _show_differences(rankings(lines), runs, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=Path("out/extensions"), help="where trainings are")
    parser.add_argument("--results", type=Path, help="file of measurements; beside the trainings by default")
    parser.add_argument("--extension", action="append", choices=[name for name in EXTENSIONS if name != CONTROL])
    parser.add_argument("--combined", action="store_true", help="one training more, with all of these at once")
    parser.add_argument("--held-out", action="append", choices=list(KINDS))
    parser.add_argument("--steps", type=int, default=600, help="of each training")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--images", type=int, default=12, help="of camvid/val that are measured on")
    return parser.parse_args()


@dataclasses.dataclass(frozen=True)
class Adapted(Upsampler):
    """AnyUp that adapts to each image and its features.

    Attributes:
        anyup: meta-trained.
        steps: of the adaptation.
    """

    anyup: AnyUp
    steps: int = 3

    def prepare(self, image: ImageLike, grid: Size, size: Size | None = None, **options: Any) -> Any:
        """Wait for the features."""
        return _Waiting(self, image, grid, size, options)


@dataclasses.dataclass(frozen=True)
class _Waiting:
    adapted: Adapted
    image: Any
    grid: Size
    size: Size | None
    options: dict[str, Any]

    def render(self, signal: Tensor, signal_type: str, **options: Any) -> Tensor:
        anyup = self.adapted.anyup.adapt(self.image, signal, self.adapted.steps, consistency=1)
        prepared = anyup.prepare(self.image, self.grid, self.size, **self.options)
        return prepared.render(signal, signal_type, **options, consistency=1)


class _AdaptedEntry(Entry):
    def build(self, weights: Path | None = None) -> Upsampler:
        return Adapted(AnyUp.from_pretrained(self.given["weights"]))


def _is_whole(run: Run, results: Results, images: int) -> bool:
    """Whether all of a training's measurements are there."""
    lines = [line for line in results.quality if line.method == run.name]
    return all(sum((line.task, line.factor) == each for line in lines) >= images for each in TASKS)


def _measure(entry: Entry, folders: Folders, results: Results, images: int) -> None:
    """Measure what is missing of a method."""
    with tqdm(desc=f"measure {entry.name}", total=images * len(TASKS), disable=None) as bar:

        def advance(_: object) -> None:
            bar.update()

        for task, factor in TASKS:
            measure([find_task(task)], [entry], folders, results, factors=[factor], images=images, progress=advance)


def _show_differences(found: list[Ranking], runs: list[Run], rows: list[str]) -> None:
    """Print what rows are above the control: on kinds of backbones that were trained on, and on those held out."""
    for title, is_held_out in (("on kinds that were trained on", False), ("on the kind held out", True)):
        columns = [
            (ranking, metric, chosen)
            for ranking in found
            for metric in TASKS[ranking.task.name, ranking.factor]
            if (chosen := [run for run in runs if (_kind(ranking) == run.held_out) == is_held_out])
        ]
        table = [[row, *(_cell(*column, row) for column in columns)] for row in rows]
        header = ["", *(f"{ranking.task.name} {ranking.factor}×: {metric}" for ranking, metric, _ in columns)]
        if columns:
            show(f"Above the control, {title} ({len(found[0].images)} images)", header, table, torch.device("cpu"))


def _kind(ranking: Ranking) -> str:
    return "ImageNet" if LITE in ranking.task.name else "street scenes"


def _cell(ranking: Ranking, metric: str, runs: list[Run], row: str) -> str:
    scores = {each.method: each.scores for each in ranking.rows}
    own = [run for run in runs if run.extension == row and run.name in scores]
    if not own:
        return ""
    if row == CONTROL:
        return f"{np.mean([scores[run.name].values[metric] for run in own]):.2f}"
    controls = [dataclasses.replace(run, extension=CONTROL) for run in own]
    pairs = [(scores[run.name], scores[control.name]) for run, control in zip(own, controls, strict=True)]
    value = float(np.mean([one.values[metric] - other.values[metric] for one, other in pairs]))
    resampled = np.stack([one.resampled[metric] - other.resampled[metric] for one, other in pairs])  # [runs, resamples]
    drawn = np.random.default_rng(0).integers(len(pairs), size=resampled.shape)  # trainings are drawn again too
    low, high = np.quantile(np.take_along_axis(resampled, drawn, axis=0).mean(0), [0.025, 0.975])
    estimate = Estimate(value, float(low), float(high))
    text = f"{value:+.2f} ({low:+.2f} to {high:+.2f})"
    return f"[bold]{text}[/bold]" if estimate.is_not_zero else text


if __name__ == "__main__":
    main()
