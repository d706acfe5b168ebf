import dataclasses
import json

import pytest
import torch

import omniup
from omniup import InputError
from omniup.upsamplers import PRESETS, PyramidBilateral, UpsampleAnything, methods, registry
from omniup_bench.methods import Entry, default_methods, upsample
from omniup_bench.peers import PEERS


def test_all_methods_presets_and_published_weights_are_there():
    names = default_methods()
    assert {f"upsample_anything:{preset}" for preset in PRESETS} <= set(names)
    assert {"anyup:paper", "anyup:multi_backbone"} <= set(names)
    assert {name.partition(":")[0] for name in names} == set(methods())
    assert [Entry.parse(name).name for name in names] == list(names)
    assert list(dict.fromkeys(name.partition(":")[0] for name in names)) == list(methods())  # in its order
    assert "pyramid_bilateral" in names


def test_names_tell_settings():
    entry = Entry.parse("upsample_anything:spec,iterations=3,sigma_limits=[1,32],window=disc")
    built = entry.build()
    expected = UpsampleAnything.preset("spec", iterations=3, sigma_limits=[1, 32], window="disc")
    assert built == expected
    assert entry.settings() == json.loads(json.dumps(dataclasses.asdict(expected)))
    assert Entry.parse("joint_bilateral,sigma_r=0.25").build().sigma_r == 0.25


def test_settings_that_are_not_named_are_told_too():
    assert Entry.parse("guided_filter").settings() == {"radius": 2, "eps": 1e-3}
    assert Entry.parse("anyup:paper").settings()["weights"] == "paper"
    spec, paper = (Entry.parse(f"upsample_anything:{name}").settings() for name in ("spec", "paper"))
    assert spec["iterations"] == 50
    assert paper["iterations"] == 51


@pytest.mark.parametrize(("given", "steps"), [("0.5", 0.5), ("full", "full"), ("null", None)])
def test_steps_of_consistency_are_a_setting_of_every_method(given, steps):
    entry = Entry.parse(f"joint_bilateral,sigma_r=0.2,consistency={given}")
    assert entry.settings() == Entry.parse("joint_bilateral,sigma_r=0.2").settings() | {"consistency": steps}
    image, signal = torch.rand(1, 3, 24, 32), torch.rand(1, 2, 3, 4)
    expected = omniup.upsample(image, signal, method="joint_bilateral", sigma_r=0.2, consistency=steps)
    assert torch.equal(upsample(entry.build(), image, signal, "auto"), expected)
    with pytest.raises(InputError, match="which has no setting consistency"):
        Entry.parse(f"{next(iter(PEERS))},consistency={given}")


def test_settings_of_a_method_are_the_fields_of_its_dataclass():
    settings = Entry.parse("pyramid_bilateral,radius=3").settings()
    assert settings == json.loads(json.dumps(dataclasses.asdict(PyramidBilateral(radius=3))))


def test_methods_of_others_come_last_with_their_variants(monkeypatch):
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))  # so that the others do not see it

    @registry.register("theirs", "for tests", variants={"flavour": ("mild", "hot")})
    @dataclasses.dataclass(frozen=True)
    class Theirs:
        flavour: str = "mild"

    assert default_methods()[-2:] == ("theirs:mild", "theirs:hot")
    assert Entry.parse("theirs:hot").build() == Theirs("hot")
    assert Entry.parse("theirs:hot").settings() == {"flavour": "hot"}
    with pytest.raises(InputError, match=r"accepted: after a colon, .*; theirs: mild, hot;"):
        Entry.parse("bilinear:hot")


def test_weights_are_taken_from_a_folder_and_results_do_not_name_it(shared):
    entry = Entry.parse("anyup:paper")
    assert entry.build(shared / "weights") is not None
    assert str(shared) not in json.dumps(entry.settings())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nonsense", "; accepted: nearest, bilinear, bicubic"),
        ("bilinear:paper", "; accepted: after a colon, upsample_anything: spec, paper"),
        ("anyup:", "; accepted: after a colon"),
        ("bilinear,radius=2", "which has no setting radius; accepted: none$"),
        ("guided_filter,radius=", "in which 'radius=' is no setting; accepted: name=value$"),
    ],
)
def test_other_names_are_refused(name, said):
    with pytest.raises(InputError, match=f"^method is '{name}'.*{said}"):
        Entry.parse(name)


def test_values_are_refused_by_the_method():
    with pytest.raises(InputError, match="radius is 'two'"):
        Entry.parse("guided_filter,radius=two").build()
