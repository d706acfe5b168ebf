"""Tasks that fit a probe first, in the benchmark's run."""

import json

import pytest

from omniup.errors import InputError
from omniup.upsamplers import upsampler
from omniup_bench.methods import Entry
from omniup_bench.probe_targets import Labels
from omniup_bench.probing import Probe
from omniup_bench.quality import evaluate, measure, total
from omniup_bench.records import Results
from support.anyup import random_anyup


def test_every_method_is_judged_by_a_probe_of_its_own(folders, tmp_path):
    results = Results(tmp_path / "found.jsonl")
    task = Probe(Labels(fitted=3), "results")
    measure([task], [Entry.parse("bilinear"), Entry.parse("nearest")], folders, results, factors=[16])
    assert len(results.quality) == 4
    for name in ("bilinear", "nearest"):
        expected = task.scores(total(found for _, found in evaluate(task, upsampler(name), folders, 16)))
        found = task.scores(total(record.statistics for record in results.quality if record.method == name))
        assert found == pytest.approx(expected)


def test_what_is_known_is_not_fitted_again(folders, tmp_path, monkeypatch):
    task, entries = Probe(Labels(fitted=2), "results"), [Entry.parse("bilinear")]
    measure([task], entries, folders, Results(tmp_path / "found.jsonl"), factors=[16])
    monkeypatch.setattr(Probe, "fit", lambda *_: pytest.fail("it was"))
    measure([task], entries, folders, Results(tmp_path / "found.jsonl"), factors=[16])


def test_weights_by_path_have_a_name_of_one_s_own(tmp_path):
    from omniup.files import write_tensors

    network = random_anyup(window_ratio=0.3)
    path = tmp_path / "weights.safetensors"
    write_tensors(path, network.state_dict(), network.metadata())
    entry = Entry.parse(f"ours=anyup:{path},feature_path=false")
    assert (entry.name, entry.method) == ("ours", "anyup")
    built = entry.build()
    assert (built.window_ratio, built.feature_path) == (0.3, False)
    assert json.dumps(entry.settings())


@pytest.mark.parametrize("name", ["=bilinear", "ours=nothing", " =bilinear"])
def test_a_name_without_a_method_is_refused(name):
    with pytest.raises(InputError, match=r"^method is '.*'; accepted: nearest, "):
        Entry.parse(name)
