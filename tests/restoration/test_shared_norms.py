import copy

import pytest
import torch
from torch import nn

from omniup.restoration import tiled
from omniup.restoration.shared_norms import shared_norms


def _stack():
    """Convolutions between norms, whose receptive field reaches 3 pixels far."""
    layers = []
    for seed in range(3):
        torch.manual_seed(seed)
        norm = nn.GroupNorm(2, 8, eps=1e-3)
        nn.init.normal_(norm.weight, mean=1)
        nn.init.normal_(norm.bias)
        layers += [nn.Conv2d(8, 8, 3, padding=1), norm, nn.SiLU()]
    return nn.Sequential(*layers).requires_grad_(False)


@pytest.fixture
def image():
    """Maps [1, 8, 60, 84] that are brighter and more contrasted at one side, so that tiles have other statistics."""
    noise = torch.rand(1, 8, 60, 84, generator=torch.Generator().manual_seed(9))
    return noise * torch.linspace(0.2, 3, 84)


def test_tiles_of_convolutions_are_the_untiled_picture(image):
    """Exactly so where every tile over a pixel shows what it depends on: here within the middle of the overlaps."""
    network = _stack()
    whole = network(image)
    run = tiled(network, size=(60, 48), stride=(60, 36))
    with shared_norms(network, gather=lambda: network(image)):
        torch.testing.assert_close(network(image), whole, rtol=0, atol=1e-5)
        shared = run(image)
    alone = run(image)
    seen_by_all = [column for column in range(84) if not 33 <= column < 51]
    torch.testing.assert_close(shared[..., seen_by_all], whole[..., seen_by_all], rtol=0, atol=1e-5)
    assert (shared - whole).abs().max() < 0.02 < 0.2 < (alone - whole).abs().max()


def test_norms_are_as_before_afterwards(image):
    network = _stack()
    before, norms, whole = copy.deepcopy(network.state_dict()), list(network), network(image)
    with pytest.raises(KeyboardInterrupt), shared_norms(network, gather=lambda: network(image)):
        assert all(isinstance(layer, nn.GroupNorm) is False for layer in network)
        raise KeyboardInterrupt
    with pytest.raises(ZeroDivisionError), shared_norms(network, gather=lambda: 1 / 0):
        pass
    assert list(network) == norms
    assert network.state_dict().keys() == before.keys()
    assert torch.equal(network(image), whole)


def test_samples_are_pooled_as_if_they_were_one_picture(image):
    """By the law of total variance, whether they come together or one after the other, and however large each is."""
    norm = nn.Sequential(nn.GroupNorm(2, 8))
    whole = norm(image)
    left, middle, right = image.split([20, 20, 44], dim=3)
    for gather in (
        lambda: [norm(part) for part in (right, left, middle)],
        lambda: norm(torch.cat(image.split(42, dim=3))),
    ):
        with shared_norms(norm, gather=gather):
            torch.testing.assert_close(norm(image), whole, rtol=0, atol=1e-5)
            torch.testing.assert_close(norm(left), whole[..., :20], rtol=0, atol=1e-5)
            torch.testing.assert_close(norm(image.flatten(2)), whole.flatten(2), rtol=0, atol=1e-5)


def test_halves_are_gathered_in_full_precision(image):
    """As a mean far from 0 would not be in half precision, nor a sum beyond its largest number."""
    norm = nn.Sequential(nn.GroupNorm(2, 8)).bfloat16()
    maps = (image + 100).bfloat16()
    exact = nn.GroupNorm(2, 8)(maps.float())
    with shared_norms(norm, gather=lambda: norm(maps)):
        made = norm(maps)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), exact, rtol=0.01, atol=0.01)


def test_a_norm_that_has_seen_nothing_is_refused(image):
    network = _stack()
    with shared_norms(network, gather=lambda: None), pytest.raises(RuntimeError, match="has no statistics"):
        network(image)
