import pytest
import torch

from omniup.restoration.residual_network import CELL, LEVELS, MARGIN, LevelEstimator, ResidualNetwork
from omniup.restoration.restorer import Restorer


@pytest.fixture(scope="module")
def network():
    """A narrow network at random weights that change pictures."""
    torch.manual_seed(0)
    network = ResidualNetwork((8, 8, 8), blocks=2).double().eval()
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    return network


def test_a_picture_comes_back_as_it_is_before_anything_is_learned():
    image = torch.rand(2, 3, 17, 23, generator=torch.Generator().manual_seed(0))
    assert not ResidualNetwork((8, 8, 8), blocks=1)(image, torch.rand(2, len(LEVELS))).any()


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 30), (31, 16)])
def test_any_size(network, size):
    image = torch.rand(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert network(image, torch.zeros(1, len(LEVELS), dtype=torch.float64)).shape == image.shape
        assert network.estimator(image).shape == (1, len(LEVELS))


def test_the_scale_steers(network):
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    levels = torch.zeros(1, len(LEVELS), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(image, levels), network(image, levels, 1))
        assert (network(image, levels, 2) - network(image, levels)).abs().max() > 1e-6


def test_levels_steer_and_batch_mates_do_not(network):
    images = torch.rand(2, 3, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    levels = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.0, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        both = network(images, levels)
        torch.testing.assert_close(both[1:], network(images[1:], levels[1:]))
        assert (both[:1] - network(images[:1], levels[1:])).abs().max() > 1e-6
        torch.testing.assert_close(network.estimator(images)[1:], network.estimator(images[1:]))


def test_a_pixel_depends_on_no_more_than_the_margin(network):
    """On a line of pixels: those up to the margin matter, as far as whole cells go, and none beyond."""
    side = 2 * MARGIN + 6 * CELL
    image = torch.rand(1, 3, CELL, side, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    image.requires_grad_()
    middle = side // 2
    network(image, torch.zeros(1, len(LEVELS), dtype=torch.float64))[..., middle].square().sum().backward()
    used = image.grad.abs().amax((0, 1, 2)).nonzero().flatten()
    assert middle - used.min() <= MARGIN
    assert used.max() - middle <= MARGIN
    assert used.max() - used.min() > MARGIN  # it is not much too wide


def test_no_unit_can_die():
    """Whatever the biases, a gradient reaches all weights, so that descent can bring units back."""
    torch.manual_seed(0)
    network = ResidualNetwork((8, 8, 8), blocks=1)
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    for stage in network.stages:
        for block in stage:
            torch.nn.init.constant_(block.first.bias, -100)
    network(torch.rand(1, 3, 16, 16), torch.zeros(1, len(LEVELS))).square().sum().backward()
    for stage in network.stages:
        assert all(weight.grad.abs().sum() > 0 for weight in stage.parameters())


def test_the_published_network_has_no_more_reach(network):
    published = Restorer.from_pretrained().network
    assert published.blocks == network.blocks


def test_estimated_levels_are_not_negative():
    torch.manual_seed(0)
    assert (LevelEstimator()(torch.rand(4, 3, 16, 16)) >= 0).all()
