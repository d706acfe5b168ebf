"""Lay results out as Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from omniup_bench.intervals import CONFIDENCE, RESAMPLES, Estimate
from omniup_bench.rankings import BASELINE, Ranking, Row
from omniup_bench.records import Speed

COLUMNS = 5
"""Number of metrics in the first table of a task; the others have tables of their own, or none."""


def quality_tables(rankings: Sequence[Ranking]) -> str:
    """Lay out one task: every method's scores at one factor, then the headline score at all factors.

    Args:
        rankings: of one task, factors ascending.
    """
    task = rankings[0].task
    middle = middle_factor(rankings)
    parts = [f"### {task.name}: {task.summary}", _source(rankings), _scores(middle)]
    if len(rankings) > 1:
        parts.append(_by_factor(rankings))
    if any("@" in name for name in task.metrics):
        parts.append(_by_width(middle))
    return "\n\n".join(parts)


def leaders(rankings: Iterable[Ranking]) -> str:
    """Lay out which method is first by the headline score, and by how much: a row for each task and factor."""
    header = ["task", "", "score", "first", "", "next", "", "difference"]
    rows = []
    for ranking in rankings:
        metric = ranking.headline
        first, *others = ranking.ranked(metric)
        places = digits(ranking, metric)
        row = [ranking.task.name, f"{ranking.factor}×", f"{metric} {arrow(ranking, metric)}"]
        row += [first.method, f"{first.scores.values[metric]:.{places}f}"]
        if others:
            row += [others[0].method, f"{others[0].scores.values[metric]:.{places}f}"]
            row += [_gain(first.scores.difference(others[0].scores, metric), places)]
        rows.append(row + [""] * (len(header) - len(row)))
    return table(header, rows)


def middle_factor(rankings: Sequence[Ranking]) -> Ranking:
    """Return the ranking at 16×, or else at the factor nearest to it."""
    return min(rankings, key=lambda ranking: abs(ranking.factor - 16))


def speed_tables(records: Sequence[Speed]) -> str:
    """Lay out times and memory: a table for each device, size and number of channels; then growth with size."""
    newest = {(record.device, record.channels, record.size, label(record), record.stage): record for record in records}
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


def label(record: Speed) -> str:
    """Name a row: the method, and the type of the signal unless it is features."""
    return record.method if record.signal_type == "features" else f"{record.method} ({record.signal_type})"


def _source(rankings: Sequence[Ranking]) -> str:
    folders = sorted({image.rpartition("/")[0] for each in rankings for image in each.images})
    counts = sorted({len(each.images) for each in rankings})
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    processors = ", ".join(sorted({name for each in rankings for name in each.processors}))
    interval = (
        f"In brackets {100 * CONFIDENCE:.0f} % intervals, of {RESAMPLES} resamples of the images. "
        if counts[-1] > 4
        else ""
    )
    return f"{number} images of {', '.join(f'`{folder}`' for folder in folders)}. {interval}{processors}."


def _scores(ranking: Ranking) -> str:
    metrics = _main_metrics(ranking)
    first = metrics[0]
    header = [
        f"{ranking.factor}×",
        *(f"{name} {arrow(ranking, name)}" for name in metrics),
        f"{first} against {BASELINE}",
        "time",
        "memory",
    ]
    rows = []
    for row in ranking.rows:
        gain = ranking.gain(row, first)
        cells = [with_interval(row.scores.estimate(name), digits(ranking, name)) for name in metrics]
        rows.append(
            [
                row.method,
                *cells,
                "" if gain is None else _gain(gain, digits(ranking, first)),
                seconds(row.seconds),
                _memory(row),
            ]
        )
    return table(header, rows)


def _by_factor(rankings: Sequence[Ranking]) -> str:
    metric = rankings[0].headline
    header = [f"{metric} {arrow(rankings[0], metric)}", *(f"{ranking.factor}×" for ranking in rankings)]
    rows = []
    for method in dict.fromkeys(row.method for ranking in rankings for row in ranking.rows):
        found = [next((row for row in ranking.rows if row.method == method), None) for ranking in rankings]
        places = digits(rankings[0], metric)
        cells = ("" if row is None else with_interval(row.scores.estimate(metric), places) for row in found)
        rows.append([method, *cells])
    return table(header, rows)


def _by_width(ranking: Ranking) -> str:
    names = widths(ranking)
    family = names[0].partition("@")[0]
    header = [f"{family}, {ranking.factor}×", *(f"{name.partition('@')[2]} px" for name in names)]
    places = digits(ranking, names[0])
    rows = [[row.method, *(f"{row.scores.values[name]:.{places}f}" for name in names)] for row in ranking.rows]
    return table(header, rows)


def widths(ranking: Ranking) -> list[str]:
    """Return the metrics that are one score at several widths, in order: `trimap_miou@1` to `trimap_miou@10`."""
    return sorted((name for name in ranking.task.metrics if "@" in name), key=lambda name: int(name.partition("@")[2]))


def _main_metrics(ranking: Ranking) -> list[str]:
    return list(ranking.task.metrics)[:COLUMNS]


def _machine(records: Sequence[Speed]) -> str:
    processors = ", ".join(sorted({record.processor for record in records}))
    copies, products = ([getattr(record, name) / 1e9 for record in records] for name in ("copy_rate", "matmul_rate"))
    return (
        f"{processors}; in the same runs it copied {statistics.median(copies):.1f} GB/s (read and written) and "
        f"multiplied matrices at {statistics.median(products):.0f} GFLOP/s. Medians; in brackets the range of the runs."
    )


def _stages(records: Sequence[Speed]) -> str:
    """Lay out all stages of all methods at one size."""
    size = "{}×{}".format(*records[0].size)
    header = [size, "whole", "prepare", "render", "times a copy of the result", "peak memory", "of it the result"]
    rows = []
    for method in dict.fromkeys(label(record) for record in records):
        stages = {record.stage: record for record in records if label(record) == method}
        whole = stages.get("whole")
        peak = None if whole is None else whole.peak_bytes
        rows.append(
            [
                method,
                *(_spread(stages[stage]) if stage in stages else "" for stage in ("whole", "prepare", "render")),
                f"{statistics.median(whole.seconds) / _copying(whole):.1f}" if whole and whole.seconds else "",
                "" if peak is None else f"{peak / 2**20:.0f} MB",
                "" if whole is None else f"{whole.result_bytes / 2**20:.0f} MB",
            ]
        )
    return table(header, rows)


def _growth(records: Sequence[Speed], sizes: Sequence[tuple[int, int]]) -> str:
    """Lay out the whole of each method, and the time per pixel, at all sizes."""
    rows = []
    for method in dict.fromkeys(label(record) for record in records):
        whole = {record.size: record for record in records if label(record) == method and record.stage == "whole"}
        rows.append([method, *(_per_pixel(whole[size]) if size in whole else "" for size in sizes)])
    return table(["whole, in brackets per pixel", *("{}×{}".format(*size) for size in sizes)], rows)


def _per_pixel(record: Speed) -> str:
    if not record.seconds:
        return _failure(record)
    median = statistics.median(record.seconds)
    return f"{seconds(median)} ({1e9 * median / (record.size[0] * record.size[1]):.0f} ns)"


def _spread(record: Speed) -> str:
    if not record.seconds:
        return _failure(record)
    return f"{seconds(statistics.median(record.seconds))} ({min(record.seconds):.3f} to {max(record.seconds):.3f})"


def _failure(record: Speed) -> str:
    return "out of memory" if record.failure == "memory" else f"> {record.limit_seconds:.0f} s"


def _copying(record: Speed) -> float:
    """Compute the seconds of a copy as large as the result."""
    return 2 * record.result_bytes / record.copy_rate


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def digits(ranking: Ranking, metric: str) -> int:
    """Return how many decimals to write: two, and one more for fractions of 1."""
    return 2 if max(abs(row.scores.values[metric]) for row in ranking.rows) >= 1 else 3


def with_interval(estimate: Estimate, places: int) -> str:
    """Write a score with its interval, where it has one."""
    value, low, high = (f"{each:.{places}f}" for each in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})" if estimate.known else value


def _gain(gain: Estimate, places: int) -> str:
    """Write a difference with its sign, in bold where it is significant."""
    value, low, high = (f"{each:+.{places}f}" for each in (gain.value, gain.low, gain.high))
    if not gain.known:
        return value
    return f"{f'**{value}**' if gain.is_not_zero else value} ({low} to {high})"


def arrow(ranking: Ranking, metric: str) -> str:
    """Return an arrow that says which way a metric is better."""
    return "↑" if ranking.task.metrics[metric] else "↓"


def seconds(value: float) -> str:
    """Write a time."""
    return f"{value:.3f} s" if value < 10 else f"{value:.0f} s"


def _memory(row: Row) -> str:
    return "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:.0f} MB"
