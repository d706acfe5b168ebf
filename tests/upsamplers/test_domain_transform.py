"""The domain transform is what its formulas say, lets nothing cross an edge, and takes the memory that it is given."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniup.upsamplers import domain_transform
from omniup.upsamplers.domain_transform import ITERATIONS, smooth_along_edges
from oracles.domain_transform import smooth
from support.kernels import random_signal, smooth_image

MEMORY = 2**24


@settings(max_examples=15, deadline=None)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    channels=st.sampled_from([1, 3, 4]),
    sigma=st.tuples(st.floats(0.3, 8), st.floats(0.3, 8)),
    sigma_r=st.floats(0.01, 2),
)
def test_it_agrees_with_the_oracle(size, channels, sigma, sigma_r):
    maps, image = random_signal(size, channels=2, batch=2), smooth_image(size, channels=channels)
    image = torch.cat([image, image.flip(3)])
    wanted = torch.stack([smooth(*pair, sigma, sigma_r, ITERATIONS) for pair in zip(maps, image, strict=True)])
    torch.testing.assert_close(smooth_along_edges(maps, image, sigma, sigma_r, MEMORY), wanted, rtol=0, atol=1e-10)


def test_within_a_surface_maps_become_their_mean_and_nothing_crosses_its_edge():
    image, maps = torch.zeros(1, 3, 20, 24), random_signal((20, 24), channels=2).float()
    image[..., 10:] = 0.5
    left, right = (part.mean((2, 3), keepdim=True) for part in (maps[..., :10], maps[..., 10:]))
    found = smooth_along_edges(maps, image, (1000, 1000), 0.01, MEMORY)
    torch.testing.assert_close(found[..., :10], left.expand(-1, -1, 20, 10))
    torch.testing.assert_close(found[..., 10:], right.expand(-1, -1, 20, 14))


def test_constants_stay_and_mirrors_are_exact():
    image, maps = smooth_image((17, 23), dtype=torch.float32), random_signal((17, 23), channels=3).float()
    assert (smooth_along_edges(torch.full_like(maps, 0.7), image, (4, 4), 0.1, MEMORY) - 0.7).abs().max() < 1e-6
    found = smooth_along_edges(maps.clone(), image, (4, 4), 0.1, MEMORY)
    for dims in ((2,), (3,), (2, 3)):
        mirrored = smooth_along_edges(maps.flip(dims), image.flip(dims), (4, 4), 0.1, MEMORY)
        torch.testing.assert_close(mirrored.flip(dims), found, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cached", [1, 5000])
def test_rows_that_are_smoothed_apart_give_the_same(cached, monkeypatch):
    image, maps = smooth_image((17, 23)), random_signal((17, 23), channels=3)
    whole = smooth_along_edges(maps.clone(), image, (4, 3), 0.1, MEMORY)
    monkeypatch.setattr(domain_transform, "CACHED", cached)
    assert torch.equal(smooth_along_edges(maps.clone(), image, (4, 3), 0.1, MEMORY), whole)
    assert torch.equal(smooth_along_edges(maps.clone().requires_grad_(), image, (4, 3), 0.1, 1).detach(), whole)


def test_gradients_are_those_of_differences():
    image, maps = smooth_image((5, 7)), random_signal((5, 7), channels=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda each: smooth_along_edges(each, image, (3, 2), 0.2, MEMORY), maps)


def test_maps_are_overwritten_only_where_no_gradient_is_wanted():
    image, maps = smooth_image((5, 7)), random_signal((5, 7), channels=2)
    before = maps.clone()
    smooth_along_edges(maps.requires_grad_(), image, (3, 2), 0.2, MEMORY)
    assert torch.equal(maps.detach(), before)
    with torch.no_grad():
        found = smooth_along_edges(maps, image, (3, 2), 0.2, MEMORY)
    assert torch.equal(maps.detach(), found) and not torch.equal(found, before)
