import pytest
import torch
from safetensors.torch import load_file

from omniup.errors import InputError
from omniup.training.checkpoints import Checkpoints
from omniup.training.hypir import Configuration, train
from omniup.training.hypir import trainer as module
from omniup.training.hypir.configuration import LossSettings
from omniup.training.hypir.objective import GeneratorObjective
from omniup.training.stopping import StopRequest

pytestmark = pytest.mark.usefixtures("accelerate")


@pytest.fixture
def configure(smallest):
    """Make a configuration."""
    return lambda **fields: Configuration(**(smallest | fields))


@pytest.fixture
def losses(tmp_path):
    """Train, and give the losses of each step."""

    def run(configuration, folder="run", **settings):
        found = {}
        train(configuration, tmp_path / folder, progress=lambda p: found.update({p.step: p.losses}), **settings)
        return found

    return run


def learned(training):
    """Copies of what learns."""
    networks = {
        "generator": training.generator.trained_weights.values(),
        "discriminator": training.discriminator.trained_weights(),
    }
    return {name: [weight.detach().clone() for weight in weights] for name, weights in networks.items()}


def changed(before, after):
    return any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_training_goes_on_exactly(configure, losses, tmp_path):
    """Pool, optimisers, moving average and discriminator included, with accumulated batches."""
    whole = losses(configure(accumulation=2, batch=1), "whole")
    assert list(whole) == [1, 2, 3, 4]
    before = losses(configure(accumulation=2, batch=1, steps=2), "parts")
    after = losses(configure(accumulation=2, batch=1), "parts", resume=True)
    assert before | after == whole
    first, second = (load_file(tmp_path / name / "hypir.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    assert losses(configure(accumulation=2, batch=1, seed=1), "other") != whole


def test_generator_and_discriminator_take_turns_on_batches_of_their_own(configure, tmp_path):
    training = module._Training(configure(accumulation=2, batch=1), tmp_path, None)
    read = []
    data = ((read.append(position), (training.squares[position][0][None], [""]))[1] for position in range(8))
    seen = {"generator": [], "discriminator": []}
    for name, optimiser in (("generator", training.optimiser), ("discriminator", training.discriminator_optimiser)):
        optimiser.optimizer.register_step_pre_hook(
            lambda *_, name=name: seen[name].append((len(read), learned(training)))
        )
    start = learned(training)
    training._take_step(data, StopRequest())
    assert [count for count, _ in seen["generator"]] == [2]
    assert [count for count, _ in seen["discriminator"]] == [4]
    (_, between) = seen["discriminator"][0]
    assert changed(start["generator"], between["generator"])
    assert not changed(start["discriminator"], between["discriminator"])
    end = learned(training)
    assert not changed(between["generator"], end["generator"])
    assert changed(between["discriminator"], end["discriminator"])


def test_gradients_are_clipped(configure, tmp_path):
    training = module._Training(configure(optimiser={"clip": 1e-3}), tmp_path, None)
    norms = []
    for optimiser, weights in (
        (training.optimiser, list(training.generator.trained_weights.values())),
        (training.discriminator_optimiser, list(training.discriminator.trained_weights())),
    ):
        optimiser.optimizer.register_step_pre_hook(
            lambda *_, weights=weights: norms.append(
                torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None]).norm().item()
            )
        )
    training._take_step(training._data(), StopRequest())
    assert norms == pytest.approx([1e-3, 1e-3], rel=1e-2)


def test_parts_of_the_loss_add_up_and_their_gradients_are_told(configure, losses):
    found = losses(configure(steps=2, gradients_every=2, losses={"mse": 2, "perceptual": 0, "adversarial": 0.1}))
    for parts in found.values():
        assert parts["loss"] == pytest.approx(2 * parts["mse"] + 0.1 * parts["adversarial"])
    assert not any(name.startswith("gradient/") for name in found[1])
    assert found[2]["gradient/mse"] > 0 and found[2]["gradient/adversarial"] > 0


def test_a_part_s_gradient_is_what_it_adds_at_the_last_layer(configure, tmp_path):
    training = module._Training(configure(), tmp_path, None)
    batch = training._batch(*next(training._data()), 0)
    with torch.no_grad():
        training.generator.last_layer.normal_()
    for weights in ({"mse": 3, "perceptual": 0, "adversarial": 0}, {"mse": 0, "perceptual": 0, "adversarial": 2}):
        objective = GeneratorObjective(training.generator, None, LossSettings(**weights), target=0.8)
        critic = training.discriminator.eval() if weights["adversarial"] else None
        found = objective(**batch, critic=critic, measure=True)
        found["loss"].backward()
        (norm,) = (value for name, value in found.items() if name.startswith("gradient/"))
        assert norm.item() == pytest.approx(training.generator.last_layer.grad.norm().item(), rel=1e-4)
        training.generator.zero_grad()


def test_without_an_adversary_there_is_no_discriminator(configure, losses, tmp_path):
    found = losses(configure(steps=1, losses={"perceptual": 0, "adversarial": 0}))
    assert found[1].keys() == {"loss", "mse"}
    assert not (tmp_path / "run/checkpoints/step-00000001/discriminator.safetensors").exists()


def test_validation_measures_and_draws_and_changes_nothing(configure, losses, tmp_path, photographs):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plain = losses(configure(steps=3), "plain")
    validation = {"images": photographs, "every": 2, "panels": 1}
    assert losses(configure(steps=3, validation=validation), "measured") == plain
    events = EventAccumulator(str(tmp_path / "measured/tensorboard"))
    events.Reload()
    assert [event.step for event in events.Images("panels/0")] == [2, 3]
    for name in ("lq", "generator", "average"):
        assert all(0 < event.value < 60 for event in events.Scalars(f"psnr/{name}"))
        assert all(-1 <= event.value <= 1 for event in events.Scalars(f"ssim/{name}"))
    assert len({event.value for event in events.Scalars("psnr/lq")}) == 1
    assert [event.value for event in events.Scalars("training/loss")] == pytest.approx(
        [parts["loss"] for parts in plain.values()]
    )


def test_it_learns(configure, losses):
    """A small model as a whole: within a hundred steps, the error nearly halves."""
    found = losses(
        configure(
            steps=100,
            generator={"model": "tiny", "train": "all", "vae": "trained", "gradient_checkpointing": False},
            losses={"perceptual": 0, "adversarial": 0},
            optimiser={"learning_rate": 2e-3},
            checkpoints={"every": 1000},
        )
    )
    means = [sum(found[step]["mse"] for step in steps) / 10 for steps in (range(1, 11), range(91, 101))]
    assert means[1] < 0.6 * means[0]


def test_a_checkpoint_of_more_processes_is_refused(configure, losses, tmp_path):
    losses(configure(steps=2))
    (place,) = (tmp_path / "run/checkpoints").iterdir()
    (place / "process-0.pt").rename(place / "process-7.pt")
    with pytest.raises(InputError, match="was written by 1 processes; accepted: as many"):
        losses(configure(), resume=True)


def test_mixed_precision(configure, losses):
    found = losses(configure(steps=1, precision="bf16"))
    assert found[1]["mse"] > 0


def test_the_newest_checkpoints_are_kept(configure, losses, tmp_path):
    losses(configure(checkpoints={"every": 1, "keep": 2}, losses={"perceptual": 0, "adversarial": 0}))
    assert Checkpoints(tmp_path / "run/checkpoints").steps() == [3, 4]
