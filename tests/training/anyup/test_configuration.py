from pathlib import Path

import pytest

from omniup.errors import InputError
from omniup.training.anyup import Configuration, read_configuration
from omniup.training.anyup.configuration import AUGMENTATIONS
from support.training import at

EXAMPLES = Path(__file__).parents[3] / "examples"


def refusal(path, changes=None):
    with pytest.raises(InputError) as refused:
        read_configuration(path, changes)
    text = str(refused.value)
    assert all(line.startswith(str(path)) for line in text.splitlines())
    return text.replace(f"{path}: ", "")


def test_the_defaults_are_the_paper_s_recipe():
    wanted = Configuration(data={"images": ["sample:coffee"]}, backbones=[{"kind": "hog", "patch": 14}])
    assert (wanted.data.image_size, wanted.data.input_size, wanted.data.crop_size, wanted.data.crops) == (
        448,
        224,
        224,
        4,
    )
    assert (wanted.steps, wanted.batch, wanted.accumulation) == (100_000, 4, 1)
    optimiser = wanted.optimiser
    assert (optimiser.learning_rate, optimiser.betas, optimiser.weight_decay) == (2e-4, (0.9, 0.999), 1e-5)
    assert (wanted.losses.self_consistency, wanted.losses.input_consistency) == (0.1, 0.1)
    assert wanted.augmentations == AUGMENTATIONS
    assert len(AUGMENTATIONS) == 11


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("anyup_*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_accepted(example, photo_folder):
    read_configuration(example, at(example, photo_folder))


def test_the_examples_name_nothing_outside_the_checkout():
    for example in EXAMPLES.glob("*.yaml"):
        assert "../.." not in example.read_text(), example


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch": 0}, "batch is 0; accepted: greater than or equal to 1"),
        ({"precision": "fp32"}, "precision is 'fp32'; accepted: 'auto', 'no', 'bf16' or 'fp16'"),
        (
            {"optimiser.lr": 1},
            "optimiser.lr is no field; accepted: learning_rate, warmup, decay, betas, weight_decay",
        ),
        ({"optimiser.learning_rate": "fast"}, "optimiser.learning_rate is 'fast'; accepted: a valid number"),
        ({"losses.self_consistency": float("nan")}, "losses.self_consistency is nan; accepted: a finite number"),
        ({"learning_rate": 1}, "learning_rate is no field; accepted: steps, batch, accumulation, precision, "),
        ({"augmentations": ["rotate"]}, "augmentations.0 is 'rotate'; accepted: 'colour_jitter', 'photometric_"),
        ({"backbones.1.patch": 0}, "backbones.1.patch is 0; accepted: greater than or equal to 1"),
        ({"backbones.1.cell": 8}, "backbones.1.cell is no field; accepted: patch, held_out, kind"),
        ({"backbones": [{"kind": "hog", "patch": 8, "held_out": True}]}, "backbones are all held out; accepted: at "),
        ({"backbones.1.kind": "sift"}, "backbones.1 is of the kind 'sift'; accepted: 'timm', 'local', "),
        ({"references": {"enlarged": 0}}, "references has weights of 0 only; accepted: at least one above 0"),
        ({"references.segments": 1}, "references.images is empty; accepted: photographs with segments, where "),
        (
            {"references.moved": 1, "backbones": [{"kind": "hog", "patch": 2}]},
            "references.moved is above 0, and hog-patch2 has a patch of 2; accepted: 0, or backbones whose patches are",
        ),
        ({"backbones": []}, "backbones has 0 entries; accepted: at least 1"),
        ({"backbones.1": {"kind": "hog"}}, "backbones.1.patch is missing"),
        ({"data.images": ["nowhere"]}, "data.images.0 is /"),
        ({"data.images": ["sample:tea"]}, "data.images.0 is 'sample:tea'; accepted: sample:coffee, "),
        ({"data.crop_size": 256}, "data.crop_size is 256; accepted: up to image_size, 128"),
        ({"model.window_ratio": 0}, "model.window_ratio is 0; accepted: greater than or equal to 0.001"),
        (
            {"model.dynamic_basis": True, "model.feature_path": False},
            "model.dynamic_basis is true without a feature path, where it has no effect; accepted: false",
        ),
        (
            {"model.pyramid": [0.1]},
            "model.pyramid is (0.1,); accepted: different numbers from 0.001 to 1, at least one of them other than ",
        ),
        ({"backbones.1.patch": 14}, "data.image_size is 128; accepted: multiples of the patch of hog-patch14, 14"),
        ({"backbones.1": {"kind": "colours", "patch": 8}}, "backbones has colours-patch8 twice"),
        (
            {"model.weights": "dino"},
            "model.weights is 'dino'; accepted: paper, multi_backbone, omniup, or a file that is there",
        ),
        (
            {"backbones.0.weights": "no.pth"},
            "weights is 'no.pth'; accepted: random, published, or a file that is there",
        ),
        ({"backbones.0.weights": True}, "backbones.0.weights is True; accepted: a valid string"),
        ({"backbones.1": {"patch": 8}}, "backbones.1 has no kind"),
        ({"data": None}, "data is None; accepted: fields"),
        ({"optimiser.betas": [0.5, 0.5, 0.5]}, "optimiser.betas has 3 entries; accepted: at most 2"),
        (
            {"backbones.0": {"kind": "local", "function": "net.py", "patch": 8}},
            "function is 'net.py'; accepted: path.p",
        ),
        ({"backbones.7.patch": 8}, "backbones.7.patch is no place in the configuration"),
        ({"seed.value": 8}, "seed is {'value': 8}; accepted: a valid integer"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_accepted(changes, said, tiny, write):
    path = write(tiny)
    if "is no place" in said:
        with pytest.raises(InputError, match=said):
            read_configuration(path, changes)
    else:
        assert said in refusal(path, changes)


def test_without_crops_their_size_does_not_matter(tiny, write):
    assert read_configuration(write(tiny), {"data.crops": 0, "data.crop_size": 999}).data.crops == 0


def test_every_mistake_has_a_line_of_its_own(tiny, write):
    said = refusal(write(tiny), {"batch": 0, "steps": -1, "model.layout": "mine"})
    assert [line.partition(" is ")[0] for line in said.splitlines()] == ["steps", "batch", "model.layout"]


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "\x00", "a: b: c"])
def test_what_is_no_configuration_is_refused_in_one_line(text, write):
    assert refusal(write(text)).count("\n") == 0


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none.yaml cannot be read \(No such file or directory\)"):
        read_configuration(tmp_path / "none.yaml")


def test_paths_are_meant_relative_to_the_file(tiny, write, tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text("raise RuntimeError('must not be run')")
    tiny["backbones"] = [{"kind": "local", "function": "net.py:load", "patch": 8}]
    tiny["output"] = "out"
    monkeypatch.chdir("/")
    wanted = read_configuration(write(tiny))
    assert wanted.backbones[0].function == f"{tmp_path}/net.py:load"
    assert wanted.output == tmp_path / "out"


def test_changes_reach_any_depth(tiny, write):
    changes = {"optimiser.learning_rate": 1e-3, "backbones.1.patch": 16, "steps": 5, "model.layout": "published"}
    wanted = read_configuration(write(tiny), changes)
    assert wanted.optimiser.learning_rate == 1e-3
    assert wanted.backbones[1].patch == 16
    assert wanted.steps == 5
    assert wanted.model.layout == "published"


def test_numbers_as_yaml_1_1_does_not_know_them(tiny, write):
    text = write(tiny).read_text() + "optimiser: {learning_rate: 3e-4}\n"  # to PyYAML that is a word
    assert read_configuration(write(text)).optimiser.learning_rate == 3e-4
