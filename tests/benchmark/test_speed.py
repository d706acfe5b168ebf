import pytest
import torch

from omniup.evaluation import measuring
from omniup_bench import speed
from omniup_bench.records import Results
from omniup_bench.speed import Case, measure
from omniup_bench.tables import speed_tables

CPU = torch.device("cpu")


def test_stages_are_timed_apart_each_case_in_its_own_process(tmp_path):
    path = tmp_path / "r.jsonl"
    cases = [Case(name, 64, 3, limit=600) for name in ("bilinear", "upsample_anything:spec,iterations=2")]
    seen = []
    measure(cases, Results(path), progress=seen.append)
    assert seen == cases
    before = path.read_text()
    found = Results(path).speed
    assert [(record.method, record.stage) for record in found] == [
        (case.method, stage) for case in cases for stage in ("prepare", "render", "whole")
    ]
    for record in found:
        assert len(record.seconds) == speed.TURNS
        assert min(record.seconds) > 0
        assert (record.size, record.grid, record.channels) == ((64, 64), (4, 4), 3)
        assert record.result_bytes == 4 * 3 * 64**2
        assert min(record.copy_rate, record.matmul_rate) > 0
    measure(cases, Results(path))
    assert path.read_text() == before


def test_signals_of_another_type_are_measured_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "_run_in_process", lambda case: list(speed._run(case)))  # or it starts three
    results = Results(tmp_path / "r.jsonl")
    for signal_type in ("features", "probabilities", "measurement"):
        measure([Case("pyramid_bilateral", 64, 3, signal_type, limit=600)], results)
    found = Results(tmp_path / "r.jsonl").speed
    assert [(record.signal_type, record.stage) for record in found] == [
        (signal_type, stage)
        for signal_type in ("features", "probabilities", "measurement")
        for stage in ("prepare", "render", "whole")
    ]
    rows = [line.split("|")[1].strip() for line in speed_tables(found).splitlines() if line.startswith("| pyramid")]
    assert rows == [
        "pyramid_bilateral",
        "pyramid_bilateral (probabilities)",
        "pyramid_bilateral (measurement)",
    ]


def test_a_method_that_takes_too_long_is_ended_and_not_tried_at_larger_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "START_SECONDS", 0.0)  # which no process can keep to
    results = Results(tmp_path / "r.jsonl")
    measure([Case("bilinear", side, 3, limit=0.05) for side in (64, 128)], results)
    (record,) = results.speed
    assert (record.size, record.failure, record.seconds) == ((64, 64), "time", ())


def test_a_process_that_the_system_ends_ran_out_of_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(speed.sys, "executable", _script(tmp_path, "kill -9 $$"))
    results = Results(tmp_path / "r.jsonl")
    measure([Case("bilinear", 64, 3)], results)
    assert [record.failure for record in results.speed] == ["memory"]


def test_a_process_that_fails_otherwise_is_a_defect(tmp_path, monkeypatch):
    monkeypatch.setattr(speed.sys, "executable", _script(tmp_path, "echo broken >&2; exit 1"))
    with pytest.raises(RuntimeError, match="broken"):
        measure([Case("bilinear", 64, 3)], Results(tmp_path / "r.jsonl"))


def _script(folder, text):
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return str(script)


def test_peak_memory_is_what_was_held_beyond_what_was_there():
    held = torch.ones(2**23)  # 32 MB, which do not count
    with measuring.cost(CPU) as taken:
        scratch = torch.ones(2**25)  # 128 MB
        del scratch
        result = torch.ones(2**22)  # 16 MB
    assert held.sum() > result.sum()
    if taken.peak_bytes is None:
        pytest.skip("this system does not tell peak memory")
    assert 120 * 2**20 < taken.peak_bytes < 170 * 2**20


def test_the_machine_s_limits_are_rates():
    found = measuring.limits(CPU, turns=1)
    assert 1e7 < found.copy < 1e14
    assert 1e7 < found.matmul < 1e16
