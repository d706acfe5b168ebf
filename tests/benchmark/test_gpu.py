"""The parts of benchmarks/gpu.py on the CPU, in small; nothing of CUDA runs here."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest
import torch

from omniup.upsamplers import Bilinear, methods
from omniup.upsamplers.interpolation import PreparedInterpolation
from omniup_bench.gpu import inputs, large, parity, times
from omniup_bench.gpu.rows import Row, rows_of, within

CPU = torch.device("cpu")
SIZES = inputs.Sizes.of(CPU)
SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("gpu_script", SCRIPTS / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_script", module)
    spec.loader.exec_module(module)
    return module


def failed(rows):
    return [row for row in rows if row.passed is False]


def test_every_method_is_compared_and_every_type():
    names = [name for name, _ in parity.methods_and_types(CPU, SIZES)]
    assert sorted([*names, "anyup", "ensemble"]) == sorted(methods())
    rows = list(parity.one_method("bilinear", CPU, SIZES))
    assert len(rows) == 8
    assert not failed(rows)


def test_another_result_is_seen(monkeypatch):
    render, calls = PreparedInterpolation._render, []

    def wrong(self, signal, *rest):
        calls.append(signal)
        return render(self, signal.flip(3) if len(calls) % 2 else signal, *rest)  # one of the two that are compared

    monkeypatch.setattr(PreparedInterpolation, "_render", wrong)
    rows = list(parity.one_method("bilinear", CPU, SIZES))
    assert len(failed(rows)) >= 7


def test_networks_are_compared():
    assert not failed(parity.anyup(CPU, SIZES))
    rows = list(parity.training_step(CPU, SIZES))
    assert len(rows) == 3
    assert not failed(rows)


def test_a_step_with_other_weights_is_seen(monkeypatch):
    step, calls = parity.step, []

    def wrong(objective, batch, device):
        calls.append(device)
        if len(calls) == 2:
            objective.network.cross_decode.conv2d.weight.data.neg_()
        return step(objective, batch, device)

    monkeypatch.setattr(parity, "step", wrong)
    assert failed(parity.training_step(CPU, SIZES))


@pytest.mark.parametrize(
    ("found", "expected", "difference"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]), 0.5),
        (torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 3, 5]), 0.25),
        (torch.tensor([-3.0]), torch.tensor([-3.0]), 0.0),
    ],
)
def test_differences_are_parts(found, expected, difference):
    assert parity.difference(found, expected) == difference


def test_not_a_number_never_passes():
    assert within("x", math.nan, 1.0).passed is False
    assert within("x", 1.0, 1.0).passed is True


def test_a_check_that_raises_is_a_row_and_the_others_go_on(capsys):
    def broken():
        yield Row("first", "1")
        raise RuntimeError("no such kernel\nand more")

    rows = list(rows_of([("broken", broken), ("sound", lambda: [Row("sound", "2", passed=True)])]))
    assert [(row.what, row.found, row.passed) for row in rows] == [
        ("first", "1", None),
        ("broken", "RuntimeError: no such kernel", False),
        ("sound", "2", True),
    ]
    assert "Traceback" in capsys.readouterr().err


def test_times_are_of_every_method_with_the_memory():
    checks = dict(times.features(CPU, SIZES))
    assert len(checks) == len(methods()) + 1
    (row,) = checks["48²: bilinear"]()
    assert row.found.split(" ms")[0].replace(".", "").isdigit()
    assert row.passed is None


def test_what_others_have_published_is_of_cases_that_are_timed():
    timed = {name for name, _ in times.features(CPU, inputs.Sizes())}
    assert timed >= {f"{side}²: {name}" for side, name in times.PUBLISHED}


def test_results_are_compared_with_single_pixels():
    assert not failed(large.one_method("bilinear", Bilinear(), CPU, SIZES))
    side, channels = inputs.Sizes().large
    assert channels * side**2 > 2**31


def test_points_have_the_last_pixel():
    points = parity.random_points((5, 9), 4)
    assert points[-1].tolist() == [4, 8]
    assert (points < torch.tensor([5, 9])).all()


def test_budgets_stay_within_six_minutes(script):
    assert sum(part.seconds for part in script.PARTS.values()) < 360


def test_where_there_is_no_cuda_it_is_said(script, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert script.main() == 1
    assert capsys.readouterr().err.startswith("there is no CUDA device here: nothing was checked")


def test_what_is_found_is_shown_and_written(script, monkeypatch, tmp_path, capsys):
    rows = {"methods": [Row("one", "0", "≤ 1", passed=True)], "times": [Row("two", "9", "≤ 1", passed=False)]}
    monkeypatch.setattr(script, "run_part", lambda name, device: rows[name])
    out = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--parts", "methods", "times", "--out", str(out)])
    assert script.main() == 1
    assert "1 of 2 rows are not as they should be" in capsys.readouterr().out
    assert json.loads(out.read_text())["parts"]["times"][0]["found"] == "9"
    rows["times"] = []
    assert script.main() == 0


def test_a_part_writes_its_rows_as_it_finds_them(script, tmp_path):
    part = script.Part("", lambda device, sizes: [("one", lambda: [Row("one", "1")])], 1)
    script.write_rows(part, CPU, tmp_path / "rows")
    assert [json.loads(line)["what"] for line in (tmp_path / "rows").read_text().splitlines()] == ["one"]


def test_a_part_that_runs_out_of_time_is_a_row(script):
    (row,) = script.run_part("times", CPU, seconds=0.05)
    assert (row.what, row.found, row.passed) == ("the part times", "not done in 0.05 s", False)
