from types import SimpleNamespace

import pytest

from omniup_bench.intervals import Scores
from omniup_bench.margins import margin, margins_table
from omniup_bench.rankings import Ranking, Row

IMAGES = ("canopy/a", "canopy/b")


def ranking(metric, more_is_better, factor=8, **scores):
    task = SimpleNamespace(name="task", metrics={metric: more_is_better})
    rows = tuple(Row(name, Scores({metric: score}, {}), 1.0, None) for name, score in scores.items())
    return Ranking(task, factor, IMAGES, rows, ("a processor",))


@pytest.mark.parametrize(
    ("more_is_better", "bilinear", "bicubic", "ours", "expected"),
    [
        (False, 4.0, 5.0, 3.0, 25.0),
        (False, 5.0, 4.0, 4.4, -10.0),
        (True, 40.0, 50.0, 45.0, -10.0),
        (True, 50.0, 40.0, 55.0, 10.0),
    ],
)
def test_the_better_interpolation_counts_whichever_way_scores_are_better(
    more_is_better, bilinear, bicubic, ours, expected
):
    found = ranking("score", more_is_better, bilinear=bilinear, bicubic=bicubic, ours=ours)
    assert margin(found, found.rows[2]) == pytest.approx(expected)


def test_rows_are_tasks_and_what_is_worse_is_bold():
    worse = ranking("rmse", False, bilinear=5.0, bicubic=4.0, ours=4.4)
    hardly = ranking("rmse", False, 16, bilinear=5.0, bicubic=4.0, ours=4.02, theirs=2.0)
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in margins_table([worse, hardly]).split("\n")
    ]
    header = ["task", "data", "images", "", "score", "bilinear", "bicubic", "ours", "margin, %", "theirs", "margin, %"]
    assert lines[0] == header
    assert lines[2] == ["task", "canopy", "2", "8×", "rmse ↓", "5.00", "4.00", "4.40", "**-10.0**", "", ""]
    assert lines[3] == ["task", "canopy", "2", "16×", "rmse ↓", "5.00", "4.00", "4.02", "-0.5", "2.00", "+50.0"]
