import json

import pytest

from support.benchmark import small_data


@pytest.fixture
def data(folder, monkeypatch):
    """A small folder of data, where the command looks if it is not told."""
    monkeypatch.setenv("OMNIUP_SHARED", "shared")
    return small_data(folder / "shared", images=5)


def test_a_quick_table_then_a_page_of_it(omniup, data, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    methods = ("--method", "bilinear", "--method", "guided_filter")
    outcome = omniup("bench", "quality", "--quick", *methods)
    assert outcome.status == 0, outcome
    table = outcome.stdout.decode()
    lines = [line.split()[0] for line in table.splitlines()[1:]]
    tasks = ("probabilities 16×: miou ↑", "depth 16×: rmse ↓", "masks 16×: near_accuracy ↑", "images 16×: psnr ↑")
    assert [name in table for name in tasks] == [True] * 4
    for place in range(0, 12, 3):
        assert {*lines[place + 1 : place + 3]} == {"bilinear", "guided_filter"}
    assert lines[9 + 1] == "guided_filter"  # the better comes first
    assert "bench.jsonl: 32 measurements" in outcome.stderr  # (5 + 1 + 5 + 5 images) × 2 methods
    assert len((folder / "bench.jsonl").read_text().splitlines()) == 32

    assert omniup("bench", "report", "-o", "page.md").status == 0
    assert "### masks" in (folder / "page.md").read_text()
    assert len(list((folder / "pictures").iterdir())) == 3


def test_numbers_for_machines(omniup, data):
    outcome = omniup(
        *("bench", "quality", "--json", "--task", "masks", "--factor", 8, "--factor", 16, "--method", "bilinear"),
        *("--data", data, "-o", "r.jsonl"),
    )
    (first, second) = json.loads(outcome.stdout)["standings"]
    assert (first["task"], first["factor"], second["factor"], first["images"]) == ("masks", 8, 16, 5)
    score = first["methods"]["bilinear"]["near_accuracy"]
    assert score["low"] <= score["value"] <= score["high"]


def test_speed(omniup, folder):
    outcome = omniup("bench", "speed", "--method", "bilinear", "--size", 64, "--channels", 3, "--limit", 600)
    assert outcome.status == 0, outcome
    assert "64 x 64" in outcome.stdout.decode()
    lines = [json.loads(line) for line in (folder / "bench.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["prepare", "render", "whole"]
    assert {(line["kind"], line["channels"]) for line in lines} == {("speed", 3)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("quality", "--task", "nonsense"), "task is 'nonsense': accepted are probabilities, depth"),
        (("quality", "--method", "nonsense"), "method is 'nonsense': accepted are nearest"),
        (("quality", "--task", "masks", "--factor", "5"), "factors: masks has none of those; accepted are 4, 8"),
        (("quality", "--task", "masks", "--data", "nowhere"), "data: nowhere has no bsds500/val/NAME.jpg"),
        (("quality", "--images", "0"), "--images"),
        (("quality", "--memory", "little"), "memory is 'little'"),
        (("quality", "-o", "nowhere/r.jsonl", "--quick", "--method", "bilinear"), "nowhere/r.jsonl: cannot be written"),
        (("speed", "--method", "bilinear,radius=2"), "there is no setting radius"),
        (("report", "nowhere.jsonl"), "nowhere.jsonl is no file; accepted: what `omniup bench quality` wrote"),
    ],
)
def test_refusals(refusal, data, arguments, said):
    assert said in refusal("bench", *arguments)


def test_without_the_benchmark_s_package_it_is_said_how_to_install_it(refusal, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for arguments in (("bench",), ("bench", "--help"), ("bench", "quality", "--quick")):
        said = refusal(*arguments)
        assert said.startswith("omniup_bench is needed for this and is not installed: pip install omniup-bench")
        assert "pip install ./benchmarks" in said


def test_help_lists_the_commands_of_the_benchmark(omniup):
    outcome = omniup("bench", "--help")
    assert outcome.status == 0
    for name in ("quality", "speed", "report", "panels"):
        assert name in outcome.stdout.decode()


def test_too_little_memory_of_the_machine_has_a_remedy(refusal, data, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("omniup_bench.quality.measure", fail)
    assert "a smaller --memory" in refusal("bench", "quality", "--quick", "--method", "bilinear")
