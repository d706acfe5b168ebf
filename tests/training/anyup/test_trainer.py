import math
import signal

import pytest
import torch

from omniup.errors import InputError
from omniup.training import loop
from omniup.training.anyup import Configuration, train
from omniup.training.anyup import trainer as module
from omniup.training.anyup.configuration import LossSettings
from omniup.training.anyup.objective import Objective
from omniup.training.checkpoints import Checkpoints
from omniup.training.stopping import StopRequest, stop_requests
from omniup.upsamplers.anyup import AnyUp

pytestmark = pytest.mark.usefixtures("accelerate")


@pytest.fixture(scope="module")
def configure(smallest):
    """Make a configuration."""
    return lambda **fields: Configuration(**(smallest | fields))


def losses_of(configuration, folder, **settings):
    """Train, and give the losses of each step."""
    found = {}
    train(configuration, folder, progress=lambda p: found.update({p.step: p.losses}), **settings)
    return found


@pytest.fixture
def losses(tmp_path):
    """Train in a folder of the test, and give the losses of each step."""
    return lambda configuration, folder="run", **settings: losses_of(configuration, tmp_path / folder, **settings)


@pytest.fixture(scope="module")
def whole(configure, tmp_path_factory):
    """The losses of a training as it is configured, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return losses_of(configure(), folder), folder


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def test_equal_trainings_are_equal_to_the_last_bit(configure, losses, whole):
    first, _ = whole
    assert list(first) == [1, 2, 3, 4, 5, 6]
    assert losses(configure(), "second") == first
    assert losses(configure(seed=1), "third") != first


def test_parts_of_the_loss_add_up(configure, losses):
    for parts in losses(configure(steps=2)).values():
        consistency = parts["self_consistency"] + parts["input_consistency"]
        assert parts["loss"] == pytest.approx(parts["distance"] + 0.1 * consistency)


def test_a_weight_of_zero_leaves_a_loss_out(configure, losses):
    found = losses(configure(steps=1, losses={"self_consistency": 0, "input_consistency": 0}))
    assert found[1].keys() == {"distance", "loss"}


def test_a_training_goes_on_exactly(configure, losses, tmp_path, whole):
    whole, folder = whole
    before = losses(configure(steps=4), "parts")
    after = losses(configure(), "parts", resume=True)
    assert list(after) == [5, 6]
    assert before | after == whole
    first, second = (
        AnyUp.from_pretrained(place / "anyup.safetensors", basis_layout="paper").state_dict()
        for place in (folder, tmp_path / "parts")
    )
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


def test_a_training_on_several_references_goes_on_exactly(configure, losses, photo_folder, tmp_path):
    for path in photo_folder.iterdir():
        (tmp_path / path.name.replace("labels", "segments")).write_bytes(path.read_bytes())
    references = {"enlarged": 1, "moved": 1, "segments": 2, "images": [str(tmp_path)]}
    fields = {
        "references": references,
        "losses": {"consistency": 1, "self_consistency_size": 8},
        "backbones": [{"kind": "hog", "patch": 4}, {"kind": "colours", "patch": 8}],
    }
    wanted = losses(configure(**fields), "whole")
    assert any("segments" in parts for parts in wanted.values())
    assert any("distance" in parts for parts in wanted.values())
    before = losses(configure(**fields, steps=3), "parts")
    assert before | losses(configure(**fields), "parts", resume=True) == wanted


def test_accumulated_batches_make_one_step(configure, losses, tmp_path):
    found = losses(configure(steps=2, batch=1, accumulation=3))
    assert list(found) == [1, 2]
    state = Checkpoints(tmp_path / "run/checkpoints").read(2).state["optimiser"]["state"]
    assert {int(weight["step"]) for weight in state.values()} == {2}


def test_gradients_of_accumulated_batches_are_averaged(configure, tmp_path):
    configuration = configure(batch=1, accumulation=2)
    training = module._Training(configuration, tmp_path, None)
    weight = training.network.image_encoder[0].weight
    gradients = []
    images = [training.squares[position][None] for position in (0, 1)]
    for number, image in enumerate(images):
        training.objective(**training._batch(image, number))["loss"].backward()
        gradients.append(weight.grad.clone())
        weight.grad = None
    seen = []
    training.optimiser.optimizer.register_step_pre_hook(lambda *_: seen.append(weight.grad.clone()))
    training._take_step(iter(images), StopRequest())
    assert torch.allclose(seen[-1], (gradients[0] + gradients[1]) / 2, rtol=1e-4, atol=1e-7)


def test_the_loss_comes_down(configure, losses):
    found = losses(
        configure(
            steps=60,
            backbones=[{"kind": "colours", "patch": 2}],
            optimiser={"learning_rate": 2e-3},
            losses={"self_consistency": 0},
        )
    )
    means = [sum(found[step]["loss"] for step in steps) / 20 for steps in (range(1, 21), range(41, 61))]
    assert means[1] < 0.8 * means[0]


def test_what_tensorboard_shows(configure, losses, tmp_path, photo_folder):
    probe = {"train": str(photo_folder), "test": str(photo_folder), "ignore": 9}
    validation = {
        "images": [str(photo_folder)],
        "count": 2,
        "every": 2,
        "probe": probe,
    }
    backbones = [{"kind": kind, "patch": patch} for kind, patch in (("hog", 4), ("colours", 2), ("gabor", 4))]
    found = losses(configure(steps=3, backbones=backbones, validation=validation))
    events = scalars(tmp_path / "run")
    logged = events.Scalars("training/loss")
    assert [event.step for event in logged] == [1, 2, 3]
    assert [event.value for event in logged] == pytest.approx([parts["loss"] for parts in found.values()])
    for name in ("hog-patch4", "colours-patch2", "gabor-patch4"):
        assert [event.step for event in events.Images(f"panels/{name}")] == [2, 3]
        for method in ("anyup", "bilinear"):
            assert all(-1 <= event.value <= 1 for event in events.Scalars(f"cosine/{name}/{method}"))
            assert all(0 <= event.value <= 1 for event in events.Scalars(f"iou/{name}/{method}"))
    bright = events.Scalars("iou/colours-patch2/bilinear")[-1].value
    assert bright > 0.8  # labels that colours tell


def test_validation_does_not_change_the_training(configure, losses, photo_folder):
    plain = losses(configure(steps=4), "plain")
    measured = configure(steps=4, validation={"images": [str(photo_folder)], "count": 1, "every": 1})
    assert losses(measured, "measured") == plain


def test_what_is_held_out_is_measured_and_not_drawn(configure, tmp_path, photo_folder):
    backbones = [{"kind": "hog", "patch": 4}, {"kind": "colours", "patch": 4, "held_out": True}]
    validation = {"images": [str(photo_folder)], "count": 1}
    training = module._Training(configure(backbones=backbones, validation=validation), tmp_path, None)
    drawn = {training._batch(training.squares[0][None], number)["features"].shape[1] for number in range(16)}
    assert drawn == {18}
    assert "cosine/colours-patch4/anyup" in training.run(lambda _: None).measured


def test_a_folder_with_checkpoints_is_refused_or_begun_anew(configure, losses, tmp_path):
    first = losses(configure())
    with pytest.raises(InputError, match="holds a checkpoint after step 6; accepted: to resume it, to begin"):
        losses(configure())
    assert losses(configure(steps=2), resume=False) == {step: first[step] for step in (1, 2)}
    assert Checkpoints(tmp_path / "run/checkpoints").steps() == [2]
    assert [event.step for event in scalars(tmp_path / "run").Scalars("training/loss")] == [1, 2]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_told_to_stop_it_ends_after_the_step_at_hand(number, configure, losses, tmp_path, monkeypatch, whole):
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    whole, _ = whole
    forward, calls = Objective.forward, []

    def interrupted(*arguments, **batch):
        calls.append(batch)
        if len(calls) == 3:
            signal.raise_signal(number)
        return forward(*arguments, **batch)

    monkeypatch.setattr(Objective, "forward", interrupted)
    outcome = train(configure(), tmp_path / "parts")
    assert (outcome.step, outcome.finished, outcome.weights) == (3, False, None)
    assert Checkpoints(tmp_path / "parts/checkpoints").steps() == [2, 3]
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    assert losses(configure(), "parts", resume=True) == {step: whole[step] for step in (4, 5, 6)}


def test_the_learning_rate_grows_and_falls(configure, tmp_path):
    optimiser = {"learning_rate": 1e-2, "warmup": 2, "decay": "cosine"}
    training = module._Training(configure(optimiser=optimiser), tmp_path, None)
    seen = []
    training.optimiser.optimizer.register_step_pre_hook(
        lambda optimiser, *_: seen.append(optimiser.param_groups[0]["lr"])
    )
    training.run(lambda _: None)
    falling = [1e-2 * (1 + math.cos(math.pi * done / 4)) / 2 for done in range(4)]
    assert seen == pytest.approx([1e-2 / 3, 2e-2 / 3, *falling])


def test_a_learning_rate_that_falls_goes_on_where_it_was(configure, losses, monkeypatch):
    configuration = configure(optimiser={"learning_rate": 1e-2, "warmup": 1, "decay": "cosine"})
    whole = losses(configuration, "whole")
    measure, steps = module._Training._update_weights, []

    def interrupted(*arguments):
        steps.append(len(steps))
        if len(steps) == 4:
            signal.raise_signal(signal.SIGTERM)
        return measure(*arguments)

    monkeypatch.setattr(module._Training, "_update_weights", interrupted)
    losses(configuration, "parts")
    assert losses(configuration, "parts", resume=True) == {step: whole[step] for step in (5, 6)}


@pytest.mark.usefixtures("interruptible")
def test_told_twice_it_ends_at_once():
    with pytest.raises(KeyboardInterrupt), stop_requests() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.made
        signal.raise_signal(signal.SIGINT)


def test_nothing_to_resume_is_a_beginning(configure, losses):
    assert list(losses(configure(steps=1), resume=True)) == [1]


def test_a_finished_training_has_nothing_left_to_do(configure, losses):
    losses(configure(steps=2))
    assert losses(configure(steps=2), resume=True) == {}


def test_another_configuration_does_not_go_on(configure, losses):
    losses(configure(steps=2))
    with pytest.raises(
        InputError, match="was written with other batch, optimiser; accepted: changes of steps, validation, "
    ):
        losses(configure(batch=1, optimiser={"learning_rate": 1e-3}), resume=True)


def test_without_crops_the_whole_is_compared(configure, losses, photo_folder):
    data = {"images": [str(photo_folder)], "image_size": 32, "input_size": 16, "crops": 0}
    found = losses(configure(steps=2, data=data))
    assert all(math.isfinite(parts["loss"]) for parts in found.values())


def test_weights_tell_how_their_network_is_made(configure, losses, tmp_path):
    losses(configure(steps=1, model={"window_ratio": 0.25, "feature_path": False}))
    trained = AnyUp.from_pretrained(tmp_path / "run/anyup.safetensors")
    assert (trained.basis_layout, trained.window_ratio, trained.feature_path) == ("paper", 0.25, False)


def test_weights_to_begin_with(configure, losses, tmp_path):
    losses(configure(steps=2), "first")
    begin = {"weights": str(tmp_path / "first/anyup.safetensors")}
    training = module._Training(configure(model=begin), tmp_path / "second", None)
    trained = AnyUp.from_pretrained(begin["weights"], basis_layout="paper").state_dict()
    assert all(torch.equal(weight, trained[name]) for name, weight in training.network.state_dict().items())
    assert training.network.training
    assert training.network.image_encoder[0].weight.requires_grad


@pytest.mark.parametrize("extension", [{"dynamic_basis": True}, {"pyramid": (0.05, 0.2)}, {"implicit": True}], ids=str)
def test_extensions_start_from_weights_without_them_and_go_on_exactly(extension, configure, losses, whole, tmp_path):
    _, folder = whole
    model = {"weights": str(folder / "anyup.safetensors"), **extension}
    begun = [module._Training(configure(model=model), tmp_path / name, None).network for name in ("a", "b")]
    states = [network.state_dict() for network in begun]
    plain = AnyUp.from_pretrained(folder / "anyup.safetensors").state_dict()
    assert all(torch.equal(weight, states[0][name]) for name, weight in plain.items())
    assert len(states[0]) > len(plain)
    assert all(torch.equal(weight, states[1][name]) for name, weight in states[0].items())  # what is new has the seed
    together = losses(configure(model=model), "whole, extended")
    parts = losses(configure(steps=4, model=model), "parts"), losses(configure(model=model), "parts", resume=True)
    assert parts[0] | parts[1] == together
    assert AnyUp.from_pretrained(tmp_path / "parts/anyup.safetensors").settings.items() >= extension.items()


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # of torch.rms_norm, under autocast
def test_mixed_precision(configure, losses):
    full, mixed = losses(configure(steps=1), "full"), losses(configure(steps=1, precision="bf16"), "mixed")
    assert mixed[1]["loss"] == pytest.approx(full[1]["loss"], rel=0.05)
    assert mixed[1]["loss"] != full[1]["loss"]


@pytest.fixture(autouse=True)
def one_precision_after_the_other(accelerate, monkeypatch):
    make = loop.make_accelerator

    def fresh(configuration):
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        return make(configuration)

    monkeypatch.setattr(loop, "make_accelerator", fresh)


@pytest.mark.skipif(torch.cuda.is_available(), reason="GPUs have it")
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # of torch.rms_norm, under autocast
@pytest.mark.parametrize(("capability", "same"), [("AVX2", "no"), ("AVX512", "bf16"), ("DEFAULT", "no")])
def test_precision_is_chosen_by_the_device(configure, losses, monkeypatch, capability, same):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert losses(configure(steps=1, precision="auto"), "auto") == losses(configure(steps=1, precision=same), "same")


@pytest.mark.skipif(torch.cuda.is_available(), reason="GPUs have it")
def test_a_precision_that_the_device_lacks_is_refused(configure, losses):
    with pytest.raises(InputError, match=r"^precision is 'fp16', which needs a GPU; accepted: auto, no, bf16$"):
        losses(configure(precision="fp16"))


def test_a_backbone_whose_cells_do_not_fit_is_refused_before_anything_is_written(configure, losses, tmp_path):
    with pytest.raises(InputError, match=r"test_resnet-patch4 gives .*; accepted: a cell for each of its patches"):
        losses(configure(backbones=[{"kind": "timm", "model": "test_resnet", "patch": 4}]))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_ends_it(configure, losses, monkeypatch):
    forward = Objective.forward
    monkeypatch.setattr(Objective, "forward", lambda *a, **k: {n: v * math.inf for n, v in forward(*a, **k).items()})
    with pytest.raises(InputError, match=r"the loss is inf at step 1; accepted: a lower optimiser.learning_rate"):
        losses(configure())


def test_self_consistency_compares_with_the_clean_guidance():
    network = AnyUp(basis_layout="paper").train()
    guidance, features = torch.rand(1, 3, 16, 16), torch.randn(1, 6, 4, 4)
    batch = {
        "guidance": guidance,
        "features": features,
        "targets": torch.randn(1, 6, 4, 4),
        "corners": torch.tensor([[[2, 1]]]),
        "size": (8, 8),
    }
    for side in (None, 8, 10):
        objective = Objective(network, LossSettings(self_consistency_size=side))
        assert objective(**batch, changed=guidance)["self_consistency"].item() == pytest.approx(0, abs=1e-5)
        assert objective(**batch, changed=1 - guidance)["self_consistency"] > 1e-5
    assert "self_consistency" not in objective(**batch, changed=None)


# ---- what is not its own


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("resume", [None, True, False])
@pytest.mark.parametrize(
    "name", ["anyup.safetensors", "checkpoints/step-00000009/mine", "tensorboard/events.out.tfevents.1"]
)
def test_what_no_training_wrote_is_refused_and_stays(name, resume, configure, losses, tmp_path):
    place = tmp_path / "run" / name
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    with pytest.raises(InputError):
        losses(configure(), resume=resume)
    assert contents(tmp_path / "run") == {name: b"mine"}


def test_what_lies_beside_a_training_stays(configure, losses, tmp_path):
    losses(configure(steps=2))
    mine = ("notes.txt", "checkpoints/notes.txt", "tensorboard/notes.txt")
    for name in mine:
        (tmp_path / "run" / name).write_text("mine")
    losses(configure(steps=2), resume=False)
    assert {name: contents(tmp_path / "run")[name] for name in mine} == dict.fromkeys(mine, b"mine")


def test_a_folder_of_before_there_was_a_record_is_resumed_and_not_begun_anew(configure, losses, tmp_path):
    losses(configure(steps=2))
    (tmp_path / "run/omniup.json").unlink()
    before = contents(tmp_path / "run")
    with pytest.raises(InputError, match="which is on no record of such a training there; accepted: another folder"):
        losses(configure(steps=3), resume=False)
    assert contents(tmp_path / "run") == before
    assert list(losses(configure(steps=3), resume=True)) == [3]
    assert list(losses(configure(steps=1), resume=False)) == [1]


def test_old_weights_stay_until_there_are_new_ones(configure, losses, tmp_path):
    weights = tmp_path / "run/anyup.safetensors"
    losses(configure(steps=1))
    old = weights.read_bytes()

    def stop(progress):
        assert weights.read_bytes() == old
        assert Checkpoints(tmp_path / "run/checkpoints").steps() == []
        if progress.step == 2:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        train(configure(seed=1, checkpoints={"every": 9}), tmp_path / "run", resume=False, progress=stop)
    assert weights.read_bytes() == old
    losses(configure(seed=1, steps=1), resume=False)
    assert weights.read_bytes() != old


def test_weights_that_it_begins_with_are_not_overwritten(configure, losses, tmp_path):
    losses(configure(steps=2))
    before = contents(tmp_path / "run")
    for weights in ("anyup.safetensors", "checkpoints/step-00000002/anyup.safetensors"):
        begin = {"weights": str(tmp_path / "run" / weights)}
        with pytest.raises(InputError, match="is an input, which the result would overwrite"):
            losses(configure(model=begin), resume=False)
        assert contents(tmp_path / "run") == before


def test_equal_trainings_write_equal_files(configure, losses, tmp_path):
    for folder in ("one", "two"):
        losses(configure(steps=1), folder)
    one, two = (contents(tmp_path / folder) for folder in ("one", "two"))
    assert one["anyup.safetensors"] == two["anyup.safetensors"]
