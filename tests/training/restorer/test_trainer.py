import pytest
import torch
from safetensors.torch import load_file

from omniup.errors import InputError
from omniup.restoration import Restorer
from omniup.restoration.degradation import Degradation, draw
from omniup.restoration.residual_network import ResidualNetwork
from omniup.training.restorer import Configuration, train
from omniup.training.restorer.configuration import LossSettings
from omniup.training.restorer.levels import known_levels
from omniup.training.restorer.pairs import Pairs
from omniup.training.restorer.trainer import _Objective
from support.training import in_two_processes

pytestmark = pytest.mark.usefixtures("accelerate")

MILD = {
    "sharpening": {"weight": 0},
    "first": {
        "blur": {"probability": 0},
        "resize": {"up": 0, "down": 0, "keep": 1},
        "noise": {"gaussian": 1, "sigma": [15, 15]},
        "quality": [100, 100],
    },
    "second": {
        "blur": {"probability": 0},
        "resize": {"up": 0, "down": 0, "keep": 1},
        "noise": {"gaussian": 1, "sigma": [0, 0]},
        "quality": [40, 40],
    },
    "stage2_scale": 1,
    "last": {"jpeg_after": 0, "low_pass": 0},
}


def configuration(**fields):
    """A training that takes a twentieth of a second a step."""
    smallest = {
        "data": {"images": ["sample:coffee", "sample:chelsea"], "image_size": 40, "border": 8},
        "degradations": {"heavy": {"settings": {}}, "mild": {"settings": MILD, "known": True}, "none": {"known": True}},
        "network": {"widths": [8, 8, 8], "blocks": 1},
        "checkpoints": {"every": 2, "keep": 9},
        "precision": "no",
        "steps": 4,
        "batch": 4,
    }
    return Configuration(**(smallest | fields))


def losses(wanted, folder, **settings):
    """Train, and return the losses of each step."""
    found = {}
    train(wanted, folder, progress=lambda progress: found.update({progress.step: progress.losses}), **settings)
    return found


def test_a_training_goes_on_exactly(tmp_path):
    whole = losses(configuration(), tmp_path / "whole")
    assert list(whole) == [1, 2, 3, 4]
    before = losses(configuration(steps=2), tmp_path / "parts")
    assert before | losses(configuration(), tmp_path / "parts", resume=True) == whole
    first, second = (load_file(tmp_path / name / "restorer.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    assert all(weight.dtype == torch.float16 for weight in first.values())
    assert losses(configuration(seed=1), tmp_path / "other") != whole


def test_it_learns_what_it_can_restore(tmp_path):
    only = {"mild": {"settings": MILD, "known": True}}
    optimiser = {"learning_rate": 3e-3, "warmup": 0}
    found = losses(configuration(degradations=only, steps=240, optimiser=optimiser), tmp_path / "run")
    first, last = (sum(found[step]["loss"] for step in steps) / 10 for steps in (range(1, 11), range(231, 241)))
    assert last < first - 0.2
    image = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    restorer = Restorer.from_pretrained(tmp_path / "run" / "restorer.safetensors")
    assert restorer(image, scale=2).shape == (1, 3, 48, 64)


def test_draws_tell_the_levels():
    settings = Degradation.model_validate(MILD)
    levels = known_levels(draw(settings, 2, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(levels, torch.tensor([15 / 25, 0.6, 0.0]).expand(2, 3))
    blurred = MILD | {"first": MILD["first"] | {"blur": {"low_pass": 0, "sigma": [1.5, 1.5]}}}
    settings = Degradation.model_validate(blurred)
    torch.testing.assert_close(
        known_levels(draw(settings, 1, torch.Generator().manual_seed(0)))[0, 2], torch.tensor(0.5)
    )


def test_a_batch_has_several_degradations_and_borders():
    pairs = Pairs(configuration(batch=16))
    images = torch.rand(16, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    batch = pairs.degraded(images, 0)
    assert batch["lq"].shape == batch["target"].shape == (16, 3, 32, 32)
    unknown = batch["known"].isnan().all(1)
    assert 0 < unknown.sum() < 16
    untouched = (batch["lq"] == batch["target"]).flatten(1).all(1)
    assert 0 < untouched.sum() < 16
    assert (batch["known"][untouched] == 0).all()
    torch.testing.assert_close(batch, pairs.degraded(images, 0), equal_nan=True)


def test_a_batch_has_one_scale():
    """Photographs are reduced before they are degraded, so that the target has `scale` times the pixels."""
    scales = (0.0, 1.0, 0.0, 1.0)
    pairs = Pairs(configuration(batch=8, scales=scales, degradations={"none": {"known": True}}))
    images = torch.rand(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(images, (40, 40), mode="bicubic").clamp(0, 1)
    found = set()
    for number in range(8):
        batch = pairs.degraded(images, number)
        scale = 32 // batch["lq"].shape[3]
        found.add(scale)
        assert batch["target"].shape == (8, 3, 32, 32)
        mean = torch.nn.functional.avg_pool2d(batch["target"], scale)
        assert (mean - batch["lq"]).abs().mean() < 0.01
        assert (mean.roll(1, 3) - batch["lq"]).abs().mean() > 0.02  # they lie on one another
    assert found == {2, 4}


def test_blur_is_never_given():
    batch = Pairs(configuration(batch=64)).degraded(torch.rand(64, 3, 40, 40), 0)
    noise, jpeg, blur = batch["given"].float().mean(0)
    assert 0.2 < noise < 0.8
    assert 0.2 < jpeg < 0.8
    assert blur == 0


def test_levels_that_are_estimated_too_high_weigh_more():
    network = ResidualNetwork((8, 8, 8), 1)
    lq = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        estimated = network.estimator(lq)

    def off(known):
        given = torch.zeros(2, 3, dtype=torch.bool)
        return _Objective(network, LossSettings(overestimated=3))(lq, lq, known, given)["levels"]

    torch.testing.assert_close(off(estimated - 0.2), 3 * off(estimated + 0.2))
    assert off(torch.full_like(estimated, torch.nan)) == 0


def test_it_starts_from_weights(tmp_path):
    first = train(configuration(steps=2), tmp_path / "first")
    start = configuration().network.model_copy(update={"weights": str(tmp_path / "first" / "restorer.safetensors")})
    still = {"learning_rate": 1e-9, "muon_rate": 1e-9, "warmup": 0}
    train(configuration(steps=1, network=start, optimiser=still), tmp_path / "second")
    before, after = (load_file(tmp_path / name / "restorer.safetensors") for name in ("first", "second"))
    assert first.finished
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight)
    wider = start.model_copy(update={"widths": (8, 8, 16)})
    with pytest.raises(InputError, match=r"network\.weights have the widths \(8, 8, 8\) and 1 blocks"):
        train(configuration(network=wider), tmp_path / "third")


def test_two_processes_have_batches_of_their_own(tmp_path):
    """Precision is chosen, which must not keep Accelerate from seeing that there are two."""
    path = tmp_path / "restorer.yaml"
    wanted = configuration(precision="auto", scales=(1.0, 1.0), checkpoints={"every": 4, "keep": 1})
    path.write_text(wanted.model_dump_json())
    outcome = in_two_processes("restorer", path, tmp_path / "two", "--set", "steps=2")
    assert (outcome["step"], outcome["finished"]) == (2, True)
    alone = Pairs(wanted, 0, 2)[[0, 1, 2, 3]], Pairs(wanted, 1, 2)[[4, 5, 6, 7]]
    assert not torch.equal(alone[0]["target"], alone[1]["target"])


def test_degrading_in_a_process_of_its_own_changes_nothing(tmp_path):
    wanted = configuration(steps=3)
    apart = wanted.model_copy(update={"data": wanted.data.model_copy(update={"workers": 1})})
    assert losses(apart, tmp_path / "apart") == losses(wanted, tmp_path / "run")


def test_validation_measures_each_degradation(tmp_path):
    wanted = configuration(validation={"images": ["sample:rocket"], "every": 4, "count": 1, "panels": 1}, steps=4)
    outcome = train(wanted, tmp_path / "run")
    names = {f"{name}/{measure}/{method}" for name in ("heavy", "mild", "none") for measure in ("psnr", "ssim")
             for method in ("lq", "restored")}  # fmt: skip
    assert outcome.measured.keys() == names
    assert outcome.measured["none/psnr/lq"] == 60
    assert outcome.measured["mild/psnr/lq"] < 35
