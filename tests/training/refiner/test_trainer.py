import math

import pytest
import torch

from omniup.cli import main
from omniup.errors import InputError
from omniup.training.refiner import Configuration, read_configuration, train
from omniup.training.refiner import trainer as module
from omniup.upsamplers.anyup import Refiner
from support.anyup import random_anyup

pytest.importorskip("diffusers")
pytestmark = pytest.mark.usefixtures("accelerate")


@pytest.fixture(scope="module")
def fields(smallest, tmp_path_factory):
    """The fields of a configuration whose steps are quick, with AnyUp at random weights."""
    weights = tmp_path_factory.mktemp("weights") / "anyup.pth"
    torch.save(random_anyup().state_dict(), weights)
    kept = {name: smallest[name] for name in ("data", "backbones", "checkpoints", "batch")}
    return kept | {"anyup": str(weights), "refiner": {"width": 4, "components": 3}, "steps": 4}


@pytest.fixture
def losses(tmp_path):
    """Train in a folder of the test, and give the loss of each step."""

    def run(configuration, folder="run", **settings):
        found = {}
        train(configuration, tmp_path / folder, progress=lambda p: found.update({p.step: p.losses["loss"]}), **settings)
        return found

    return run


def test_a_training_goes_on_exactly(fields, losses, tmp_path):
    whole = losses(Configuration(**fields), "whole")
    assert list(whole) == [1, 2, 3, 4]
    steady = fields | {"optimiser": {"decay": "none"}}  # or else the rate depends on the number of steps
    whole = losses(Configuration(**steady), "steady")
    before = losses(Configuration(**steady | {"steps": 2}), "parts")
    after = losses(Configuration(**steady), "parts", resume=True)
    assert before | after == whole
    one, two = ((tmp_path / folder / "refiner.safetensors").read_bytes() for folder in ("steady", "parts"))
    assert one == two


def test_weights_tell_how_their_refiner_is_made(fields, losses, tmp_path):
    losses(Configuration(**fields))
    refiner = Refiner.from_pretrained(tmp_path / "run/refiner.safetensors")
    assert (refiner.denoiser.width, refiner.components, refiner.scale) == (4, 3, 2)
    assert refiner.denoiser.tail.weight.abs().max() > 0


def test_residuals_are_what_lies_between_the_result_and_the_truth(fields, tmp_path):
    """Added to the result, those of all components give the truth, for features of fewer channels than components."""
    configuration = Configuration(**fields | {"backbones": [{"kind": "hog", "patch": 4}]})
    training = module._Training(configuration, tmp_path, None)
    training.refiner.components = 99
    images = torch.stack([training.squares[position] for position in (0, 1)])
    views = module.cut(images, 4, configuration.data, module.draw(0, "crops", 0))
    features = training.backbones[0](views.reduced)
    targets = training.backbones[0](views.crops.flatten(0, 1))
    made = training._residuals(views, features, targets)
    with torch.no_grad():
        initial = training.anyup(views.guidance, features, views.size)
    results = module.regions(initial, views.corners, views.cells)
    start = 0
    for n, (truth, result) in enumerate(zip(targets, results, strict=True)):
        components, _ = training.refiner.conditions(views.guidance[n : n + 1], features[n], initial[n])
        count = len(components.deviations)
        added = components.vectors(made["residual"][start : start + count, 0])
        shown = components.directions.T @ (components.directions @ (truth - result).flatten(1))  # the span's part
        torch.testing.assert_close(added.flatten(1), shown, rtol=0, atol=1e-4)
        start += count
    assert start == len(made["conditions"]) == len(made["deviation"])


def test_the_loss_comes_down(fields, losses):
    backbones = [{"kind": "hog", "patch": 4}]
    optimiser = {"learning_rate": 3e-3, "warmup": 0}
    found = losses(Configuration(**fields | {"backbones": backbones, "steps": 60, "optimiser": optimiser}))
    means = [sum(found[step] for step in steps) / 20 for steps in (range(1, 21), range(41, 61))]
    assert means[1] < 0.8 * means[0]


def test_what_validation_measures(fields, tmp_path, photo_folder):
    validation = {"images": [str(photo_folder)], "count": 2, "samples": 2, "steps": 1}
    held_out = [{"kind": "hog", "patch": 4}, {"kind": "colours", "patch": 2, "held_out": True}]
    configuration = Configuration(**fields | {"steps": 1, "validation": validation, "backbones": held_out})
    measured = train(configuration, tmp_path / "run").measured
    assert measured.keys() == {
        f"{measure}/{backbone}/{method}"
        for measure in ("error", "correlation")
        for backbone in ("hog-patch4", "colours-patch2")
        for method in ("anyup", "refined")
    }
    assert all(math.isfinite(value) for value in measured.values())


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"refiner": {"depth": 2}}, "refiner.depth is no field; accepted: width, components"),
        ({"refiner": {"width": 0}}, "refiner.width"),
        ({"losses": {}}, "losses is no field"),
        ({"anyup": "none.pth"}, "anyup is .*none.pth'; accepted: paper, multi_backbone, omniup, or a file"),
        ({"backbones": [{"kind": "hog", "patch": 4, "held_out": True}]}, "backbones are all held out"),
        ({"backbones": [{"kind": "hog", "patch": 5}]}, "data.image_size is 32; accepted: multiples of the patch"),
        ({"validation": {"images": ["sample:coffee"], "steps": 11}}, "validation.steps"),
    ],
)
def test_refusals(change, refusal, fields, write):
    with pytest.raises(InputError, match=refusal):
        read_configuration(write(fields | change))


def test_the_example_trains(shared, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/checkpoints").symlink_to(shared / "weights")
    example = module.__file__.partition("src/omniup")[0] + "examples/refiner_tiny.yaml"
    with pytest.raises(SystemExit) as left:
        main(["train", "refiner", example, "-o", str(tmp_path / "run"), "--set", "validation.samples=2"])
    assert left.value.code == 0, capsys.readouterr().err
    assert Refiner.from_pretrained(tmp_path / "run/refiner.safetensors").scale == 2
