"""Pyramid windows and the implicit part: against their formulas, and what must hold of any weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniup import AnyUp, InputError
from omniup.upsamplers.anyup.implicit import slopes
from omniup.upsamplers.anyup.scales import Scales
from oracles.anyup import queries_and_keys
from oracles.scales import mixed
from support.anyup import random_anyup
from support.kernels import random_signal, smooth_image
from support.scratch import peak_bytes

PYRAMID = (0.05, 0.1, 0.2)
VARIANTS = [{"pyramid": PYRAMID}, {"implicit": True}, {"pyramid": PYRAMID, "implicit": True}]
IMAGE, SIGNAL = smooth_image((24, 32), dtype=torch.float32), random_signal((6, 8), dtype=torch.float32)


@pytest.fixture(params=VARIANTS, ids=str)
def network(request):
    return random_anyup(**request.param)


sides = st.integers(1, 8)
variants = st.fixed_dictionaries(
    {
        "window_ratio": st.sampled_from([0.1, 0.3]),
        "pyramid": st.sampled_from([None, (0.05, 0.2), (0.1, 0.25, 0.3, 1), (0.6,)]),
        "implicit": st.booleans(),
    }
)


@settings(max_examples=12)
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.data(), variants)
def test_it_is_the_mix_of_its_formulas(image_size, size, data, variant):
    grid = tuple(data.draw(st.integers(1, side)) for side in size)
    image, signal = smooth_image(image_size, batch=2), random_signal(grid, channels=data.draw(sides), batch=2)
    network = random_anyup(seed=data.draw(st.integers(0, 99)), dtype=torch.float64, **variant)
    others = tuple(ratio for ratio in variant["pyramid"] or () if ratio != variant["window_ratio"])
    state, found, maps = network.state_dict(), [], []
    for pair in zip(image, signal, strict=True):
        query, key = queries_and_keys(state, *pair, size)
        out, weights = mixed(state, query, key, pair[1], variant["window_ratio"], others, variant["implicit"])
        found.append(out)
        maps.append(weights)
    expected = torch.stack(found)
    torch.testing.assert_close(network(image, signal, size), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(network(image, signal, size, memory="1MB"), expected, rtol=0, atol=1e-9)
    points = torch.tensor([[0, 0], [size[0] - 1, size[1] // 2]])
    there = network.prepare(image, grid, size).render_at(signal, points, "features")
    torch.testing.assert_close(there, expected[:, :, points[:, 0], points[:, 1]].mT, rtol=0, atol=1e-9)
    found = network.attention(image, signal, points, size)
    torch.testing.assert_close(found, torch.stack(maps)[:, points[:, 0], points[:, 1]], rtol=0, atol=1e-9)
    torch.testing.assert_close(network.train()(image, signal, size), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_gradients_are_those_of_finite_differences(variant):
    """Of the extensions' parameters, the signal and the image, where all weights are positive."""
    network = random_anyup(dtype=torch.float64, **variant).train()
    if network.pyramid is not None:
        network.pyramid.weigh.weight.mul_(0.01)
        network.pyramid.weigh.bias.fill_(0.3)
    image, signal = smooth_image((5, 4)), random_signal((3, 2), channels=2)
    leaves = [value for name, value in network.named_parameters() if name.startswith(("pyramid", "implicit"))]
    leaves = [leaf.requires_grad_() for leaf in (*leaves, image, signal)]
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(lambda *_: network(image, signal), leaves, fast_mode=True)
    network.eval()
    assert torch.autograd.gradcheck(lambda *_: network(image, signal), leaves[-2:], fast_mode=True)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_what_is_zero_at_the_start_learns_in_two_steps(variant):
    network = AnyUp(**variant).train()
    parameters = {name: value for name, value in network.named_parameters() if name.startswith(("pyramid", "implicit"))}
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    target, touched = torch.randn(1, 4, 24, 32), set()
    for _ in range(2):
        optimiser.zero_grad()
        (network(IMAGE, SIGNAL) - target).square().mean().backward()
        touched |= {name for name, value in parameters.items() if value.grad is not None and value.grad.any()}
        optimiser.step()
    assert touched == set(parameters)


def test_a_scale_that_was_switched_off_comes_back():
    """Where descent would raise its weight, and only there."""
    pyramid = AnyUp(pyramid=(0.2,)).pyramid
    with torch.no_grad():
        pyramid.weigh.bias.fill_(-1)
    for sign, learns in ((-1, True), (1, False)):
        pyramid.zero_grad()
        (sign * pyramid(torch.randn(1, 128, 5))[:, 1]).sum().backward()
        assert bool(pyramid.weigh.bias.grad.any()) is learns


def test_a_pyramid_is_a_convex_mix():
    network = random_anyup(pyramid=PYRAMID)
    shares = network.pyramid(torch.randn(2, 128, 50))
    assert shares.shape == (2, 3, 50)
    assert (shares > -1e-6).all()
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 50))
    assert (shares > 0.01).flatten(0, 1).any(1).all()
    out = network(IMAGE, SIGNAL)
    low, high = SIGNAL.amin((2, 3), keepdim=True), SIGNAL.amax((2, 3), keepdim=True)
    assert (out >= low - 1e-5).all()
    assert (out <= high + 1e-5).all()


def test_attention_maps_of_a_pyramid_are_the_weights_that_mix(network):
    points = torch.tensor([[0, 0], [23, 31], [7, 14]])
    weights = network.attention(IMAGE, SIGNAL, points)
    torch.testing.assert_close(weights.sum((2, 3)), torch.ones(1, 3))
    if network.implicit is None:
        mixed = torch.einsum("bnij,bcij->bcn", weights, SIGNAL)
        there = network(IMAGE, SIGNAL)[:, :, points[:, 0], points[:, 1]]
        torch.testing.assert_close(mixed, there, rtol=0, atol=1e-5)


def ramp(grid, size):
    """Features that grow along rows and columns, of the cells and of the pixels."""
    (h, w), (height, width) = grid, size
    y, x = torch.arange(h, dtype=torch.float64), torch.arange(w, dtype=torch.float64)
    py, px = ((torch.arange(n).double() + 0.5) * m / n - 0.5 for n, m in ((height, h), (width, w)))
    return [torch.stack([2 + a[:, None] + 0 * b, 3 * b - a[:, None]])[None] for a, b in ((y, x), (py, px))]


def test_a_fully_implicit_result_gives_ramps_back():
    """Whatever the weights, which without it flatten them towards the border."""
    network = random_anyup(dtype=torch.float64, implicit=True)
    torch.nn.init.zeros_(network.implicit.last.weight)
    network.implicit.last.bias.copy_(torch.tensor([50.0, 0, 0]))
    image = smooth_image((24, 32))
    cells, pixels = ramp((6, 8), (24, 32))
    torch.testing.assert_close(network(image, cells), pixels, rtol=0, atol=1e-9)
    network.implicit.last.bias[0] = 0
    assert (network(image, cells) - pixels).abs().max() > 0.3


def test_slopes_are_one_sided_at_the_border_and_none_of_a_single_cell():
    features = torch.tensor([[0.0, 1.0, 4.0]])[None, None]  # [1, 1, 1, 3]
    assert slopes(features).tolist() == [[[[[0, 0, 0]]], [[[1, 2, 3]]]]]


@pytest.mark.parametrize("signal_type", ["probabilities", "measurement", "values", "labels"])
def test_what_must_stay_in_its_range_is_mixed_explicitly(signal_type):
    network = random_anyup(implicit=True)
    network.implicit.last.bias.fill_(1)
    plain = AnyUp().eval()
    plain.load_state_dict({name: v for name, v in network.state_dict().items() if not name.startswith("implicit")})
    signal = SIGNAL.softmax(1) if signal_type == "probabilities" else SIGNAL
    signal = (10 * SIGNAL).long() if signal_type == "labels" else signal
    results = [each.prepare(IMAGE, (6, 8)).render(signal, signal_type) for each in (network, plain)]
    assert torch.equal(*results)
    features = [each.prepare(IMAGE, (6, 8)).render(SIGNAL, "features") for each in (network, plain)]
    assert not torch.allclose(*features)


def test_holes_offer_nothing(network):
    prepared, valid = network.prepare(IMAGE, (6, 8)), torch.rand(6, 8) > 0.3
    changed = torch.where(valid, SIGNAL, 1e3)
    out = prepared.render(SIGNAL, "features", valid=valid)
    assert torch.equal(prepared.render(changed, "features", valid=valid), out)
    nearly, alike = torch.ones(6, 8, dtype=torch.bool), SIGNAL.clone()
    nearly[5, 7], alike[..., 5, 7] = False, SIGNAL[..., 5, 6]  # what the hole is filled with, so that keys are the same
    near, whole = prepared.render(alike, "features", valid=nearly), prepared.render(alike, "features")
    torch.testing.assert_close(near[:, :, :9, :12], whole[:, :, :9, :12], rtol=0, atol=1e-5)  # where it is out of reach
    assert (near - whole).abs().max() > 1e-3


def test_channels_images_and_scale_go_their_own_way(network):
    image, signal = smooth_image((24, 32), batch=2, dtype=torch.float32), random_signal((6, 8), channels=8, batch=2)
    signal = signal.float()
    out, order = network(image, signal), torch.randperm(8, generator=torch.Generator().manual_seed(0))
    # With 8 channels the published layout mixes channels and filters, so their order matters there.
    paper = random_anyup(
        basis_layout="paper", **{"pyramid": network.settings["pyramid"], "implicit": network.implicit is not None}
    )
    torch.testing.assert_close(paper(image, signal[:, order]), paper(image, signal)[:, order], rtol=0, atol=1e-5)
    torch.testing.assert_close(network(image, 3 * signal), 3 * out, rtol=0, atol=1e-5)
    torch.testing.assert_close(network(image[1:], signal[1:]), out[1:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("budget", [8_000_000, 30_000_000])
def test_it_keeps_to_the_memory_which_changes_nothing(network, budget):
    image, signal = smooth_image((112, 84), dtype=torch.float32), random_signal((8, 6), channels=96).float()
    inputs = image, signal, *network.parameters()
    assert peak_bytes(lambda: network(image, signal, memory=budget), *inputs) <= budget
    torch.testing.assert_close(network(image, signal, memory=budget), network(image, signal), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_result_may_go_to_a_tensor(network, dtype):
    out, signal = torch.empty(1, 4, 24, 32, dtype=dtype), SIGNAL.to(dtype)
    assert network(IMAGE, signal, out=out, memory="1MB") is out
    made = network(IMAGE, signal)
    assert made.dtype == dtype
    torch.testing.assert_close(made.float(), network(IMAGE, SIGNAL), rtol=0, atol=0.02)
    torch.testing.assert_close(out, made, rtol=0, atol=0.01)


def test_a_result_of_float32_is_near_that_of_float64(network):
    exact = random_anyup(dtype=torch.float64, pyramid=network.settings["pyramid"], implicit=bool(network.implicit))
    image, signal = smooth_image((8, 96)), random_signal((4, 96))
    reduced = network(image.float(), signal.float())
    assert (reduced - exact(image, signal)).abs().max() < 1e-4


def test_the_work_of_a_pyramid_is_about_as_much_again_for_each_scale():
    plain, pyramid = AnyUp(), AnyUp(pyramid=(0.05, 0.1, 0.2))
    costs = [each.render_cost((224, 224), (16, 16), "features") for each in (plain, pyramid)]
    assert 1.5 * costs[0] < costs[1] <= 3 * costs[0]
    scales = Scales.of(pyramid, (224, 224), (16, 16), 0.1)
    assert [each.grid for each in scales.windows] == [(16, 16), (16, 16), (8, 8)]


@pytest.mark.parametrize("pyramid", [(), (0.1,), (0.05, 0.05), (0.05, 2), "0.05", 0.05, (0.05, True), (0.05, "0.2")])
def test_a_pyramid_that_cannot_be_is_refused(pyramid):
    match = r"^pyramid is .*; accepted: different numbers from 0.001 to 1, at least one of them other than window_ratio"
    with pytest.raises(InputError, match=match):
        AnyUp(pyramid=pyramid)


def test_the_network_s_own_window_is_always_part_of_a_pyramid(tmp_path):
    network = random_anyup(pyramid=[0.2, 0.1, 0.05])
    assert network.settings["pyramid"] == (0.05, 0.2)
    network.save_pretrained(tmp_path)
    assert AnyUp.from_pretrained(tmp_path).settings["pyramid"] == (0.05, 0.2)
    with pytest.raises(InputError, match=r"^weights is .*, which does not fit AnyUp \(.*pyramid"):
        AnyUp.from_pretrained(tmp_path, window_ratio=0.2)  # which would be a pyramid of 0.05 alone


def test_an_implicit_part_is_on_or_off():
    with pytest.raises(InputError, match=r"^implicit is 1; accepted: True, False$"):
        AnyUp(implicit=1)


@pytest.mark.parametrize("weights", ["paper", "multi_backbone"])
def test_with_published_weights_they_change_nothing(weights, shared):
    path = shared / "weights" / f"anyup_{weights}.pth"
    signal = 30 * random_signal((6, 8), channels=12).float()
    expected = AnyUp.from_pretrained(path)(IMAGE, signal)
    extended = AnyUp.from_pretrained(path, pyramid=PYRAMID, implicit=True)
    assert extended.settings["pyramid"] == (0.05, 0.2)
    torch.testing.assert_close(extended(IMAGE, signal), expected, rtol=0, atol=3e-4)
