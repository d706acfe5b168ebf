"""AnyUp that has adapted to one image: nothing in zero steps, and what must hold of any number of them."""

import pytest
import torch
from torch.func import functional_call

from omniup import AnyUp, InputError
from omniup.upsamplers.anyup import FixedSizes
from omniup.upsamplers.anyup.adaptation import STEP_SIZE, Adaptation, Support, SupportLoss, halve
from oracles import adaptation as oracle
from support.anyup import random_anyup
from support.kernels import random_signal, smooth_image

IMAGE, FEATURES = smooth_image((48, 64), dtype=torch.float32), random_signal((12, 16), channels=5, dtype=torch.float32)


@pytest.fixture(scope="module")
def network():
    return random_anyup(basis_layout="paper", window_ratio=0.2)


def support_of(network, image, features):
    (support,) = Support.batch(network, torch.cat(network.normalise(halve(image))), features)
    return support


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_no_steps_change_nothing(network):
    assert torch.equal(network.adapt(IMAGE, FEATURES, 0)(IMAGE, FEATURES), network(IMAGE, FEATURES))


@pytest.mark.parametrize("name", ["paper", "multi_backbone"])
def test_no_steps_are_the_published_network(name, shared):
    published = AnyUp.from_pretrained(shared / f"weights/anyup_{name}.pth")
    adapted = published.adapt(IMAGE, FEATURES, 0)
    assert all(torch.equal(tensor, adapted.state_dict()[key]) for key, tensor in published.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "steps", "consistency"),
    [
        ({}, 1, None),
        ({"basis_layout": "paper", "window_ratio": 0.3}, 2, "auto"),
        ({"feature_path": False, "window_ratio": 1}, 2, 1.5),
    ],
)
def test_it_is_gradient_descent_as_written_out(settings, steps, consistency):
    network = random_anyup(dtype=torch.float64, **settings)
    network.adaptation = Adaptation.of(network)
    for name, sizes in network.adaptation.step_sizes.items():
        sizes.data.copy_(torch.rand(sizes.shape, generator=torch.Generator().manual_seed(len(name))))
    image, features = smooth_image((8, 12)), random_signal((4, 6), channels=3)
    expected = oracle.adapt(
        network.state_dict(),
        image[0],
        features[0],
        steps,
        step_sizes={name: sizes.data for name, sizes in network.adaptation.step_sizes.items()},
        directions=network.adaptation.directions.data,
        consistency={None: 0, "auto": 1}.get(consistency, consistency),
        **settings,
    )
    adapted = network.adapt(image, features, steps, consistency=consistency).state_dict()
    changed = [name for name, tensor in network.state_dict().items() if not torch.equal(adapted[name], tensor)]
    assert len(changed) == 4 + 8
    for name in changed:
        close(adapted[name], expected[name], 1e-9)


def test_the_loss_comes_down_and_the_network_stays(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    loss = SupportLoss(network, network.window_ratio, 2**28)
    support, values = support_of(network, IMAGE, FEATURES), []
    for steps in (0, 1, 3, 10):
        adapted = network.adapt(IMAGE, FEATURES, steps)
        values.append(functional_call(loss, {f"network.{k}": v for k, v in adapted.named_parameters()}, (support,)))
    assert values[0] > values[1] > values[2] > values[3]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_weights_that_do_not_change_are_the_same_objects(network):
    adapted = dict(network.adapt(IMAGE, FEATURES).named_parameters())
    own = {name for name, weight in network.named_parameters() if adapted[name] is not weight}
    assert {name.partition(".")[0] for name in own} == {"cross_decode", "aggregation"}
    assert len(own) == 12
    assert not any(adapted[name].requires_grad for name in own)


def test_the_order_and_the_scale_of_channels_do_not_matter(network):
    expected = network.adapt(IMAGE, FEATURES)(IMAGE, FEATURES)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(0))
    permuted = FEATURES[:, order]
    close(network.adapt(IMAGE, permuted)(IMAGE, permuted), expected[:, order], 1e-4)
    close(network.adapt(IMAGE, 8 * FEATURES)(IMAGE, 8 * FEATURES), 8 * expected, 1e-3)


def test_results_do_not_depend_on_the_memory(network):
    expected = network.adapt(IMAGE, FEATURES)(IMAGE, FEATURES)
    close(network.adapt(IMAGE, FEATURES, memory="1MB")(IMAGE, FEATURES), expected, 1e-4)
    with pytest.raises(InputError, match=r"^memory is 10000 bytes: a row of pixels takes \d+; accepted: more$"):
        network.adapt(IMAGE, FEATURES, memory=10_000)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_makes_its_own_gradients(network, mode):
    with mode():
        found = network.adapt(IMAGE.clone(), FEATURES.clone())
    assert torch.equal(found(IMAGE, FEATURES), network.adapt(IMAGE, FEATURES)(IMAGE, FEATURES))


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (7, 9)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.int32])
def test_grids_of_any_size_and_features_of_any_type(network, grid, dtype):
    features = (100 * random_signal(grid)).to(dtype)
    out = network.adapt(IMAGE, features)(IMAGE, features.float())
    assert out.isfinite().all()
    if grid == (1, 1):  # which is all that can be mixed
        close(out, features.float().expand_as(out))


def test_what_cannot_be_adapted_is_refused(network):
    two = IMAGE.repeat(2, 1, 1, 1)
    with pytest.raises(InputError, match=r"^image has 2 images; accepted: one image: each has"):
        network.adapt(two, FEATURES)
    with pytest.raises(InputError, match=r"^features has 2 images"):
        network.adapt(IMAGE, FEATURES.repeat(2, 1, 1, 1))
    with pytest.raises(InputError, match=r"^steps is -1; accepted: whole numbers from 0 to 1000"):
        network.adapt(IMAGE, FEATURES, -1)
    with pytest.raises(InputError, match=r"^anyup is in training mode"):
        AnyUp().adapt(IMAGE, FEATURES)


def test_what_is_learned_of_it_is_saved_and_read(network, tmp_path):
    trained = random_anyup(basis_layout="paper")
    trained.adaptation = Adaptation.of(trained)
    trained.adaptation.step_sizes["norms"].data.fill_(20)
    trained.save_pretrained(tmp_path)
    found = AnyUp.from_pretrained(tmp_path)
    expected = trained.adapt(IMAGE, FEATURES)(IMAGE, FEATURES)
    assert torch.equal(found.adapt(IMAGE, FEATURES)(IMAGE, FEATURES), expected)
    found.adaptation = None
    assert not torch.equal(found.adapt(IMAGE, FEATURES)(IMAGE, FEATURES), expected)
    assert torch.equal(found(IMAGE, FEATURES), trained(IMAGE, FEATURES))


def test_adapted_networks_are_exported_like_any_other(network):
    adapted = network.adapt(IMAGE, FEATURES)
    close(FixedSizes(adapted, (48, 64), (12, 16))(IMAGE, FEATURES), adapted(IMAGE, FEATURES))


@pytest.fixture(scope="module")
def problem():
    """A small network in float64 with its adaptation, a support and what the adapted network is measured by."""
    network = random_anyup(dtype=torch.float64, window_ratio=0.3).train().requires_grad_()
    network.adaptation = Adaptation.of(network)
    image, features = smooth_image((8, 8)), random_signal((4, 4), channels=3)
    after = random_signal((8, 8), channels=3, seed=5)
    support, loss = support_of(network, image, features), SupportLoss(network, 0.3, None)

    def value(*, second_order=True, steps=2):
        adapted = network.adaptation(
            network, support_of(network, image, features), loss, steps, second_order=second_order
        )
        return (functional_call(network, adapted, (image, features)) - after).square().mean()

    return network, value, support


def slope(value, parameter, direction, width=1e-5):
    values = []
    for step in (width, -2 * width):
        parameter.data.add_(step * direction)
        values.append(value().item())
    parameter.data.add_(width * direction)
    return (values[0] - values[1]) / (2 * width)


@pytest.mark.parametrize("name", ["adaptation.step_sizes.low_rank", "adaptation.directions", "image_encoder.0.weight"])
def test_gradients_through_the_steps_are_finite_differences(problem, name):
    network, value, _ = problem
    parameter = network.get_parameter(name)
    (gradient,) = torch.autograd.grad(value(), parameter)
    direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert slope(value, parameter, direction) == pytest.approx(float((gradient * direction).sum()), rel=1e-4)


def test_first_order_comes_close_to_second_order_as_steps_get_smaller(problem):
    """Values are the same; what the gradients differ by is of the order of the step size."""
    network, value, _ = problem
    weights = [weight for name, weight in network.named_parameters() if "out_proj" not in name]
    sizes, apart = list(network.adaptation.step_sizes.parameters()), []
    for size in (5, 0.5, 0.05):
        for each in sizes:
            each.data.fill_(size)
        first, second = value(second_order=False), value()
        assert first.item() == pytest.approx(second.item(), rel=1e-9)
        one, two = (
            torch.cat([g.flatten() for g in torch.autograd.grad(each, weights, allow_unused=True) if g is not None])
            for each in (first, second)
        )
        apart.append(((one - two).norm() / two.norm()).item())
    for each in sizes:
        each.data.fill_(STEP_SIZE)
    assert apart[0] > apart[1] > 5 * apart[2] > 0
    assert apart[2] < 0.02


def test_the_engine_and_the_plain_attention_give_the_same_steps(problem):
    network, _, support = problem
    engine, plain = (
        network.adaptation(network, support, SupportLoss(network, 0.3, memory), 3) for memory in (2**28, None)
    )
    for name, tensor in engine.items():
        close(tensor, plain[name], 1e-9)
