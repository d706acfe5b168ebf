"""AnyUp with random weights, against its description and against what must hold of any weights."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from omniup import AnyUp, InputError
from omniup.upsamplers.anyup import pixels
from oracles.anyup import anyup, attention, queries_and_keys
from support.anyup import random_anyup
from support.kernels import random_signal, smooth_image
from support.scratch import peak_bytes

IMAGE, SIGNAL = smooth_image((24, 32), dtype=torch.float32), random_signal((3, 4), dtype=torch.float32)


@pytest.fixture(scope="module")
def network():
    return random_anyup()


sides = st.integers(1, 12)
variants = st.fixed_dictionaries(
    {
        "basis_layout": st.sampled_from(["published", "paper"]),
        "window_ratio": st.sampled_from([0.1, 0.02, 0.3, 1]),
        "feature_path": st.booleans(),
        "dynamic_basis": st.booleans(),
    }
)


@settings(max_examples=16)
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.data(), variants)
def test_it_is_the_network_of_its_description(image_size, size, data, variant):
    grid = tuple(data.draw(st.integers(1, side)) for side in size)
    image, signal = smooth_image(image_size, batch=2), random_signal(grid, channels=data.draw(sides), batch=2)
    network = random_anyup(seed=data.draw(st.integers(0, 99)), dtype=torch.float64, **variant)
    state = network.state_dict()
    expected = torch.stack([anyup(state, *pair, size, **variant) for pair in zip(image, signal, strict=True)])
    torch.testing.assert_close(network(image, signal, size), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(network(image, signal, size, memory="1MB"), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(network.train()(image, signal, size), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [(24, 32), (12, 20), (40, 33)])
@pytest.mark.parametrize("memory", ["2MB", "4MB", "1GB"])
def test_results_do_not_depend_on_the_memory(network, size, memory):
    image, signal = smooth_image((40, 33), batch=2, dtype=torch.float32), random_signal((5, 4), batch=2).float()
    expected = network.train()(image, signal, size).detach()
    torch.testing.assert_close(network.eval()(image, signal, size, memory=memory), expected, rtol=0, atol=1e-5)


class _NoFloat64(TorchDispatchMode):
    """Of the machine that Apple's GPUs are: nothing computes in float64; what comes from NumPy is converted first."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten.batch_norm_update_stats.default
        made = function(*args, **(kwargs or {}))
        if function is not torch.ops.aten.lift_fresh.default:
            assert not any(each.dtype == torch.float64 for each in tree_leaves(made) if isinstance(each, torch.Tensor))
        return made


@pytest.mark.parametrize("memory", ["4MB", "1GB"])
def test_it_does_without_what_apple_s_devices_lack(network, memory, monkeypatch):
    expected = network(IMAGE, SIGNAL)
    monkeypatch.setattr(pixels, "WITHOUT_STATISTICS", ("cpu",))
    with _NoFloat64():
        made = network(IMAGE, SIGNAL, memory=memory)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 7, 60])
@pytest.mark.parametrize("without", [(), ("cpu",)])
def test_statistics_of_strips_are_those_of_the_whole(rows, without, monkeypatch):
    """Even where means are large beside deviations, and those of strips and channels differ."""
    monkeypatch.setattr(pixels, "WITHOUT_STATISTICS", without)
    maps = 100 + torch.randn(1, 16, 60, 50, generator=torch.Generator().manual_seed(0))
    maps += torch.linspace(0, 10, 60)[:, None] + torch.linspace(-3, 3, 16)[:, None, None]
    plan = pixels.Plan(torch.float32, keep=True, rows=rows, band=1, mixing=1)
    norm, vectors = torch.nn.GroupNorm(4, 16), maps[0].movedim(0, -1).flatten(0, 1)  # [3000, 16]
    layer = pixels.Pixels(lambda top, bottom: vectors[50 * top : 50 * bottom], (60, 50), plan)._norm_and_silu(norm)
    expected = F.silu(F.group_norm(maps.double(), 4, norm.weight.double(), norm.bias.double(), norm.eps))
    torch.testing.assert_close(layer(vectors).double(), expected[0].movedim(0, -1).flatten(0, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("budget", [6_000_000, 12_000_000, 30_000_000])
def test_it_keeps_to_the_memory(network, budget):
    image, signal = smooth_image((112, 84), dtype=torch.float32), random_signal((8, 6), channels=96).float()
    weights = list(network.parameters())
    assert peak_bytes(lambda: network(image, signal, memory=budget), image, signal, *weights) <= budget


def test_too_little_memory_is_refused_with_what_it_takes(network):
    with pytest.raises(InputError, match=r"^memory is 100000 bytes: a row of pixels takes \d+; accepted: more$"):
        network(IMAGE, SIGNAL, memory=100_000)


def test_bfloat16_is_close(network):
    reduced = AnyUp(precision="bfloat16").eval()
    reduced.load_state_dict(network.state_dict())
    image, signal = smooth_image((64, 48), dtype=torch.float32), random_signal((8, 6), channels=24).float()
    expected = network(image, signal)
    for memory in ("2MB", "1GB"):
        out = reduced(image, signal, memory=memory)
        assert out.dtype == torch.float32
        assert F.cosine_similarity(out, expected, dim=1).min() > 0.99


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_result_may_go_to_a_tensor_of_any_kind(network, dtype, tmp_path):
    expected = network(IMAGE, SIGNAL)
    mapped = torch.from_file(str(tmp_path / "result"), shared=True, size=expected.numel(), dtype=dtype)
    out = mapped.view(expected.shape)
    assert network(IMAGE, SIGNAL, out=out, memory="1MB") is out
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=0.02)
    again = torch.from_file(str(tmp_path / "result"), size=expected.numel(), dtype=dtype)
    assert torch.equal(again.view(expected.shape), out)


@pytest.mark.parametrize(
    "out",
    [torch.empty(1, 4, 24, 31), torch.empty(4, 24, 32), torch.empty(1, 4, 24, 32, dtype=torch.long)],
    ids=lambda out: str(tuple(out.shape)),
)
def test_a_tensor_that_cannot_hold_the_result_is_refused(network, out):
    with pytest.raises(InputError, match=r"^out is .*; accepted: \[1, 4, 24, 32\], floating point"):
        network(IMAGE, SIGNAL, out=out)


def test_a_tensor_for_the_result_and_gradients_exclude_each_other(network):
    with pytest.raises(InputError, match=r"^out .* where no gradient is wanted"):
        network(IMAGE, SIGNAL.clone().requires_grad_(), out=torch.empty(1, 4, 24, 32))


def test_gradients_in_the_signal_are_those_of_training():
    network = random_anyup(dtype=torch.float64)
    image, signal = smooth_image((10, 8), batch=2), random_signal((3, 2), channels=3, batch=2)
    gradients = []
    for mode in (True, False):
        leaf = signal.clone().requires_grad_()
        network.train(mode)(image, leaf, memory="1MB").square().sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)


def test_gradients_in_the_weights_are_those_of_finite_differences():
    network = random_anyup(dtype=torch.float64).train()
    image, signal = smooth_image((5, 4)), random_signal((2, 2), channels=2)
    # Of the norm with what comes before it: torch up to 2.8 at least crashes where a norm's input needs no gradient.
    names = ["image_encoder.0.weight", "rope.freqs", "key_features_encoder.0.basis", "image_encoder.1.block.3.bias"]
    leaves = [network.get_parameter(name).requires_grad_() for name in names]
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(lambda *_: network(image, signal), leaves, fast_mode=True)


def test_in_evaluation_it_leaves_no_gradients_behind(network):
    out = AnyUp().eval()(IMAGE, SIGNAL)
    assert out.grad_fn is None
    assert network(IMAGE, SIGNAL).grad_fn is None


@pytest.mark.parametrize("size", [None, (20, 15)])
def test_attention_is_the_weights_that_mix(network, size):
    image, signal = smooth_image((24, 32), batch=2, dtype=torch.float32), random_signal((3, 4), batch=2).float()
    points = torch.tensor([[0, 0], [19, 14], [7, 14], [7, 3]])
    weights = network.attention(image, signal, points, size)
    assert weights.shape == (2, 4, 3, 4)
    torch.testing.assert_close(weights.sum((2, 3)), torch.ones(2, 4))
    mixed = torch.einsum("bnij,bcij->bcn", weights, signal)
    there = network(image, signal, size)[:, :, points[:, 0], points[:, 1]]
    torch.testing.assert_close(mixed, there, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ratio", [0.1, 0.3, 1])
def test_attention_is_that_of_the_description(ratio):
    network = random_anyup(dtype=torch.float64, window_ratio=ratio)
    image, signal = smooth_image((9, 7)), random_signal((6, 5))
    expected = attention(*queries_and_keys(network.state_dict(), image[0], signal[0], (9, 7)), ratio=ratio)
    points = torch.tensor([[0, 0], [8, 6], [4, 2]])
    weights = network.attention(image, signal, points)[0]
    torch.testing.assert_close(weights, expected[points[:, 0], points[:, 1]], rtol=0, atol=1e-9)


def test_with_a_ratio_of_one_every_pixel_draws_from_everywhere():
    weights = random_anyup(window_ratio=1).attention(IMAGE, SIGNAL, torch.tensor([[0, 0], [23, 31]]))
    assert (weights > 0).all()


def test_without_their_path_the_features_do_not_decide_where_to_look():
    network, points = random_anyup(feature_path=False), torch.tensor([[0, 0], [12, 15]])
    weights = network.attention(IMAGE, SIGNAL, points)
    assert torch.equal(network.attention(IMAGE, random_signal((3, 4), channels=9).float(), points), weights)
    assert not torch.equal(network.attention(1 - IMAGE, SIGNAL, points), weights)


def test_no_points_have_no_attention(network):
    assert network.attention(IMAGE, SIGNAL, torch.empty(0, 2, dtype=torch.long)).shape == (1, 0, 3, 4)


def test_in_training_the_result_may_go_to_a_tensor_too(network):
    out = torch.empty(1, 4, 24, 32)
    with torch.no_grad():
        assert network.train()(IMAGE, SIGNAL, out=out) is out
    torch.testing.assert_close(out, network.eval()(IMAGE, SIGNAL), rtol=0, atol=1e-5)


def test_points_outside_are_refused(network):
    with pytest.raises(InputError, match=r"^points has some outside the image; accepted: \(y, x\) within 24 × 32$"):
        network.attention(IMAGE, SIGNAL, torch.tensor([[0, 0], [24, 0]]))


def test_grey_is_a_colour(network):
    grey = IMAGE.mean(1, keepdim=True)
    torch.testing.assert_close(network(grey, SIGNAL), network(grey.expand(-1, 3, -1, -1), SIGNAL))


def test_a_network_in_training_prepares_nothing():
    with pytest.raises(InputError, match=r"^anyup is in training mode; accepted: evaluation mode"):
        random_anyup().train().prepare(IMAGE, (3, 4))


def test_other_images_are_refused(network):
    with pytest.raises(InputError, match=r"^image has 4 channels; accepted: three channels \(RGB\) or one \(grey\)"):
        network(torch.rand(1, 4, 24, 32), SIGNAL)


@pytest.mark.parametrize("setting", ["basis_layout", "precision"])
def test_settings_are_refused_by_name(setting):
    with pytest.raises(InputError, match=rf"^{setting} is 'best'; accepted: \w+, \w+$"):
        AnyUp(**{setting: "best"})


@pytest.mark.parametrize("ratio", [0, -0.1, 1.5, math.nan, "wide", True])
def test_a_window_that_cannot_be_is_refused(ratio):
    with pytest.raises(InputError, match=r"^window_ratio is .*; accepted: numbers from 0.001 to 1$"):
        AnyUp(window_ratio=ratio)


def test_a_switch_is_on_or_off():
    with pytest.raises(InputError, match=r"^feature_path is 1; accepted: True, False$"):
        AnyUp(feature_path=1)


def test_results_lie_within_the_signal(network):
    out = network(IMAGE, SIGNAL)
    low, high = SIGNAL.amin((2, 3), keepdim=True), SIGNAL.amax((2, 3), keepdim=True)
    assert (out >= low - 1e-5).all()
    assert (out <= high + 1e-5).all()
