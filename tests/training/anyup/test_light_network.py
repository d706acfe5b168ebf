"""The light network that the benchmark compares AnyUp with, and its training."""

import pytest
import torch

from omniup import AnyUp
from omniup.files.weights import read_state_dict
from omniup.training.anyup import Configuration

pytest.importorskip("omniup_bench")

from omniup_bench.light_network import HEADS, LightNetwork, ray_angles, rotate, train_light

IMAGE, SIGNAL = torch.rand(1, 3, 24, 32), torch.randn(1, 7, 3, 4)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return LightNetwork(128).eval().requires_grad_(False)


def test_its_size_is_a_sixth_of_anyup_s():
    light, anyup = (sum(weight.numel() for weight in network.parameters()) for network in (LightNetwork(), AnyUp()))
    assert light / anyup == pytest.approx(1 / 6, abs=0.02)


@pytest.mark.parametrize("size", [None, (12, 20), (40, 33), (3, 4)])
def test_it_mixes_cells_to_any_size(network, size):
    out = network(IMAGE, SIGNAL, size)
    assert out.shape == (1, 7, *(size or (24, 32)))
    assert (out >= SIGNAL.amin((2, 3), keepdim=True) - 1e-5).all()
    assert (out <= SIGNAL.amax((2, 3), keepdim=True) + 1e-5).all()


def test_the_image_alone_decides(network):
    more = torch.cat([SIGNAL, torch.randn(1, 2, 3, 4)], dim=1)
    torch.testing.assert_close(network(IMAGE, more)[:, :7], network(IMAGE, SIGNAL))
    assert not torch.allclose(network(1 - IMAGE, SIGNAL), network(IMAGE, SIGNAL), atol=1e-3)


def test_products_of_rotated_vectors_depend_on_the_rays_difference():
    """A rotation keeps lengths, and where two rays are the same it cancels."""
    vectors = torch.randn(1, 32 * HEADS, 6, 8, dtype=torch.float64)
    lengths = [maps.unflatten(1, (HEADS, -1)).square().sum(2) for maps in (vectors, rotate(vectors, (24, 32)))]
    torch.testing.assert_close(*lengths)
    same = torch.ones(1, 32 * HEADS, 6, 8, dtype=torch.float64)
    products = torch.einsum("bdij,bdkl->ijkl", rotate(same, (24, 32)), rotate(same, (24, 32)))
    angles = ray_angles((6, 8), (24, 32)).double()  # [15, 6, 8]
    differences = angles[:, :, :, None, None] - angles[:, None, None]
    torch.testing.assert_close(products, 2 * HEADS * (differences.cos().sum(0) + 1))


def test_rays_are_of_places_and_not_of_sizes():
    middle = ray_angles((6, 8), (48, 64)), ray_angles((18, 24), (48, 64))[:, 1::3, 1::3]
    torch.testing.assert_close(*middle)


@pytest.mark.usefixtures("accelerate")
def test_its_training_is_anyup_s_and_goes_on_exactly(smallest, tmp_path):
    whole = train_light(Configuration(**smallest), 128, tmp_path / "whole")
    assert train_light(Configuration(**smallest | {"steps": 4}), 128, tmp_path / "parts").step == 4
    parts = train_light(Configuration(**smallest), 128, tmp_path / "parts")
    states = [read_state_dict(outcome.weights) for outcome in (whole, parts)]
    assert all(torch.equal(weight, states[1][name]) for name, weight in states[0].items())
    LightNetwork(128).load_state_dict(states[0])
