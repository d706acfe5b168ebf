"""Compare methods with the better of bilinear and bicubic interpolation, a row for each task and factor.

Who upsamples without looking at the result should get nothing worse than what interpolation gives.
"""

from __future__ import annotations

from collections.abc import Sequence

from omniup_bench.rankings import Ranking, Row
from omniup_bench.tables import arrow, digits
from omniup_bench.tables import table as markdown

INTERPOLATIONS = ("bilinear", "bicubic")

TOLERANCE = 1.0
"""Maximum percentage by which a score may be worse."""


def margin(ranking: Ranking, row: Row) -> float:
    """Compute by how much a method's headline score is better than that of the better interpolation.

    Returns:
        In percent of the latter, whichever way the metric is better; negative where it is worse.
    """
    metric = ranking.headline
    sign = 1 if ranking.task.metrics[metric] else -1
    bases = [each.scores.values[metric] for each in ranking.rows if each.method in INTERPOLATIONS]
    best = max(bases, key=lambda score: sign * score)
    return 100 * sign * (row.scores.values[metric] - best) / abs(best)


def margins_table(rankings: Sequence[Ranking]) -> str:
    """Lay out the headline scores of all rankings, and the margins of methods that are no interpolation.

    Margins below -`TOLERANCE` are in bold; a cell is empty where the method was not measured.
    """
    methods = dict.fromkeys(row.method for ranking in rankings for row in ranking.rows)
    others = [name for name in methods if name not in INTERPOLATIONS]
    header = ["task", "data", "images", "", "score", *INTERPOLATIONS]
    header += [title for name in others for title in (name, "margin, %")]
    lines = []
    for ranking in rankings:
        rows = {row.method: row for row in ranking.rows}
        metric = ranking.headline
        places = digits(ranking, metric)
        folders = ", ".join(sorted({image.rpartition("/")[0] for image in ranking.images}))
        line = [ranking.task.name, folders, str(len(ranking.images)), f"{ranking.factor}×"]
        line += [f"{metric} {arrow(ranking, metric)}"]
        line += [f"{rows[name].scores.values[metric]:.{places}f}" for name in INTERPOLATIONS]
        for name in others:
            if name in rows:
                line += [f"{rows[name].scores.values[metric]:.{places}f}", _text(margin(ranking, rows[name]))]
            else:
                line += ["", ""]
        lines.append(line)
    return markdown(header, lines)


def _text(margin: float) -> str:
    return f"**{margin:+.1f}**" if margin < -TOLERANCE else f"{margin:+.1f}"
