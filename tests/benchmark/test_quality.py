import json
import os
import time

import pytest

from omniup import InputError
from omniup.cli import main
from omniup.files import write_tensors
from omniup_bench.catalogue import find_task
from omniup_bench.methods import Entry
from omniup_bench.quality import measure
from omniup_bench.rankings import rankings
from omniup_bench.records import Results
from support.anyup import random_anyup
from support.forks import Fork


def run(path, folders, *, methods=("nearest", "bilinear"), tasks=("masks",), progress=None, **options):
    results = Results(path)
    entries = [Entry.parse(name) for name in methods]
    measure([find_task(name) for name in tasks], entries, folders, results, progress=progress, **options)
    return results


def test_lines_tell_how_they_came_about(folders, tmp_path):
    run(tmp_path / "r.jsonl", folders, tasks=("depth",), methods=("guided_filter",), factors=[8])
    (line,) = (json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines())
    assert line["kind"] == "quality"
    assert (line["task"], line["factor"], line["image"], line["method"]) == ("depth", 8, "depth/pair", "guided_filter")
    assert (line["size"], line["grid"], line["channels"], line["views"]) == ([64, 64], [8, 8], 1, 1)
    assert line["settings"] == {"radius": 2, "eps": 1e-3}
    assert line["versions"].keys() == {"omniup", "python", "torch"}
    assert "threads" in line["processor"]
    assert line["seconds"] > 0
    assert line["peak_bytes"] is None or line["peak_bytes"] >= 0
    assert line["statistics"]["pixels"] == 64 * 64


def test_what_is_there_is_not_measured_again(folders, tmp_path):
    path = tmp_path / "r.jsonl"
    run(path, folders, factors=[16], images=2)
    before = path.read_text()
    run(path, folders, factors=[16], images=2)
    assert path.read_text() == before
    run(path, folders, factors=[16], images=3)
    after = path.read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == len(before.splitlines()) + 2
    run(path, folders, factors=[16], images=3, methods=("guided_filter,radius=1",))
    assert len(path.read_text().splitlines()) == 9


def test_a_method_that_does_not_take_the_bands_is_left_out_and_the_log_says_so(folders, tmp_path, caplog):
    network = random_anyup()
    write_tensors(tmp_path / "weights.safetensors", network.state_dict(), network.metadata())
    methods = (f"anyup=anyup:{tmp_path / 'weights.safetensors'}", "bilinear")
    found = run(tmp_path / "r.jsonl", folders, tasks=("canopy", "depth"), methods=methods, factors=[8])
    lines = [(record.task, record.method) for record in found.quality]
    assert lines == [("canopy", "bilinear"), ("depth", "anyup"), ("depth", "bilinear")]
    assert "anyup is not measured on canopy: image has 4 channels" in caplog.text


def test_settings_are_part_of_what_is_there(folders, tmp_path, monkeypatch):
    path = tmp_path / "r.jsonl"
    run(path, folders, factors=[16], images=1, methods=("guided_filter",))
    lines = path.read_text()
    path.write_text(lines.replace('"radius":2', '"radius":5'))  # as if the default had been another then
    found = run(path, folders, factors=[16], images=1, methods=("guided_filter",))
    assert [record.settings["radius"] for record in found.quality] == [5, 2]
    (ranking,) = rankings(found.quality)
    assert len(ranking.rows) == 1  # the newest settings count


def test_an_interrupted_run_goes_on_where_it_was(folders, tmp_path):
    def interrupt(progress):
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "r.jsonl", folders, factors=[16], images=3, progress=interrupt)
    assert len(Results(tmp_path / "r.jsonl").quality) == 3
    assert len(run(tmp_path / "r.jsonl", folders, factors=[16], images=3).quality) == 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_killed_run_goes_on_where_it_was(folders, tmp_path):
    """In a process of its own, killed as the system kills, and with a torn line as a power cut leaves it."""
    path = tmp_path / "r.jsonl"
    command = ["bench", "quality", "--task", "masks", "--factor", "16", "-o", str(path)]
    command += ["--data", str(folders.data), "--method", "nearest", "--method", "upsample_anything:paper,iterations=20"]
    process = Fork(lambda: main(command))
    while process.is_running() and (not path.exists() or path.read_bytes().count(b"\n") < 2):
        time.sleep(0.01)
    process.kill()
    kept = path.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    path.write_bytes(kept + kept[:100])

    done = run(path, folders, factors=[16], methods=("nearest", "upsample_anything:paper,iterations=20"))
    assert path.read_bytes().startswith(kept)
    assert len(done.quality) == 12 == len({(record.method, record.image) for record in done.quality})
    assert len(Results(path).quality) == 12


def test_progress_comes_to_what_was_expected(folders, tmp_path):
    seen = []
    run(tmp_path / "r.jsonl", folders, tasks=("masks", "depth"), factors=[8, 16], progress=seen.append)
    assert [progress.done for progress in seen] == list(range(1, 29))  # (6 + 1 images) × 2 factors × 2 methods
    assert seen[-1].expected == 28


def test_scores_do_not_depend_on_how_runs_were_cut(folders, tmp_path):
    whole = run(tmp_path / "whole.jsonl", folders, factors=[16])
    for images in (1, 4, 6):
        parts = run(tmp_path / "parts.jsonl", folders, factors=[16], images=images)
    (one,), (other,) = rankings(whole.quality), rankings(parts.quality)
    assert one.images == other.images
    for ours, theirs in zip(one.rows, other.rows, strict=True):
        assert ours.scores.values == theirs.scores.values


def test_only_images_that_all_methods_have_are_compared(folders, tmp_path):
    run(tmp_path / "r.jsonl", folders, factors=[16], images=6, methods=("bilinear",))
    results = run(tmp_path / "r.jsonl", folders, factors=[16], images=5, methods=("nearest",))
    (ranking,) = rankings(results.quality)
    assert len(ranking.images) == 5
    gains = {row.method: ranking.gain(row, "near_accuracy") for row in ranking.rows}
    assert gains["bilinear"] is None
    assert gains["nearest"].known


def test_refusals(folders, tmp_path):
    with pytest.raises(InputError, match=r"^factors are 5, none of which masks has; accepted: 4, 8, 14, 16, 32$"):
        run(tmp_path / "r.jsonl", folders, factors=[5])
    with pytest.raises(InputError, match=r"^upsample_anything:paper on depth, depth/pair: .*memory"):
        run(
            tmp_path / "r.jsonl",
            folders,
            tasks=("depth",),
            methods=("upsample_anything:paper",),
            factors=[8],
            memory=1000,
        )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", r"has a line 2 that is no result of this benchmark \(line: Invalid JSON"),
        (
            '{"kind": "other"}',
            r"has a line 2 that is no result of this benchmark .*; accepted: what `omniup bench` writes$",
        ),
        (
            '{"kind": "quality", "task": 3}',
            r"has a line 2 that is no result of this benchmark \(quality\.method: Field required",
        ),
    ],
)
def test_files_of_something_else_are_refused(line, said, folders, tmp_path):
    path = tmp_path / "r.jsonl"
    run(path, folders, tasks=("depth",), factors=[8], methods=("nearest",))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=said):
        Results(path)


def test_a_file_that_cannot_be_written_is_refused(folders, tmp_path):
    with pytest.raises(InputError, match=r"r\.jsonl cannot be written"):
        run(tmp_path / "nowhere" / "r.jsonl", folders, tasks=("depth",), factors=[8])
