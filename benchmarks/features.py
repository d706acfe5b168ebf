"""How good upsampled features are: the tables of docs/anyup.md, each by its name.

    python benchmarks/features.py features --images 20 --method ours=anyup:out/bsds/anyup.safetensors

Goes on from what the file of results holds. Two cores take half a minute to two minutes an image and table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from tqdm import tqdm

from omniup_bench.catalogue import find_task
from omniup_bench.data import Folders
from omniup_bench.methods import Entry
from omniup_bench.quality import measure
from omniup_bench.rankings import Ranking, rankings
from omniup_bench.records import Results
from omniup_bench.tables import table, with_interval

PLAIN = ("bilinear", "guided_filter", "joint_bilateral")
METHODS = (*PLAIN, "upsample_anything:paper", "pyramid_bilateral", "anyup:paper", "anyup:multi_backbone")
WITHOUT = tuple(
    f"anyup:multi_backbone,{setting}"
    for setting in ("window_ratio=0.05", "window_ratio=0.2", "window_ratio=1", "feature_path=false")
)
SPACE = ("dense-enlarged", "dense-moved", "probe-labels-lr")


@dataclass(frozen=True)
class Table:
    """A table: methods side by side.

    Attributes:
        methods: its rows.
        factors: which factors.
        metrics: by task, those that have a column each.
    """

    methods: Sequence[str]
    factors: Sequence[int]
    metrics: dict[str, Sequence[str]]


DENSE = ("cosine", "error")
LABELS = ("miou", "trimap_miou@6")
TABLES = {
    "features": Table(METHODS, (16,), dict(zip(SPACE, (DENSE, DENSE, LABELS), strict=True))),
    "ablation": Table(
        ("bilinear", "anyup:multi_backbone", *WITHOUT), (16,), dict(zip(SPACE, (DENSE, DENSE, LABELS), strict=True))
    ),
    "probes": Table(METHODS, (16,), {"probe-labels": (*LABELS, "boundary_iou", "pixel_accuracy")}),
    "grid": Table(
        METHODS,
        (8, 16, 32),
        dict.fromkeys(("probe-labels-lr@0.25", "probe-labels-lr@0.5", "probe-labels-lr"), ("miou",)),
    ),
    "geometry": Table(
        METHODS,
        (16,),
        {
            **dict.fromkeys(("probe-depth", "probe-depth-lr"), ("rmse", "delta1")),
            **dict.fromkeys(("probe-normals", "probe-normals-lr"), ("mean", "median", "within_11.25")),
        },
    ),
}


def main() -> None:
    """Measure what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--images", type=int, help="of each task; by default all")
    parser.add_argument("--method", action="append", default=[], help="one more, e.g. ours=anyup:FILE")
    parser.add_argument("--only", action="store_true", help="these methods and bilinear, none of the table's own")
    parser.add_argument("--results", type=Path, default=Path("features.jsonl"))
    parser.add_argument("--data", type=Path, required=True, help="laid out as docs/benchmarking.md says")
    parser.add_argument("--models", type=Path, help="by default the folder models beside the data")
    parser.add_argument("--weights", type=Path, help="by default the folder weights beside the data")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    given = parser.parse_args()
    results = Results(given.results)
    for name in given.tables:
        asked = TABLES[name]
        own = ("bilinear",) if given.only else asked.methods
        entries = [Entry.parse(method) for method in dict.fromkeys((*own, *given.method))]
        with tqdm(desc=name, leave=False) as bar:

            def show(progress: object, bar: tqdm = bar) -> None:  # type: ignore[type-arg]
                bar.update()

            measure(
                [find_task(task) for task in asked.metrics],
                entries,
                Folders.of(given.data, given.models, given.weights),
                results,
                factors=asked.factors,
                images=given.images,
                device=given.device,
                progress=show,
            )
        rows = {entry.name for entry in entries}
        records = [record for record in results.quality if record.task in asked.metrics and record.method in rows]
        print(f"\n{name}\n\n{_lay_out(asked, rankings(records))}")


def _lay_out(asked: Table, found: Sequence[Ranking]) -> str:
    """A row for each method; in bold what differs significantly from bilinear interpolation."""
    by_place = {(ranking.task.name, ranking.factor): ranking for ranking in found}
    columns = [
        (by_place[task, factor], metric)
        for factor, (task, metrics) in product(asked.factors, asked.metrics.items())
        for metric in metrics
    ]
    header = ["", *(f"{each.task.name} {each.factor}×: {metric} ({len(each.images)})" for each, metric in columns)]
    rows = []
    for method in (row.method for row in found[0].rows):
        cells = []
        for ranking, metric in columns:
            row = next(row for row in ranking.rows if row.method == method)
            gain, text = ranking.gain(row, metric), with_interval(row.scores.estimate(metric), 1)
            cells.append(f"**{text}**" if gain is not None and gain.is_not_zero else text)
        rows.append([method, *cells])
    return table(header, rows)


if __name__ == "__main__":
    main()
