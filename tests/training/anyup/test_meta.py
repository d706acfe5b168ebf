"""Training through adaptation: what it minimises, what learns, and that it goes on exactly."""

import pytest
import torch

from omniup.errors import InputError
from omniup.training.anyup import Configuration, train
from omniup.training.anyup import trainer as module
from omniup.training.anyup.configuration import LossSettings, MetaSettings
from omniup.training.anyup.meta import MetaObjective
from omniup.training.anyup.objective import Objective
from omniup.upsamplers.anyup import AnyUp
from omniup.upsamplers.anyup.adaptation import Adaptation
from support.anyup import random_anyup

pytestmark = pytest.mark.usefixtures("accelerate")

META, MODEL = {"inner_steps": 2}, {"window_ratio": 0.3}


@pytest.fixture
def configure(smallest):
    """Windows hold several cells, even at half the resolution: with one there is nothing to learn."""
    return lambda **fields: Configuration(**(smallest | {"meta": META, "model": MODEL} | fields))


def losses_of(configuration, folder, **settings):
    found = {}
    train(configuration, folder, progress=lambda p: found.update({p.step: p.losses}), **settings)
    return found


def weights(folder):
    return AnyUp.from_pretrained(folder / "anyup.safetensors").state_dict()


def batch_of(training, images=2):
    return training._batch(torch.stack([training.squares[n] for n in range(images)]), 0)


@pytest.mark.parametrize("references", [{}, {"enlarged": 0, "moved": 1}])
def test_it_starts_as_a_training_without(references, configure, tmp_path):
    """With steps of size 0, the losses are the means of each image's losses without adaptation."""
    training = module._Training(
        configure(references=references, backbones=[{"kind": "hog", "patch": 4}]), tmp_path, None
    )
    for sizes in training.network.adaptation.step_sizes.values():
        sizes.data.zero_()
    plain = Objective(training.network, LossSettings(self_consistency_size=8))
    found, expected = training.objective(**batch_of(training)), []
    for number in range(2):
        (one,) = (training._batch(training.squares[number][None], 0) for _ in range(1))
        whole = batch_of(training)
        for name in ("guidance", "features", "changed", "corners"):
            one[name] = whole[name][number : number + 1]
        one["targets"] = whole["targets"][number : number + 1]
        expected.append(plain(**one))
    for name, loss in found.items():
        torch.testing.assert_close(loss, sum(each[name] for each in expected) / 2, rtol=0, atol=1e-6)


def test_the_network_and_all_that_is_learned_of_adaptation_get_gradients(configure, tmp_path):
    training = module._Training(configure(), tmp_path, None)
    training.objective(**batch_of(training))["loss"].backward()
    without = {name for name, weight in training.network.named_parameters() if weight.grad is None}
    assert all("out_proj" in name for name in without)
    for name, weight in training.network.adaptation.named_parameters():
        assert weight.grad.abs().max() > 0, name


@pytest.mark.parametrize("consistency", [0, 1])
def test_first_and_second_order_differ_in_their_gradients_alone(consistency, configure, tmp_path):
    gradients, values = [], []
    for first_order in (True, False):
        training = module._Training(
            configure(meta=META | {"first_order": first_order}, losses={"consistency": consistency}),
            tmp_path / str(first_order),
            None,
        )
        loss = training.objective(**batch_of(training))["loss"]
        loss.backward()
        values.append(loss.item())
        gradients.append(training.network.image_encoder[0].weight.grad.flatten())
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    assert 0.5 < torch.cosine_similarity(*gradients, dim=0) < 1 - 1e-6


@pytest.mark.parametrize("first_order", [True, False])
def test_a_training_goes_on_exactly(first_order, configure, tmp_path):
    fields = {"meta": META | {"first_order": first_order}}
    whole = losses_of(configure(**fields), tmp_path / "whole")
    before = losses_of(configure(steps=4, **fields), tmp_path / "parts")
    assert before | losses_of(configure(**fields), tmp_path / "parts", resume=True) == whole
    first, second = (weights(tmp_path / name) for name in ("whole", "parts"))
    assert first.keys() == second.keys()
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    assert (first["adaptation.step_sizes.norms"] != 5).any()


def test_losses_of_consistent_results_have_an_adaptation_to_such(configure, tmp_path):
    training = module._Training(configure(losses={"consistency": 1}), tmp_path, None)
    batch = batch_of(training)
    loss = training.objective(**batch)["loss"].item()
    training.objective.support_loss.consistency = 0
    assert training.objective(**batch)["loss"].item() != pytest.approx(loss, rel=1e-6)


def test_batch_mates_do_not_influence_each_other():
    network = random_anyup(basis_layout="paper", window_ratio=0.3)
    network.adaptation = Adaptation.of(network)
    objective = MetaObjective(Objective(network.train(), LossSettings(input_consistency=0)), MetaSettings())
    draw = torch.Generator().manual_seed(0)
    guidance, features = torch.rand(3, 3, 16, 16, generator=draw), torch.randn(3, 5, 4, 4, generator=draw)
    targets, corners = torch.randn(3, 5, 8, 8, generator=draw), torch.zeros(3, 1, 2, dtype=torch.long)

    def loss(*images):
        chosen = list(images)
        batch = {"guidance": guidance[chosen], "features": features[chosen], "targets": targets[chosen]}
        return objective(**batch, corners=corners[chosen], changed=None, size=(8, 8))["loss"]

    torch.testing.assert_close(loss(0, 1) - loss(0, 2), (loss(1) - loss(2)) / 2, rtol=0, atol=1e-5)


def test_validation_is_of_adapted_networks(configure, tmp_path, photo_folder):
    validation = {"images": [str(photo_folder)], "count": 1}
    backbones = [{"kind": "hog", "patch": 4}]
    training = module._Training(configure(steps=1, validation=validation, backbones=backbones), tmp_path, None)
    found = training._measure()
    training.network.adaptation.step_sizes["low_rank"].data.zero_()
    assert found["cosine/hog-patch4/anyup"] != training._measure()["cosine/hog-patch4/anyup"]
    assert training.network.training
    training.run(lambda _: None)


def test_trained_step_sizes_are_where_another_meta_training_starts(configure, tmp_path):
    losses_of(configure(steps=2), tmp_path / "first")
    model = MODEL | {"weights": str(tmp_path / "first/anyup.safetensors")}
    again = module._Training(configure(model=model), tmp_path / "again", None)
    trained = weights(tmp_path / "first")
    assert all(torch.equal(weight, trained[name]) for name, weight in again.network.state_dict().items())
    plain = module._Training(configure(model=model, meta=None), tmp_path / "plain", None)
    assert plain.network.adaptation is None
    plain.run(lambda _: None)
    assert not any(name.startswith("adaptation") for name in weights(tmp_path / "plain"))


def test_step_sizes_have_a_learning_rate_of_their_own(configure, tmp_path):
    training = module._Training(configure(meta=META | {"learning_rate": 0.5}), tmp_path, None)
    assert [group["lr"] for group in training.optimiser.param_groups] == [2e-4, 0.5]


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"inner_steps": 0}, "meta.inner_steps is 0; accepted: greater than or equal to 1"),
        ({"steps": 3}, "meta.steps is no field; accepted: inner_steps, first_order, learning_rate"),
        ({"learning_rate": 0}, "meta.learning_rate is 0; accepted: greater than 0"),
    ],
)
def test_what_cannot_be_is_refused(meta, said, write, smallest):
    from omniup.training.anyup import read_configuration

    with pytest.raises(InputError) as refused:
        read_configuration(write(smallest | {"meta": meta}))
    assert said in str(refused.value)
