import dataclasses
import json

import pytest

from omniup import InputError
from omniup.upsamplers import PRESETS, UpsampleAnything, base, methods
from omniup_bench.methods import Entry, default_methods


def test_all_methods_presets_and_published_weights_are_there():
    names = default_methods()
    assert {f"upsample_anything:{preset}" for preset in PRESETS} <= set(names)
    assert {"anyup:paper", "anyup:multi_backbone"} <= set(names)
    assert {name.partition(":")[0] for name in names} == set(methods())
    assert [Entry.parse(name).name for name in names] == list(names)


def test_names_tell_settings():
    entry = Entry.parse("upsample_anything:spec,iterations=3,sigma_limits=[1,32],window=disc")
    built = entry.build("measurement")
    expected = UpsampleAnything.preset("spec", iterations=3, sigma_limits=[1, 32], window="disc")
    assert built == expected
    assert entry.settings("measurement") == json.loads(json.dumps(dataclasses.asdict(expected)))
    assert Entry.parse("joint_bilateral,sigma_r=0.25").build("prediction").sigma_r == 0.25


def test_settings_that_are_not_named_are_told_too():
    assert Entry.parse("guided_filter").settings("measurement") == {"radius": 2, "eps": 1e-3}
    assert Entry.parse("anyup:paper").settings("measurement")["weights"] == "paper"
    spec, paper = (Entry.parse(f"upsample_anything:{name}").settings("measurement") for name in ("spec", "paper"))
    assert spec["iterations"] == 50
    assert paper["iterations"] == 51


def test_methods_that_ask_for_the_kind_of_signal_are_told(monkeypatch):
    monkeypatch.setattr(base, "_METHODS", dict(base._METHODS))  # so that the others do not see it

    @base.register("asking", "for tests")
    @dataclasses.dataclass(frozen=True)
    class Asking:
        kind: str = "prediction"

        def __call__(self, image, signal, size=None, *, memory=0):
            return signal

    entry = Entry.parse("asking")
    assert entry.build("measurement").kind == "measurement"
    assert entry.settings("measurement") == {"kind": "measurement"}
    assert Entry.parse("asking,kind=prediction").build("measurement").kind == "prediction"
    assert Entry.parse("asking,kind=values").build("measurement").kind == "values"


def test_weights_are_taken_from_a_folder_and_results_do_not_name_it(shared):
    entry = Entry.parse("anyup:paper")
    assert entry.build("prediction", shared / "weights") is not None
    assert str(shared) not in json.dumps(entry.settings("prediction"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nonsense", "accepted are nearest, bilinear, bicubic"),
        ("bilinear:paper", "accepted after a colon are upsample_anything: spec, paper"),
        ("anyup:", "accepted after a colon"),
        ("bilinear,radius=2", "there is no setting radius; accepted are none"),
        ("guided_filter,radius=", "is not a setting; accepted is name=value"),
    ],
)
def test_other_names_are_refused(name, said):
    with pytest.raises(InputError, match=f"^method is '{name}'.*{said}"):
        Entry.parse(name)


def test_values_are_refused_by_the_method():
    with pytest.raises(InputError, match="radius is 'two'"):
        Entry.parse("guided_filter,radius=two").build("measurement")
