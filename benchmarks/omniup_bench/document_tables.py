"""`omniup bench table`: print the tables that the documents quote, each by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from omniup.cli import options
from omniup.cli.outputs import standard_output
from omniup.cli.report import Report
from omniup.errors import InputError
from omniup_bench.options import Data, Images, Models, Results, Weights, data_folder
from omniup_bench.progress import shown

if TYPE_CHECKING:
    from omniup_bench.rankings import Ranking


@dataclass(frozen=True)
class DocumentTable:
    """A table of a document: a row for each method, or for each task and factor (see `margins`).

    Attributes:
        methods: those that are compared, beside bilinear interpolation.
        metrics: by task, those that have a column each; with rows of tasks, the headline score.
        factors: the columns are repeated for each; with rows of tasks, those that a task has.
        places: decimals of scores, with rows of methods.
        rows: one of the two.
    """

    methods: Sequence[str]
    metrics: Mapping[str, Sequence[str]]
    factors: Sequence[int] = (16,)
    places: int = 1
    rows: Literal["methods", "tasks"] = "methods"


def _settings(method: str, *variants: str) -> tuple[str, ...]:
    """Name a method with its defaults, and with each of some settings."""
    return (method, *(f"{method},{variant}" for variant in variants))


_DENSE, _LABELS = ("cosine", "error"), ("miou", "trimap_miou@6")
_FEATURES = {"dense-enlarged": _DENSE, "dense-moved": _DENSE, "probe-labels-lr": _LABELS}
_METHODS = (
    *("bicubic", "guided_filter", "joint_bilateral", "upsample_anything:paper", "pyramid_bilateral"),
    *("anyup:paper", "anyup:multi_backbone"),
)
_PEERS = ("opencv_guided_filter", "opencv_joint_bilateral", "opencv_fgs")
_PROBES = (
    *("probe-labels-lr", "probe-labels-lr@0.25", "probe-labels-lr@0.5", "probe-labels"),
    "probe-labels-lr+timm:tf_efficientnet_lite0",
)
_HEADLINES = {
    **dict.fromkeys(("depth", "canopy"), ("rmse",)),
    **dict.fromkeys(("probabilities", *_PROBES), ("miou",)),
    **{"masks": ("near_accuracy",), "images": ("psnr",)},
    **dict.fromkeys(("dense-moved", "dense-enlarged"), ("cosine",)),
}
_NARROW = "sigma_x=11,sigma_y=11"

TABLES: Mapping[str, DocumentTable] = {
    "readme": DocumentTable(
        ("guided_filter", "upsample_anything:paper", "anyup:paper", "pyramid_bilateral"),
        {"probabilities": ("miou",), "depth": ("rmse",), "masks": ("near_accuracy",), "probe-labels-lr": ("miou",)},
    ),
    "settings": DocumentTable(
        (
            *_settings("joint_bilateral", _NARROW, "sigma_x=8,sigma_y=8", f"{_NARROW},sigma_r=0.25"),
            *(f"joint_bilateral,{_NARROW},sigma_r=0.25,radius={radius}" for radius in (1, 4)),
            *_settings("upsample_anything:paper", "iterations=0", "iterations=10", "iterations=25", "radius=2"),
        ),
        {"depth": ("rmse",), "probabilities": _LABELS, "masks": ("near_accuracy",)},
        places=2,
    ),
    "features": DocumentTable(_METHODS, _FEATURES),
    "ablation": DocumentTable(
        _settings(
            "anyup:multi_backbone", "window_ratio=0.05", "window_ratio=0.2", "window_ratio=1", "feature_path=false"
        ),
        _FEATURES,
    ),
    "probes": DocumentTable(_METHODS, {"probe-labels": (*_LABELS, "boundary_iou", "pixel_accuracy")}),
    "grid": DocumentTable(
        ("bicubic", "guided_filter", "pyramid_bilateral", "anyup:paper", "anyup:multi_backbone"),
        dict.fromkeys(("probe-labels-lr@0.25", "probe-labels-lr@0.5", "probe-labels-lr"), ("miou",)),
        factors=(8, 16, 32),
    ),
    "geometry": DocumentTable(
        ("guided_filter", "joint_bilateral", "anyup:paper", "anyup:multi_backbone"),
        {
            **dict.fromkeys(("probe-depth", "probe-depth-lr"), ("rmse", "delta1")),
            **dict.fromkeys(("probe-normals", "probe-normals-lr"), ("mean", "median", "within_11.25")),
        },
    ),
    "interpolation": DocumentTable(
        ("bicubic", options.DEFAULT_METHOD), _HEADLINES, factors=(4, 8, 14, 16, 32), rows="tasks"
    ),
    "peers": DocumentTable(
        (
            "bicubic",
            *(f"{peer}:{preset}" for peer, preset in product(_PEERS, ("depth", "masks", "street_scenes"))),
            options.DEFAULT_METHOD,
        ),
        {"depth": ("rmse", "flying"), "masks": ("near_accuracy",), "probabilities": _LABELS},
        factors=(8, 16),
        places=2,
    ),
}


def table(
    names: Annotated[list[str], typer.Argument(metavar="TABLE...", help=f"Some of {', '.join(TABLES)}.")],
    output: Results = "bench.jsonl",
    data: Data = None,
    models: Models = None,
    images: Images = None,
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            show_default=False,
            help="One row more, e.g. anyup:FILE, or ours=anyup:FILE with a label; may be repeated.",
        ),
    ] = None,
    weights: Weights = None,
    memory: options.Memory = options.DEFAULT_MEMORY,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Print tables that the documents quote, in Markdown; measure what the file of results does not have yet.

    In brackets are 95 % intervals; in bold is what differs significantly from bilinear interpolation, and in the table
    `interpolation` what is more than 1 % worse than the better of bilinear and bicubic.

    For example: omniup bench table features --images 8 --data DIR --method ours=anyup:FILE
    """
    report = Report(as_json, quiet, verbose)

    from omniup.upsamplers import parse_memory
    from omniup_bench.catalogue import find_task
    from omniup_bench.data import Folders
    from omniup_bench.margins import margins_table
    from omniup_bench.methods import Entry
    from omniup_bench.quality import measure
    from omniup_bench.rankings import BASELINE, rankings
    from omniup_bench.records import results_file

    for name in names:
        if name not in TABLES:
            raise InputError("table", "is {name!r}", "{names}", name=name, names=", ".join(TABLES))
    folders = Folders.of(data_folder(data), models, weights)
    where, scratch = options.pick_device(device), parse_memory(memory)
    facts, texts = {}, []
    with results_file(output) as results:
        for name in dict.fromkeys(names):
            asked = TABLES[name]
            entries = [Entry.parse(each) for each in dict.fromkeys((BASELINE, *asked.methods, *(more or ())))]
            tasks = [find_task(task) for task in asked.metrics]
            with shown(report) as show:
                measure(
                    tasks,
                    entries,
                    folders,
                    results,
                    factors=asked.factors,
                    images=images,
                    device=where,
                    memory=scratch,
                    progress=show,
                )
            rows = {entry.name for entry in entries}
            found = rankings(
                [
                    record
                    for record in results.quality
                    if record.task in asked.metrics and record.factor in asked.factors and record.method in rows
                ]
            )
            facts[name] = [ranking.facts() for ranking in found]
            laid_out = margins_table(found) if asked.rows == "tasks" else _lay_out(asked, found)
            texts.append(f"{name}\n\n{laid_out}\n")
    report.result({"results": output, "tables": facts})
    if not (as_json or quiet):
        with standard_output():
            print("\n".join(texts))


def _lay_out(asked: DocumentTable, found: Sequence[Ranking]) -> str:
    """Lay out a row for each method; the time is that of the first column."""
    from omniup_bench.tables import arrow, seconds, with_interval
    from omniup_bench.tables import table as markdown

    by_place = {(ranking.task.name, ranking.factor): ranking for ranking in found}
    columns = [
        (by_place[task, factor], metric)
        for factor, (task, metrics) in product(asked.factors, asked.metrics.items())
        for metric in metrics
    ]
    titles = (
        f"{ranking.task.name} {ranking.factor}×: {metric} {arrow(ranking, metric)} ({len(ranking.images)})"
        for ranking, metric in columns
    )
    rows = []
    for method in (row.method for row in columns[0][0].rows):
        cells = []
        for ranking, metric in columns:
            row = next(row for row in ranking.rows if row.method == method)
            gain, text = ranking.gain(row, metric), with_interval(row.scores.estimate(metric), asked.places)
            cells.append(f"**{text}**" if gain is not None and gain.is_not_zero else text)
        first = next(row for row in columns[0][0].rows if row.method == method)
        rows.append([method, *cells, seconds(first.seconds)])
    return markdown(["", *titles, "time"], rows)
