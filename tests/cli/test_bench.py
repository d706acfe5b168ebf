import json
import subprocess
import sys

import pytest

from omniup.files import locked, write_tensors
from support.anyup import random_anyup
from support.benchmark import small_data

HERE = ("--data", "shared/data")


@pytest.fixture
def data(folder):
    """A small folder of data, with the folder of models beside it; see `small_data`."""
    return small_data(folder / "shared", images=5)


def test_a_quick_table_then_a_page_of_it(omniup, data, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    methods = ("--method", "bilinear", "--method", "guided_filter")
    outcome = omniup("bench", "quality", "--quick", "--data", data, *methods)
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
    (first, second) = json.loads(outcome.stdout)["rankings"]
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
    assert {line["signal_type"] for line in lines} == {"features"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("quality", *HERE, "--task", "nonsense"), "task is 'nonsense'; accepted: probabilities, depth"),
        (("quality", *HERE, "--method", "nonsense"), "method is 'nonsense'; accepted: nearest"),
        (
            ("quality", *HERE, "--task", "masks", "--factor", "5"),
            "factors are 5, none of which masks has; accepted: 4, 8",
        ),
        (("quality", "--quick"), "--data is missing; accepted: a folder of data sets"),
        (("quality", "--data", "nowhere"), "--data is nowhere, which is no folder; accepted: a folder of data sets"),
        (("quality", "--task", "masks", "--data", "."), "data is ., which has no bsds500/val/NAME.jpg; accepted: "),
        (("quality", "--images", "0"), "--images"),
        (("quality", *HERE, "--memory", "little"), "memory is 'little'"),
        (
            ("quality", *HERE, "-o", "nowhere/r.jsonl", "--quick", "--method", "bilinear"),
            "nowhere/r.jsonl cannot be written",
        ),
        (("speed", "--method", "bilinear,radius=2"), "which has no setting radius; accepted: none"),
        (("speed", "--signal-type", "labels"), "--signal-type is 'labels'; accepted: features, probabilities, measur"),
        (("table", *HERE, "nonsense"), "table is 'nonsense'; accepted: readme, settings"),
        (("table", "readme"), "--data is missing; accepted: a folder of data sets"),
        (
            ("report", "nowhere.jsonl"),
            "nowhere.jsonl does not exist; accepted: what `omniup bench quality` and `speed`",
        ),
    ],
)
def test_refusals(refusal, data, arguments, said):
    assert said in refusal("bench", *arguments)


def test_a_network_s_missing_weights_are_refused(refusal, data):
    said = refusal(
        "bench", "quality", *HERE, "--models", "elsewhere", "--task", "probabilities", "--method", "bilinear"
    )
    assert said.startswith("models is elsewhere, which has no street_scenes.safetensors; accepted: the folder of ")


def test_models_and_weights_have_folders_of_their_own(omniup, data, folder, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("weights were downloaded"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: "empty")
    (folder / "shared" / "models").rename(folder / "networks")
    write_tensors(folder / "anyup_paper.safetensors", (network := random_anyup()).state_dict(), network.metadata())
    arguments = ("--task", "probabilities", "--factor", 16, "--images", 1, "--method", "anyup:paper", "--json")
    outcome = omniup("bench", "quality", *HERE, "--models", "networks", "--weights", ".", *arguments)
    assert outcome.status == 0, outcome
    assert list(json.loads(outcome.stdout)["rankings"][0]["methods"]) == ["anyup:paper"]


WITHOUT_THE_BENCHMARK = """
import sys
sys.modules["omniup_bench"] = None  # as if it were not installed
from omniup.cli import main
main({arguments})
"""


@pytest.mark.parametrize("arguments", [["bench"], ["bench", "--help"], ["bench", "quality", "--quick"]])
def test_without_the_benchmark_s_package_it_is_said_how_to_install_it(arguments):
    code = WITHOUT_THE_BENCHMARK.format(arguments=arguments)
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (outcome.returncode, outcome.stdout) == (2, "")
    hint = "is needed for this and is not installed: pip install ./benchmarks in a checkout of omniup"
    assert outcome.stderr == f"omniup: omniup_bench {hint}\n"


def test_help_of_everything_else_does_without_the_benchmark_s_package():
    code = WITHOUT_THE_BENCHMARK.format(arguments=["--help"])
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert "bench" in outcome.stdout


def test_help_lists_the_commands_of_the_benchmark(omniup):
    outcome = omniup("bench", "--help")
    assert outcome.status == 0
    for name in ("quality", "speed", "report", "table", "panels"):
        assert name in outcome.stdout.decode()


def test_too_little_memory_of_the_machine_has_a_remedy(refusal, data, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("omniup_bench.quality.measure", fail)
    assert "a smaller --memory" in refusal("bench", "quality", *HERE, "--quick", "--method", "bilinear")


def test_the_tables_of_documents(omniup, data, folder):
    path = folder / "r.jsonl"
    arguments = (
        "bench",
        "table",
        "settings",
        *HERE,
        "-o",
        path,
        "--images",
        1,
        "--method",
        "soft=guided_filter,eps=0.1",
    )
    outcome = omniup(*arguments, "--json")
    assert outcome.status == 0, outcome
    found = json.loads(outcome.stdout)["tables"]["settings"]
    assert [(each["task"], each["factor"]) for each in found] == [("depth", 16), ("probabilities", 16), ("masks", 16)]
    lines = path.read_text()
    title, _, header, _, *rows = omniup(*arguments).stdout.decode().splitlines()
    assert path.read_text() == lines  # nothing was measured again
    assert title == "settings"
    assert [cell.strip() for cell in header.split("|")[2:-1]] == [
        "depth 16×: rmse ↓ (1)",
        "probabilities 16×: miou ↑ (1)",
        "probabilities 16×: trimap_miou@6 ↑ (1)",
        "masks 16×: near_accuracy ↑ (1)",
        "time",
    ]
    by_method = {cells[1].strip(): cells[2:] for cells in (row.split("|") for row in rows if row)}
    assert list(by_method) == list(found[0]["methods"])
    assert {"bilinear", "joint_bilateral", "soft"} < set(by_method)
    columns = ((0, "rmse"), (1, "miou"), (1, "trimap_miou@6"), (2, "near_accuracy"))
    for column, (place, metric) in enumerate(columns):
        for method, cells in by_method.items():
            assert cells[column].strip() == f"{found[place]['methods'][method][metric]['value']:.2f}"


def test_results_are_one_process_s_and_no_input_is_overwritten(omniup, refusal, data, folder):
    quality = ("bench", "quality", *HERE, "--task", "masks", "--factor", 8, "--images", 1, "--method", "bilinear")
    with locked("bench.jsonl"):
        assert "bench.jsonl is being written by another process" in refusal(*quality)
    assert omniup(*quality).status == 0
    before = (folder / "bench.jsonl").read_bytes()
    assert "bench.jsonl is an input, which the result would overwrite" in refusal(
        "bench", "report", "-o", "./bench.jsonl", "--overwrite"
    )
    assert (folder / "bench.jsonl").read_bytes() == before
    assert not list(folder.glob(".*"))


def test_a_foreign_text_is_not_taken_for_an_unfinished_line(refusal, data, folder):
    (folder / "bench.jsonl").write_text("my notes")
    said = refusal("bench", "quality", *HERE, "--task", "masks", "--method", "bilinear")
    assert said.startswith("bench.jsonl ends in what is no result of this benchmark")
    assert (folder / "bench.jsonl").read_text() == "my notes"


def test_a_page_replaces_its_own_plots_only(omniup, refusal, data, folder):
    omniup("bench", "quality", *HERE, "--task", "masks", "--factor", 8, "--images", 1, "--method", "bilinear")
    (folder / "pictures").mkdir()
    (folder / "pictures/bench-time.png").write_text("mine")
    report = ("bench", "report", "-o", "page.md")
    assert "pictures/bench-time.png exists already" in refusal(*report)
    assert not (folder / "page.md").exists()
    (folder / "pictures/bench-time.png").unlink()
    for _ in range(2):
        assert omniup(*report).status == 0
