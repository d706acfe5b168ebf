"""Results as Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from omniup_bench.intervals import CONFIDENCE, DRAWS, Estimate
from omniup_bench.rankings import BASELINE, Row, Standing
from omniup_bench.records import Speed

COLUMNS = 4
"""Metrics that the first table of a task has; the others have tables of their own, or none."""


def quality_tables(standings: Sequence[Standing]) -> str:
    """Lay out one task: every method's scores at one factor, then the most telling one at all factors.

    Args:
        standings: of one task, factors ascending.
    """
    task = standings[0].task
    middle = middle_factor(standings)
    parts = [f"### {task.name}: {task.summary}", _source(standings), _scores(middle)]
    if len(standings) > 1:
        parts.append(_by_factor(standings))
    if any("@" in name for name in task.metrics):
        parts.append(_by_width(middle))
    return "\n\n".join(parts)


def leaders(standings: Iterable[Standing]) -> str:
    """Lay out which method comes first by the most telling score, and by how much: a row for each task and factor."""
    header = ["task", "", "score", "first", "", "next", "", "difference"]
    rows = []
    for standing in standings:
        metric = standing.headline
        first, *others = standing.ranked(metric)
        places = digits(standing, metric)
        row = [standing.task.name, f"{standing.factor}×", f"{metric} {arrow(standing, metric)}"]
        row += [first.method, f"{first.scores.values[metric]:.{places}f}"]
        if others:
            row += [others[0].method, f"{others[0].scores.values[metric]:.{places}f}"]
            row += [_gain(first.scores.difference(others[0].scores, metric), places)]
        rows.append(row + [""] * (len(header) - len(row)))
    return table(header, rows)


def middle_factor(standings: Sequence[Standing]) -> Standing:
    """The standing at 16×, or else at the factor nearest to it."""
    return min(standings, key=lambda standing: abs(standing.factor - 16))


def speed_tables(records: Sequence[Speed]) -> str:
    """Lay out times and memory: a table for each device, size and number of channels; then growth with size."""
    newest = {(record.device, record.channels, record.size, record.method, record.stage): record for record in records}
    parts = []
    for device, channels in sorted({(record.device, record.channels) for record in newest.values()}):
        ours = [record for record in newest.values() if (record.device, record.channels) == (device, channels)]
        sizes = sorted({record.size for record in ours})
        middle = min(sizes, key=lambda size: abs(size[0] - 512))
        parts += [
            f"### {channels} channels, {device}",
            _machine(ours),
            _stages([record for record in ours if record.size == middle]),
        ]
        if len(sizes) > 1:
            parts.append(_growth(ours, sizes))
    return "\n\n".join(parts)


def _source(standings: Sequence[Standing]) -> str:
    folders = sorted({image.rpartition("/")[0] for each in standings for image in each.images})
    counts = sorted({len(each.images) for each in standings})
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    processors = ", ".join(sorted({name for each in standings for name in each.processors}))
    interval = (
        f"In brackets {100 * CONFIDENCE:.0f} % intervals, of {DRAWS} draws of the images. " if counts[-1] > 4 else ""
    )
    return f"{number} images of {', '.join(f'`{folder}`' for folder in folders)}. {interval}{processors}."


def _scores(standing: Standing) -> str:
    metrics = _main_metrics(standing)
    first = metrics[0]
    header = [
        f"{standing.factor}×",
        *(f"{name} {arrow(standing, name)}" for name in metrics),
        f"{first} against {BASELINE}",
        "time",
        "memory",
    ]
    rows = []
    for row in standing.rows:
        gain = standing.gain(row, first)
        cells = [with_interval(row.scores.estimate(name), digits(standing, name)) for name in metrics]
        rows.append(
            [
                row.method,
                *cells,
                "" if gain is None else _gain(gain, digits(standing, first)),
                _time(row.seconds),
                _memory(row),
            ]
        )
    return table(header, rows)


def _by_factor(standings: Sequence[Standing]) -> str:
    metric = standings[0].headline
    header = [f"{metric} {arrow(standings[0], metric)}", *(f"{standing.factor}×" for standing in standings)]
    rows = []
    for method in dict.fromkeys(row.method for standing in standings for row in standing.rows):
        found = [next((row for row in standing.rows if row.method == method), None) for standing in standings]
        places = digits(standings[0], metric)
        cells = ("" if row is None else with_interval(row.scores.estimate(metric), places) for row in found)
        rows.append([method, *cells])
    return table(header, rows)


def _by_width(standing: Standing) -> str:
    names = widths(standing)
    family = names[0].partition("@")[0]
    header = [f"{family}, {standing.factor}×", *(f"{name.partition('@')[2]} px" for name in names)]
    places = digits(standing, names[0])
    rows = [[row.method, *(f"{row.scores.values[name]:.{places}f}" for name in names)] for row in standing.rows]
    return table(header, rows)


def widths(standing: Standing) -> list[str]:
    """The metrics that are one score at several widths, in their order: `trimap_miou@1` to `trimap_miou@10`."""
    return sorted((name for name in standing.task.metrics if "@" in name), key=lambda name: int(name.partition("@")[2]))


def _main_metrics(standing: Standing) -> list[str]:
    return list(standing.task.metrics)[:COLUMNS]


def _machine(records: Sequence[Speed]) -> str:
    processors = ", ".join(sorted({record.processor for record in records}))
    copies, products = ([getattr(record, name) / 1e9 for record in records] for name in ("copy_rate", "matmul_rate"))
    return (
        f"{processors}; in the same runs it copied {statistics.median(copies):.1f} GB/s (read and written) and "
        f"multiplied matrices at {statistics.median(products):.0f} GFLOP/s. Medians; in brackets the range of the runs."
    )


def _stages(records: Sequence[Speed]) -> str:
    """All stages of all methods at one size."""
    size = "{}×{}".format(*records[0].size)
    header = [size, "whole", "fit", "render", "times a copy of the result", "peak memory", "of it the result"]
    rows = []
    for method in dict.fromkeys(record.method for record in records):
        stages = {record.stage: record for record in records if record.method == method}
        whole = stages.get("whole")
        peak = None if whole is None else whole.peak_bytes
        rows.append(
            [
                method,
                *(_spread(stages[stage]) if stage in stages else "" for stage in ("whole", "fit", "render")),
                f"{statistics.median(whole.seconds) / _copying(whole):.1f}" if whole and whole.seconds else "",
                "" if peak is None else f"{peak / 2**20:.0f} MB",
                "" if whole is None else f"{whole.result_bytes / 2**20:.0f} MB",
            ]
        )
    return table(header, rows)


def _growth(records: Sequence[Speed], sizes: Sequence[tuple[int, int]]) -> str:
    """The whole of each method, and what a pixel costs."""
    rows = []
    for method in dict.fromkeys(record.method for record in records):
        whole = {record.size: record for record in records if record.method == method and record.stage == "whole"}
        rows.append([method, *(_per_pixel(whole[size]) if size in whole else "" for size in sizes)])
    return table(["whole, in brackets per pixel", *("{}×{}".format(*size) for size in sizes)], rows)


def _per_pixel(record: Speed) -> str:
    if not record.seconds:
        return _failure(record)
    median = statistics.median(record.seconds)
    return f"{_time(median)} ({1e9 * median / (record.size[0] * record.size[1]):.0f} ns)"


def _spread(record: Speed) -> str:
    if not record.seconds:
        return _failure(record)
    return f"{_time(statistics.median(record.seconds))} ({min(record.seconds):.3f} to {max(record.seconds):.3f})"


def _failure(record: Speed) -> str:
    return "out of memory" if record.failure == "memory" else f"> {record.limit_seconds:.0f} s"


def _copying(record: Speed) -> float:
    """Seconds to read and write as much as the result."""
    return 2 * record.result_bytes / record.copy_rate


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def digits(standing: Standing, metric: str) -> int:
    """How many decimals tell something: two, and one more for shares of 1."""
    return 2 if max(abs(row.scores.values[metric]) for row in standing.rows) >= 1 else 3


def with_interval(estimate: Estimate, places: int) -> str:
    """Write a score with its interval, where it has one."""
    value, low, high = (f"{each:.{places}f}" for each in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})" if estimate.known else value


def _gain(gain: Estimate, places: int) -> str:
    """Write a difference with its sign, in bold where it can be told from noise."""
    value, low, high = (f"{each:+.{places}f}" for each in (gain.value, gain.low, gain.high))
    if not gain.known:
        return value
    return f"{f'**{value}**' if gain.is_not_zero else value} ({low} to {high})"


def arrow(standing: Standing, metric: str) -> str:
    """Which way a metric is better."""
    return "↑" if standing.task.metrics[metric] else "↓"


def _time(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds < 10 else f"{seconds:.0f} s"


def _memory(row: Row) -> str:
    return "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:.0f} MB"
