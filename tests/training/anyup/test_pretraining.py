"""Self-supervised steps before the others: what each task compares, and that nothing else changes."""

import math

import pytest
import torch

from omniup.errors import InputError
from omniup.training.anyup import Configuration, read_configuration, train
from omniup.training.anyup import pretraining as tasks
from omniup.training.anyup import trainer as module
from omniup.training.anyup.configuration import PretrainingSettings
from omniup.training.anyup.pretraining import PretrainingObjective
from omniup.upsamplers.anyup import AnyUp
from oracles.training_losses import cell_means, distance
from support.anyup import random_anyup
from support.training import scalars

PRETRAINING = {"steps": 3}
TASKS = {"inpainting", "scale_consistency", "alignment"}


@pytest.fixture
def configure(smallest):
    return lambda **fields: Configuration(**(smallest | {"pretraining": PRETRAINING} | fields))


def losses_of(configuration, folder, **settings):
    found = {}
    train(configuration, folder, progress=lambda p: found.update({p.step: p.losses}), **settings)
    return found


def batch_of(training, number=0, images=2):
    made = training._batch(torch.stack([training.squares[n] for n in range(images)]), number)
    assert made.pop("pretraining")
    return made


@pytest.mark.usefixtures("accelerate")
def test_the_first_steps_are_pretraining_and_the_events_show_it(configure, tmp_path):
    found = losses_of(configure(), tmp_path)
    for step, losses in found.items():
        assert all(math.isfinite(loss) for loss in losses.values())
        assert losses.keys() == (
            TASKS | {"loss"} if step <= 3 else {"distance", "self_consistency", "input_consistency", "loss"}
        )
    for name, steps in (("inpainting", [1, 2, 3]), ("distance", [4, 5, 6])):
        assert [step for step, _ in scalars(tmp_path, f"training/{name}")] == steps


@pytest.mark.usefixtures("accelerate")
def test_either_part_has_a_warmup_and_a_decay_of_its_own(configure, tmp_path):
    optimiser = {"warmup": 1, "decay": "cosine", "learning_rate": 1e-2}
    training = module._Training(configure(pretraining={"steps": 3}, steps=7, optimiser=optimiser), tmp_path, None)
    rates = []
    for training.step in range(7):
        rates.append(training._learning_rate())
    third = math.pi / 3
    assert rates == pytest.approx([0.5, 1, 0.5, 0.5, 1, (1 + math.cos(third)) / 2, (1 + math.cos(2 * third)) / 2])


@pytest.mark.usefixtures("accelerate")
def test_a_training_goes_on_exactly_within_and_after(configure, tmp_path):
    whole = losses_of(configure(), tmp_path / "whole")
    found = losses_of(configure(pretraining={"steps": 2}, steps=2), tmp_path / "other")
    assert found == {step: whole[step] for step in (1, 2)}
    before = losses_of(configure(steps=4), tmp_path / "parts")
    assert before | losses_of(configure(), tmp_path / "parts", resume=True) == whole
    first, second = ((tmp_path / name / "anyup.safetensors").read_bytes() for name in ("whole", "parts"))
    assert first == second


@pytest.mark.usefixtures("accelerate")
def test_resumed_within_pretraining_it_goes_on_exactly(configure, tmp_path, monkeypatch):
    whole = losses_of(configure(), tmp_path / "whole")
    checkpoints = sorted((tmp_path / "whole/checkpoints").glob("step-*"))
    assert checkpoints[0].name == "step-00000002"  # of three steps of pretraining
    for later in checkpoints[1:]:
        for file in later.iterdir():
            file.unlink()
        later.rmdir()
    bytes_before = (tmp_path / "whole/anyup.safetensors").read_bytes()
    assert losses_of(configure(), tmp_path / "whole", resume=True) == {step: whole[step] for step in (3, 4, 5, 6)}
    assert (tmp_path / "whole/anyup.safetensors").read_bytes() == bytes_before


@pytest.mark.usefixtures("accelerate")
def test_without_the_section_nothing_is_computed_otherwise(configure, tmp_path, monkeypatch):
    """Supervised batches are the same with it, and without it neither its batches nor its losses are made."""
    training = module._Training(configure(), tmp_path / "with", None)
    plain = module._Training(configure(pretraining=None), tmp_path / "without", None)
    images = torch.stack([training.squares[n] for n in range(2)])
    one, two = training._batch(images, 4), plain._batch(images, 4)
    assert one.pop("pretraining") is False
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[name]) for name, value in one.items() if isinstance(value, torch.Tensor))
    monkeypatch.setattr(module, "pretraining_batch", None)
    monkeypatch.setattr(PretrainingObjective, "__init__", None)
    assert list(plain.run(lambda _: None).measured) == []
    training._held.close()


@pytest.mark.usefixtures("accelerate")
def test_pretraining_leads_into_meta_training(configure, tmp_path):
    found = losses_of(configure(meta={"inner_steps": 1}, model={"window_ratio": 0.3}), tmp_path)
    assert "alignment" in found[3] and "distance" in found[4]
    assert "adaptation.directions" in AnyUp.from_pretrained(tmp_path / "anyup.safetensors").state_dict()


@pytest.mark.usefixtures("accelerate")
def test_every_weight_that_is_trained_gets_a_gradient(configure, tmp_path):
    for number, task in enumerate(sorted(TASKS)):
        weights = {name: float(name == task) for name in TASKS}
        training = module._Training(configure(pretraining=PRETRAINING | weights), tmp_path / str(number), None)
        training.objective(pretraining=True, **batch_of(training))["loss"].backward()
        without = {name for name, weight in training.network.named_parameters() if weight.grad is None}
        assert all("out_proj" in name for name in without)
        training._held.close()


@pytest.mark.usefixtures("accelerate")
def test_a_batch_is_of_two_backbones_and_of_scales_between_a_half_and_two(configure, tmp_path):
    training = module._Training(configure(pretraining={"steps": 6, "masked": 0.3}), tmp_path, None)
    scales = set()
    for number in range(6):
        batch = batch_of(training, number)
        features, other = batch["features"], batch["other"]
        assert {features.shape[1:], other.shape[1:]} == {(18, 4, 4), (32, 8, 8)}
        assert batch["signs"].shape == (2, tasks.SIGNS, 4, 4)
        assert set(batch["signs"].unique().tolist()) == {-1, 1}
        cells = features[0, 0].numel()
        assert batch["masked"].shape == (2, round(0.3 * cells))
        assert all(len(set(places.tolist())) == len(places) for places in batch["masked"])
        scales.add(batch["resized"].shape[2])
        again = batch_of(training, number)
        assert all(torch.equal(again[name], value) for name, value in batch.items() if isinstance(value, torch.Tensor))
    assert len(scales) > 3 and min(scales) >= 8 and max(scales) <= 32
    training._held.close()


@pytest.fixture
def small():
    """A network in float64, and a batch of two images for it."""
    network = random_anyup(basis_layout="paper", window_ratio=0.4, dtype=torch.float64).train()
    draw = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    return network, {
        "guidance": normal(2, 3, 12, 12).sigmoid(),
        "features": normal(2, 4, 3, 3),
        "size": (6, 6),
        "masked": torch.tensor([[0, 5], [8, 2]]),
        "resized": normal(2, 3, 9, 9).sigmoid(),
        "other": normal(2, 7, 3, 3),
        "signs": normal(2, 16, 3, 3).sign(),
    }


def test_the_loss_is_the_weighted_sum(small):
    network, batch = small
    found = PretrainingObjective(network, PretrainingSettings(steps=1, inpainting=2, alignment=3))(**batch)
    expected = 2 * found["inpainting"] + 30 * found["scale_consistency"] + 3 * found["alignment"]
    torch.testing.assert_close(found["loss"], expected)


def test_inpainting_is_the_distance_at_masked_cells_from_what_they_were(small):
    network, batch = small
    found = PretrainingObjective(network, PretrainingSettings(steps=1))(**batch)["inpainting"]
    replaced = batch["features"].clone()
    for image, places in enumerate(batch["masked"].tolist()):
        kept = [place for place in range(9) if place not in places]
        for place in places:
            replaced[image, :, place // 3, place % 3] = batch["features"][image].flatten(1)[:, kept].mean(1)
    means = cell_means(network(batch["guidance"], replaced, (6, 6)).detach(), (3, 3))
    chosen = [
        torch.stack([maps[image].flatten(1)[:, places] for image, places in enumerate(batch["masked"].tolist())])
        for maps in (means, batch["features"])
    ]
    assert found.item() == pytest.approx(distance(*(each[..., None] for each in chosen), flat=0.1), rel=1e-5)


def test_scale_consistency_is_nothing_where_the_image_is_the_same(small):
    network, batch = small
    objective = PretrainingObjective(network, PretrainingSettings(steps=1))
    assert objective(**batch)["scale_consistency"] > 1e-3
    assert objective(**batch | {"resized": batch["guidance"]})["scale_consistency"].item() == pytest.approx(0, abs=1e-9)


def test_alignment_is_the_squared_distance_of_attention_weights(small):
    """Exactly, with the columns of a Hadamard matrix for signs; and nothing where features are multiples."""
    network, batch = small
    objective = PretrainingObjective(network, PretrainingSettings(steps=1))
    rows = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(4):
        rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])  # [16, 16]
    signs = rows[:, :9].unflatten(1, (3, 3)).expand(2, -1, -1, -1)
    found = objective(**batch | {"signs": signs})["alignment"].item()
    every = torch.cartesian_prod(torch.arange(6), torch.arange(6))
    one, two = (
        network.eval().attention(batch["guidance"], batch[name], every, (6, 6)) for name in ("features", "other")
    )  # [2, 36, 3, 3] each
    assert found == pytest.approx((one - two).square().sum((2, 3)).mean().item(), rel=1e-5)
    same = objective(**batch | {"other": 5 * batch["features"]})["alignment"].item()
    assert same == pytest.approx(0, abs=1e-12)


def test_batch_mates_do_not_influence_alignment_and_scales(small):
    network, batch = small
    objective = PretrainingObjective(network, PretrainingSettings(steps=1, inpainting=0, scale_consistency=0))
    alone = [
        objective(**{n: v[[image]] if isinstance(v, torch.Tensor) else v for n, v in batch.items()})["alignment"].item()
        for image in range(2)
    ]
    assert objective(**batch)["alignment"].item() == pytest.approx(sum(alone) / 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pretraining": {}}, "pretraining.steps is missing"),
        ({"pretraining": {"steps": 9}}, "pretraining.steps is 9; accepted: up to steps, 6"),
        ({"pretraining": {"steps": 1, "jigsaw": 1}}, "pretraining.jigsaw is no field; accepted: steps, inpainting, "),
        ({"pretraining": {"steps": 1, "masked": 1}}, "pretraining.masked is 1; accepted: less than 1"),
        (
            {"pretraining": {"steps": 1, "inpainting": 0, "scale_consistency": 0, "alignment": 0}},
            "pretraining has no task; accepted: a weight above 0 for inpainting, scale_consistency or alignment",
        ),
        (
            {"backbones": [{"kind": "hog", "patch": 4}], "pretraining": {"steps": 1}},
            "pretraining.alignment is 1.0 with one backbone to train on; accepted: at least two, or 0",
        ),
        (
            {"backbones.0.patch": 16, "pretraining": {"steps": 1}},
            "data.input_size is 16; accepted: at least two cells of hog-patch16 along a side, for pretraining",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes, said, write, smallest):
    with pytest.raises(InputError) as refused:
        read_configuration(write(smallest), changes)
    assert said in str(refused.value)
