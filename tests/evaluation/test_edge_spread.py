import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from omniup import InputError
from omniup.evaluation import edge_spread
from omniup.evaluation.metrics.edges import image_edges, spread_off
from support.kernels import smooth_image

SIDE = 48


def step(at=24, *, channels=3, batch=1):
    """An image that is dark on the left and bright from column `at` on."""
    image = torch.zeros(batch, channels, SIDE, SIDE)
    image[..., at:] = 1
    return image


def blurred(result, times):
    for _ in range(times):
        result = F.avg_pool2d(F.pad(result, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return result


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_what_changes_at_the_image_s_edges_only_has_none(channels):
    assert edge_spread(step(channels=channels), step()) == 0
    assert edge_spread(5 - 3 * step(channels=channels), step()) == 0


def test_what_changes_elsewhere_only_is_all_spread():
    for at in (5, 12, 40):
        assert edge_spread(step(at), step(24)) == 1


def test_what_does_not_change_has_none():
    assert edge_spread(torch.full((1, 4, SIDE, SIDE), 7.0), step()) == 0


def test_a_change_counts_by_its_size():
    result = step(24) + 3 * step(8)
    assert edge_spread(result, step(24)) == pytest.approx(0.75)


def test_every_axis_counts():
    turned = step().transpose(2, 3)
    assert edge_spread(turned, turned) == 0
    assert edge_spread(step(24) + turned, step(24)) == pytest.approx(0.5, abs=0.1)
    assert edge_spread(turned, step(24)) > 0.8


@given(st.floats(1e-3, 1e3), st.floats(-10, 10), st.integers(0, 100))
def test_scaling_and_shifting_the_result_do_not_matter(factor, offset, seed):
    generator = torch.Generator().manual_seed(seed)
    result = torch.rand(1, 2, 20, 24, generator=generator, dtype=torch.float64)
    image = smooth_image((20, 24), seed=seed)
    spread = edge_spread(result, image)
    assert 0 <= spread <= 1
    assert edge_spread(factor * result + offset, image) == pytest.approx(spread, abs=1e-4)
    assert edge_spread(-result, image) == pytest.approx(spread, abs=1e-6)


def test_the_contrast_of_the_image_does_not_matter():
    result, image = torch.rand(1, 3, 32, 32), smooth_image((32, 32))
    assert edge_spread(result, 0.2 + 0.5 * image) == pytest.approx(edge_spread(result, image), abs=0.02)


def test_blurring_raises_it():
    spreads = [edge_spread(blurred(step(), times), step()) for times in (0, 3, 8, 20)]
    assert spreads == sorted(spreads)
    assert spreads[0] == 0
    assert spreads[-1] > 0.2


def test_noise_raises_it():
    noise = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    spreads = [edge_spread(step() + size * noise, step()) for size in (0, 0.01, 0.1, 1)]
    assert spreads == sorted(spreads)
    assert spreads[-1] > 0.7


def test_channels_are_added():
    quiet = torch.zeros(1, 5, SIDE, SIDE)
    assert edge_spread(torch.cat([step(12), quiet], dim=1), step()) == edge_spread(step(12), step())
    half = torch.cat([step(12, channels=1), step(24, channels=1)], dim=1)
    assert edge_spread(half, step()) == pytest.approx(0.5)


def test_images_of_a_batch_are_weighed_by_their_change():
    result, image = torch.cat([step(24), step(12)]), torch.cat([step(24), step(24)])
    assert edge_spread(result, image) == pytest.approx(0.5)


def test_an_image_s_edges_serve_several_results():
    image = torch.cat([step(24), step(12)])
    edges = image_edges(image)
    assert torch.equal(edges, torch.cat([image_edges(step(24)), image_edges(step(12))]))
    for result in (torch.cat([step(12), step(24)]), torch.rand(2, 4, SIDE, SIDE)):
        assert spread_off(result, edges) == edge_spread(result, image) > 0


def test_half_precision():
    result, image = smooth_image((32, 32), channels=4, dtype=torch.float32), step()[..., :32, 8:40]
    expected = edge_spread(result, image)
    assert edge_spread(result.half(), image) == pytest.approx(expected, abs=0.02)
    assert edge_spread(result.half() * 20_000, image) == pytest.approx(expected, abs=0.02)


def test_it_takes_no_part_in_gradients():
    result = step().requires_grad_()
    assert type(edge_spread(result, step())) is float


@pytest.mark.parametrize(
    "shape", [(1, 3, SIDE, SIDE + 1), (1, 3, SIDE - 1, SIDE), (2, 3, SIDE, SIDE), (3, SIDE, SIDE)], ids=str
)
def test_sizes_that_differ_are_refused(shape):
    with pytest.raises(InputError, match="accepted: equal sizes"):
        edge_spread(torch.zeros(shape), step())
