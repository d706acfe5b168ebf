"""The dynamic basis: what its statistics are of, what they do not depend on, and gradients through all of it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from omniup import AnyUp
from omniup.upsamplers.anyup import dynamic_basis as module
from omniup.upsamplers.anyup.dynamic_basis import RANK_SIDE, effective_rank, statistics
from omniup.upsamplers.anyup.export import FixedSizes, export_onnx
from oracles import dynamic_basis as oracle
from support.anyup import random_anyup
from support.kernels import random_signal, smooth_image
from support.scratch import peak_bytes

IMAGE, SIGNAL = smooth_image((24, 32), dtype=torch.float32), random_signal((3, 4), channels=6, dtype=torch.float32)


@pytest.fixture(scope="module")
def network():
    return random_anyup(basis_layout="paper", dynamic_basis=True)


def unit(grid, channels, batch=1):
    return F.normalize(random_signal(grid, channels=channels, batch=batch), dim=1)


@given(st.integers(1, 70), st.integers(1, 40), st.integers(1, 9), st.integers(1, 3))
def test_statistics_are_those_of_the_description(height, width, channels, batch):
    features, image_size = unit((height, width), channels, batch), (8 * height, 5 * width)
    expected = torch.stack([oracle.statistics(one, image_size) for one in features])
    torch.testing.assert_close(statistics(features, image_size), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("some", [1, 100, 1000])
def test_channels_may_be_taken_some_at_a_time(some, monkeypatch):
    features = unit((5, 6), 20, batch=2)
    expected = statistics(features, (40, 48))
    monkeypatch.setattr(module, "CHUNK", some)
    torch.testing.assert_close(statistics(features, (40, 48)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", [3, 300])
def test_the_rank_is_the_number_of_directions_that_share_the_variance(channels):
    directions = torch.linalg.qr(torch.randn(channels, 3, dtype=torch.float64)).Q  # [C, 3]
    signs = torch.tensor([[1, 1, 1, 1, -1, -1, -1, -1], [1, 1, -1, -1, 1, 1, -1, -1], [1, -1, 1, -1, 1, -1, 1, -1]])
    for count in (1, 2, 3):
        vectors = directions[:, :count] @ signs[:count].double()  # [C, 8], uncorrelated
        torch.testing.assert_close(effective_rank(7 + vectors[None]), torch.tensor([count], dtype=torch.float64))
    assert effective_rank(torch.ones(1, channels, 8)) == 1


def test_statistics_are_finite_where_there_is_nothing_to_see():
    for features in (torch.zeros(1, 4, 5, 5), torch.ones(1, 4, 5, 5) / 2, torch.ones(1, 1, 1, 1)):
        leaf = features.requires_grad_()
        found = statistics(leaf, (40, 40))
        found.sum().backward()
        assert found.isfinite().all()
        assert leaf.grad.isfinite().all()


def test_many_channels_take_little_memory():
    features = F.normalize(torch.randn(1, 4096, 64, 64), dim=1)  # 64 MiB
    taken = peak_bytes(lambda: statistics(features, (512, 512)), features)
    assert taken < 4 * 4096 * RANK_SIDE**2 * 8  # some copies of the cells that the rank is of


@pytest.mark.parametrize("training", [True, False])
def test_the_order_of_the_channels_and_their_scale_are_of_no_account(network, training):
    network.train(training)
    expected, order = network(IMAGE, SIGNAL), torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(network(IMAGE, SIGNAL[:, order]), expected[:, order], rtol=0, atol=1e-5)
    torch.testing.assert_close(network(IMAGE, 100 * SIGNAL), 100 * expected, rtol=1e-4, atol=1e-3)
    network.eval()


def test_each_image_has_a_basis_of_its_own(network):
    images, signals = torch.cat([IMAGE, 1 - IMAGE]), torch.cat([SIGNAL, SIGNAL.roll(1, 3).square()])
    apart = torch.cat([network(image[None], signal[None]) for image, signal in zip(images, signals, strict=True)])
    torch.testing.assert_close(network(images, signals), apart, rtol=0, atol=1e-5)
    torch.testing.assert_close(network.train()(images, signals), apart, rtol=0, atol=1e-5)
    network.eval()


def test_image_features_and_the_size_of_a_cell_have_a_say(network):
    seen, basis = network.dynamic_basis, network.key_features_encoder[0].basis
    part, features = torch.randn(1, 128, 3, 4), F.normalize(SIGNAL, dim=1)
    given = seen(basis, features, part, (24, 32))
    for other in (
        seen(basis, F.normalize(SIGNAL.square(), dim=1), part, (24, 32)),
        seen(basis, features, part.roll(1, 1), (24, 32)),
        seen(basis, features, part, (48, 64)),
    ):
        assert not torch.allclose(other, given, atol=1e-3)


def test_the_first_two_steps_reach_all_of_it():
    network = AnyUp(basis_layout="paper", dynamic_basis=True).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0)
    reached = set()
    for _ in range(2):
        optimiser.zero_grad()
        network(IMAGE, SIGNAL).square().mean().backward()
        reached |= {name for name, weight in network.dynamic_basis.named_parameters() if weight.grad.any()}
        optimiser.step()
    assert reached == {name for name, _ in network.dynamic_basis.named_parameters()}


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_finite_differences(training):
    network = random_anyup(dtype=torch.float64, dynamic_basis=True).train(training)
    leaves = [smooth_image((5, 4)).requires_grad_(), random_signal((4, 2), channels=3).requires_grad_()]
    if training:
        leaves += [weight.requires_grad_() for weight in network.dynamic_basis.parameters()]
    assert torch.autograd.gradcheck(lambda image, signal, *_: network(image, signal), leaves, fast_mode=True)


@pytest.mark.parametrize("grid", [(4, 6), (5, 3)])
def test_fixed_sizes_and_onnx_have_it(network, grid, tmp_path):
    image, features = smooth_image((33, 48), dtype=torch.float32), random_signal(grid, channels=7).float()
    expected = network(image, features)
    torch.testing.assert_close(FixedSizes(network, (33, 48), grid)(image, features), expected, rtol=0, atol=1e-5)
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert export_onnx(network, tmp_path / "anyup.onnx", (33, 48), 7, grid) < 1e-4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_it_compiles(network):
    torch._dynamo.reset()
    fixed = FixedSizes(network, (24, 32), (3, 4))
    with torch.no_grad():
        out = torch.compile(fixed, backend="aot_eager", fullgraph=True)(IMAGE, SIGNAL)
    torch.testing.assert_close(out, network(IMAGE, SIGNAL), rtol=0, atol=1e-5)


@pytest.mark.parametrize("weights", ["paper", "multi_backbone"])
def test_published_weights_give_what_they_give(weights, shared):
    path = shared / "weights" / f"anyup_{weights}.pth"
    plain, extended = AnyUp.from_pretrained(path), AnyUp.from_pretrained(path, dynamic_basis=True)
    torch.testing.assert_close(extended(IMAGE, SIGNAL), plain(IMAGE, SIGNAL), rtol=0, atol=1e-6)
