"""Plot results: quality against time, memory and factor; time and memory against size."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image

from omniup_bench.rankings import Ranking, Row
from omniup_bench.records import Speed
from omniup_bench.tables import label, middle_factor, widths

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 3.2
"""Width of a panel, in inches."""

ACROSS = 3
"""Number of panels side by side."""

RESOLUTION, COLOURS = 100, 256
"""Dots per inch and number of colours: few of either, since these pictures are in the repository."""


def quality_against_cost(tasks: Sequence[Sequence[Ranking]], cost: str) -> bytes:
    """Draw the headline score of each task against what a method costs, a panel for each task.

    Args:
        tasks: rankings by task.
        cost: `seconds` or `memory`.

    Returns:
        A PNG file.
    """
    of: Callable[[Row], float | None] = (
        (lambda row: row.seconds) if cost == "seconds" else (lambda row: row.peak_bytes and row.peak_bytes / 2**20)
    )
    with _panels(len(tasks), _methods(tasks)) as (figure, axes, mark):
        for panel, rankings in zip(axes, tasks, strict=True):
            ranking = middle_factor(rankings)
            metric = _label(panel, ranking)
            for row in ranking.rows:
                estimate, spent = row.scores.estimate(metric), of(row)
                if spent:
                    ends = (
                        [[estimate.value - estimate.low], [estimate.high - estimate.value]] if estimate.known else None
                    )
                    panel.errorbar([spent], [estimate.value], yerr=ends, linestyle="", **mark(row.method))
            panel.set_xscale("log")
            _few_ticks(panel)
            panel.set_xlabel("seconds an image" if cost == "seconds" else "MB beyond the inputs")
        return _png(figure)


def quality_against_factor(tasks: Sequence[Sequence[Ranking]]) -> bytes:
    """Draw the headline score of each task against the upsampling factor, a panel for each task: a PNG file."""
    with _panels(len(tasks), _methods(tasks)) as (figure, axes, mark):
        for panel, rankings in zip(axes, tasks, strict=True):
            metric = _label(panel, rankings[0], factor=False)
            for method in dict.fromkeys(row.method for ranking in rankings for row in ranking.rows):
                points = [
                    (ranking.factor, row.scores.values[metric])
                    for ranking in rankings
                    for row in ranking.rows
                    if row.method == method
                ]
                panel.plot(*zip(*points, strict=True), **mark(method))
            panel.set_xlabel("pixels to a cell")
        return _png(figure)


def quality_against_width(ranking: Ranking) -> bytes:
    """Draw a family of metrics, such as IoU in trimaps, against their widths: a PNG file."""
    names = widths(ranking)
    with _panels(1, [row.method for row in ranking.rows]) as (figure, axes, mark):
        for row in ranking.rows:
            points = [(int(name.partition("@")[2]), row.scores.values[name]) for name in names]
            axes[0].plot(*zip(*points, strict=True), **mark(row.method))
        axes[0].set_title(f"{ranking.task.name}, {ranking.factor}×")
        axes[0].set_ylabel(names[0].partition("@")[0])
        axes[0].set_xlabel("width, pixels")
        return _png(figure)


def growth(records: Sequence[Speed]) -> bytes:
    """Draw the time and the memory of each method against the image's size: a PNG file.

    Args:
        records: of one device and number of channels.
    """
    whole = sorted((each for each in records if each.stage == "whole" and each.seconds), key=lambda each: each.size)
    drawn: tuple[tuple[str, Callable[[Speed], float | None]], ...] = (
        ("seconds", lambda record: statistics.median(record.seconds)),
        ("MB beyond the inputs", lambda record: record.peak_bytes and record.peak_bytes / 2**20),
    )
    with _panels(2, [label(record) for record in whole]) as (figure, axes, mark):
        for panel, (title, of) in zip(axes, drawn, strict=True):
            for method in dict.fromkeys(label(record) for record in whole):
                ours = [record for record in whole if label(record) == method and of(record)]
                panel.plot([record.size[0] for record in ours], [of(record) or 0 for record in ours], **mark(method))
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.set_xlabel("side of the image, pixels")
            panel.set_ylabel(title)
        return _png(figure)


@contextmanager
def _panels(count: int, methods: Sequence[str]) -> Iterator[tuple[Figure, list[Axes], Callable[[str], dict[str, Any]]]]:
    """Begin a figure: yield it, its panels, and a function that marks a method in the same way on all of them."""
    import matplotlib
    from matplotlib.figure import Figure as Drawing

    names = list(dict.fromkeys(methods))
    shapes = "osD^vPX*<>hp"

    def mark(method: str) -> dict[str, Any]:
        place = names.index(method)
        return {
            "label": method,
            "color": f"C{place % 10}",
            "marker": shapes[place % len(shapes)],
            "markersize": 5,
            "linewidth": 1,
        }

    rows = -(-count // ACROSS)
    across = min(count, ACROSS)
    with matplotlib.rc_context({"font.size": 8}):
        figure = Drawing(figsize=(WIDTH * across + 1.8, WIDTH * 0.85 * rows), layout="constrained")
        grid = figure.subplots(rows, across, squeeze=False).ravel().tolist()
        for panel in grid[count:]:
            panel.remove()
        yield figure, grid[:count], mark


def _methods(tasks: Sequence[Sequence[Ranking]]) -> list[str]:
    return [row.method for rankings in tasks for ranking in rankings for row in ranking.rows]


def _label(panel: Axes, ranking: Ranking, *, factor: bool = True) -> str:
    metric = ranking.headline
    panel.set_title(f"{ranking.task.name}, {ranking.factor}×" if factor else ranking.task.name)
    panel.set_ylabel(f"{metric} {'↑' if ranking.task.metrics[metric] else '↓'}")
    return metric


def _few_ticks(panel: Axes) -> None:
    """Label powers of ten on a logarithmic axis, or 1, 3, 10, 30 … on a short one: by default, labels overlap."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = panel.get_xlim()
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 3) if high < 300 * low else (1,)))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _png(figure: Figure) -> bytes:
    """Save a figure, with one legend for all panels beside them: a PNG file."""
    handles: dict[str, Any] = {}
    for each in figure.get_axes():
        handles.update({str(name): handle for handle, name in zip(*each.get_legend_handles_labels(), strict=True)})
        each.grid(alpha=0.3)
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False)
    file, small = BytesIO(), BytesIO()
    figure.savefig(file, format="png", dpi=RESOLUTION)
    Image.open(file).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(small, format="PNG", optimize=True)
    return small.getvalue()
