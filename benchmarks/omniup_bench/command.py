"""`omniup bench`: measure the quality of methods on real data, and their cost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omniup.cli import options
from omniup.cli.about import listing
from omniup.cli.report import Report
from omniup.errors import InputError
from omniup_bench.document_tables import table
from omniup_bench.options import Data, Images, Methods, Models, Results, Weights, data_folder
from omniup_bench.panels import panels
from omniup_bench.progress import shown

if TYPE_CHECKING:
    from rich.table import Table

    from omniup_bench.intervals import Estimate
    from omniup_bench.rankings import Ranking
    from omniup_bench.records import Speed

app = typer.Typer()
app.command()(panels)
app.command()(table)

QUICK_TASKS, QUICK_FACTOR, QUICK_IMAGES = ("probabilities", "depth", "masks", "images"), 16, 5
"""Tasks, factor and number of images of `--quick`."""


@app.command()
def quality(
    output: Results = "bench.jsonl",
    data: Data = None,
    models: Models = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="NAME",
            show_default=False,
            help="A task to measure on, e.g. probabilities, depth, masks, images; with features of another encoder, "
            "e.g. dense-moved+timm:resnet50; may be repeated. By default all.",
        ),
    ] = None,
    methods: Methods = None,
    factors: Annotated[
        list[int] | None,
        typer.Option(
            "--factor",
            min=1,
            metavar="N",
            show_default=False,
            help="Pixels to a cell: 4, 8, 14, 16, 32; may be repeated. By default all that a task has.",
        ),
    ] = None,
    images: Images = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Use the images that settings may be tuned on, not those to report on.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help=f"A first table, in a minute or two: factor {QUICK_FACTOR}, {QUICK_IMAGES} images each of "
            f"{', '.join(QUICK_TASKS)}.",
        ),
    ] = False,
    weights: Weights = None,
    memory: options.Memory = options.DEFAULT_MEMORY,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure the quality of methods on real images with ground truth, with confidence intervals.

    May be interrupted at any time: the same command goes on from there.

    For example: omniup bench quality --quick --data DIR
    """
    report = Report(as_json, quiet, verbose)

    from omniup.upsamplers import parse_memory
    from omniup_bench import catalogue
    from omniup_bench.data import Folders
    from omniup_bench.methods import Entry, default_methods
    from omniup_bench.quality import measure
    from omniup_bench.rankings import rankings
    from omniup_bench.records import results_file

    if quick:
        tasks, factors, images = tasks or list(QUICK_TASKS), factors or [QUICK_FACTOR], images or QUICK_IMAGES
    names = list(dict.fromkeys(tasks or catalogue.tasks()))
    chosen = [catalogue.find_task(name, "tune" if tune else "val") for name in names]
    entries = [Entry.parse(name) for name in dict.fromkeys(methods or default_methods())]
    where, scratch = options.pick_device(device), parse_memory(memory)
    folders = Folders.of(data_folder(data), models, weights)
    with results_file(output) as results, shown(report) as show:
        measure(
            chosen,
            entries,
            folders,
            results,
            factors=factors,
            images=images,
            device=where,
            memory=scratch,
            progress=show,
        )
    of_ours = {entry.name for entry in entries}
    asked = [record for record in results.quality if record.task in names and record.method in of_ours]
    found = [ranking for ranking in rankings(asked) if factors is None or ranking.factor in factors]
    report.result({"results": output, "rankings": [ranking.facts() for ranking in found]}, _overview(found))
    report.note(f"{output}: {len(results.quality)} measurements; `omniup bench report` makes a page of them")


@app.command()
def speed(
    output: Results = "bench.jsonl",
    methods: Methods = None,
    sizes: Annotated[
        list[int] | None,
        typer.Option(
            "--size",
            min=1,
            metavar="N",
            show_default=False,
            help="Side of a square image, in pixels; may be repeated. By default 256 to 4096, doubled each time.",
        ),
    ] = None,
    channels: Annotated[
        list[int] | None,
        typer.Option(
            min=1, metavar="C", show_default=False, help="Channels of the signal; may be repeated. By default 32."
        ),
    ] = None,
    signal_type: Annotated[
        str, typer.Option(metavar="NAME", help="Type of the signal: features, probabilities or measurement.")
    ] = "features",
    limit: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="For all runs of one method at one size.")
    ] = 60.0,
    weights: Weights = None,
    memory: options.Memory = options.DEFAULT_MEMORY,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Time methods, preparation and rendering apart, and measure their memory, each in a process of its own.

    Run nothing else meanwhile. May be interrupted at any time: the same command goes on from there.

    For example: omniup bench speed --size 512 --channels 32 --channels 384
    """
    report = Report(as_json, quiet, verbose)

    from tqdm import tqdm

    from omniup.upsamplers import parse_memory
    from omniup_bench.methods import default_methods
    from omniup_bench.records import MEASURED_TYPES, results_file
    from omniup_bench.speed import CHANNELS, SIDES, Case, measure

    names = list(dict.fromkeys(methods or default_methods()))
    where, scratch = options.pick_device(device), parse_memory(memory)
    declared = next((each for each in MEASURED_TYPES if each == signal_type), None)
    if declared is None:
        types = ", ".join(MEASURED_TYPES)
        raise InputError("--signal-type", "is {value!r}", "{types}", value=signal_type, types=types)
    cases = [
        Case(name, side, count, declared, where.type, limit, scratch, weights)
        for count in sorted(set(channels or [CHANNELS]))
        for side in sorted(set(sizes or SIDES))
        for name in names
    ]
    silent = report.quiet or report.verbose or not sys.stderr.isatty()
    with results_file(output) as results, tqdm(desc="measure", total=len(cases), leave=False, disable=silent) as bar:

        def show(case: Case) -> None:
            bar.set_description(f"{case.side}×{case.side}, {case.channels} channels, {case.method}", refresh=False)
            bar.update()

        measure(cases, results, progress=show)
    found = [
        record
        for record in results.speed
        if record.method in names and record.device == where.type and record.signal_type == declared
    ]
    report.result({"results": output, "speed": [record.model_dump(mode="json") for record in found]}, _times(found))
    report.note(f"{output}: {len(results.speed)} measurements; `omniup bench report` makes a page of them")


@app.command("report")
def write_page(
    results: Annotated[
        str, typer.Argument(metavar="RESULTS", help="The file that `omniup bench quality` and `speed` wrote.")
    ] = "bench.jsonl",
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PAGE",
            help="A Markdown page; where it exists, what lies between its marks <!-- quality --> and "
            "<!-- /quality -->, <!-- speed --> and <!-- /speed -->, is replaced, in its Chinese twin PAGE.zh.md "
            "too, if there is one. Plots go to the folder pictures beside it.",
        ),
    ] = "benchmarks.md",
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Make tables and plots of RESULTS.

    For example: omniup bench report bench.jsonl -o docs/benchmarks.md
    """
    report = Report(as_json, quiet, verbose)

    from omniup_bench.records import Results as Found
    from omniup_bench.report import write_report

    if not Path(results).is_file():
        raise InputError(results, "does not exist", "what `omniup bench quality` and `speed` wrote")
    written = [str(path) for path in write_report(Found(results), output, overwrite=overwrite)]
    report.result({"written": written})
    report.note("\n".join(written))


def _overview(found: list[Ranking]) -> Table:
    """Lay out the headline score of every task and factor: a row for each method, best first.

    With the gain over plain interpolation, and the intervals of both.
    """
    from omniup_bench.tables import arrow

    table = listing("", "score", "95 %", "gain", "95 %", "seconds")  # to fit in 80 columns
    for ranking in found:
        metric = ranking.headline
        table.add_row(f"{ranking.task.name} {ranking.factor}×: {metric} {arrow(ranking, metric)}", style="bold")
        for row in ranking.ranked(metric):
            score, gain = row.scores.estimate(metric), ranking.gain(row, metric)
            table.add_row(
                f"  {row.method}",
                f"{score.value:.2f}",
                _interval(score),
                f"{gain.value:+.2f}" if gain else "",
                _interval(gain) if gain else "",
                f"{row.seconds:.3f}",
            )
    return table


def _times(found: list[Speed]) -> Table:
    """Lay out times: a row for each method, stage and size."""
    import statistics

    table = listing("method", "stage", "size", "channels", "median", "range", "peak memory")
    for record in found:
        size, times = "{} x {}".format(*record.size), record.seconds
        median = f"{statistics.median(times):.3f} s" if times else f"too much {record.failure}"
        spread = f"{min(times):.3f} to {max(times):.3f}" if times else ""
        peak = "" if record.peak_bytes is None else f"{record.peak_bytes / 2**20:.0f} MB"
        table.add_row(record.method, record.stage, size, str(record.channels), median, spread, peak)
    return table


def _interval(estimate: Estimate) -> str:
    """Write an interval, if there is one."""
    return f"{estimate.low:.2f}..{estimate.high:.2f}" if estimate.known else ""
