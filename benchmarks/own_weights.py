"""Train our own weights of AnyUp, and measure them beside the published ones, interpolation and our other method.

    python benchmarks/own_weights.py DIR

Trains examples/anyup_omniup.yaml with the networks at hand, from the published weights `paper`, unless that is done,
and writes what ships: the weights in float16. Then measures on camvid/val what it has not measured yet. DIR is the
folder of data sets that docs/benchmarking.md describes, with the folders models and weights beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tqdm import tqdm

from extensions import TASKS
from measure import show
from omniup.files import read_tensors, write_tensors
from omniup.training.anyup import read_configuration
from omniup_bench.catalogue import find_task
from omniup_bench.data import Folders
from omniup_bench.methods import Entry
from omniup_bench.quality import measure
from omniup_bench.rankings import BASELINE, Ranking, rankings
from omniup_bench.records import results_file
from trainings import RECIPE, recipe_changes, trained

METHODS = (
    BASELINE,
    "bicubic",
    "pyramid_bilateral",
    *(f"anyup:{name},consistency=1" for name in ("paper", "multi_backbone")),
)


def main() -> None:
    """Train and measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=Path("out/own"), help="where the training and results are")
    parser.add_argument("--weights", type=Path, help="measure this file, and train nothing")
    parser.add_argument("--images", type=int, help="of camvid/val that are measured on; all by default")
    options = parser.parse_args()
    folders = Folders.of(options.data)
    weights = options.weights
    if weights is None:
        full = trained(read_configuration(RECIPE, recipe_changes(folders)), options.output / "training")
        weights = options.output / full.name
        state, metadata = read_tensors(full)
        write_tensors(weights, {name: tensor.half() for name, tensor in state.items()}, metadata)
    entries = [Entry.parse(name) for name in (*METHODS, f"ours=anyup:{weights},consistency=1")]
    options.output.mkdir(parents=True, exist_ok=True)
    with results_file(options.output / "results.jsonl") as lines, tqdm(desc="measure", disable=None) as bar:

        def advance(_: object) -> None:
            bar.update()

        for task, factor in TASKS:
            tasks = [find_task(task)]
            measure(tasks, entries, folders, lines, factors=[factor], images=options.images, progress=advance)
        names = {entry.name for entry in entries}
        found = rankings([line for line in lines.quality if line.method in names])
    _show(found)


def _show(found: list[Ranking]) -> None:
    """Print what each method is above bilinear interpolation, in bold where its interval leaves out zero."""
    columns = [(ranking, metric) for ranking in found for metric in TASKS[ranking.task.name, ranking.factor]]
    rows = []
    for method in (row.method for row in found[0].rows):
        cells = []
        for ranking, metric in columns:
            row = next(row for row in ranking.rows if row.method == method)
            gain = ranking.gain(row, metric)
            text = f"{row.scores.values[metric]:.2f}" if gain is None else f"{gain.value:+.2f}"
            cells.append(f"[bold]{text}[/bold]" if gain is not None and gain.is_not_zero else text)
        rows.append([method, *cells])
    header = ["", *(f"{ranking.task.name} {ranking.factor}×: {metric}" for ranking, metric in columns)]
    show(f"Above bilinear interpolation, {len(found[0].images)} images", header, rows, torch.device("cpu"))


if __name__ == "__main__":
    main()
