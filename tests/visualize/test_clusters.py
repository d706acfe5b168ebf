"""Clusters of feature vectors."""

import pytest
import torch

from omniup.errors import InputError
from omniup.visualize import Clusters, segment, tensors


@pytest.fixture
def halves() -> torch.Tensor:
    """Three quarters around one vector and a quarter around another: [1, 6, 8, 12]."""
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(6, generator=generator).view(1, 6, 1, 1).repeat(1, 1, 8, 12)
    features[..., 9:] *= -1
    return features + 0.3 * torch.randn(features.shape, generator=generator)


def test_similar_vectors_go_together_and_the_largest_cluster_comes_first(halves: torch.Tensor) -> None:
    (labels,) = segment(halves, count=2)
    assert labels.shape == (1, 1, 8, 12) and labels.dtype == torch.int64
    assert torch.equal(labels[0, 0], (torch.arange(12) >= 9).long().expand(8, 12))


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scale_does_not_matter(halves: torch.Tensor, factor: float) -> None:
    assert torch.equal(segment(halves * factor, count=2)[0], segment(halves, count=2)[0])


def test_maps_that_go_in_together_share_their_clusters(halves: torch.Tensor) -> None:
    first, second = segment(halves, halves.flip(3)[..., :5], count=2)
    assert torch.equal(second, first.flip(3)[..., :5])


def test_half_precision_and_pieces_change_nothing(halves: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    clusters = Clusters.fit(halves, count=3)
    whole = clusters.labels(halves)
    monkeypatch.setattr(tensors, "PIECE_BYTES", 4 * 6 * 12 * 3)
    assert torch.equal(clusters.labels(halves), whole)
    assert (clusters.labels(halves.half()) == whole).float().mean() > 0.95


def test_the_nearest_centre_is_found(halves: torch.Tensor) -> None:
    clusters = Clusters.fit(halves, count=4)
    nearest = torch.cdist(halves[0].flatten(1).T.double(), clusters.centres.double()).argmin(1)
    assert torch.equal(clusters.labels(halves).flatten(), nearest)


def test_it_is_repeatable_and_leaves_the_random_state_alone(halves: torch.Tensor) -> None:
    before = torch.get_rng_state()
    assert torch.equal(Clusters.fit(halves, count=5).centres, Clusters.fit(halves, count=5).centres)
    assert torch.equal(torch.get_rng_state(), before)


def test_fewer_vectors_than_clusters() -> None:
    constant = torch.ones(1, 3, 1, 2)
    assert segment(constant, count=7)[0].unique().numel() == 1
    assert segment(torch.zeros(1, 3, 4, 4), count=2)[0].unique().numel() == 1


@pytest.mark.parametrize("count", [1, 257])
def test_counts_that_are_refused(count: int, halves: torch.Tensor) -> None:
    with pytest.raises(InputError, match=rf"^count is {count}; accepted: 2 to 256$"):
        segment(halves, count=count)


def test_maps_that_are_refused(halves: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"^features has the shape \[1, 5, 8, 12\]"):
        Clusters.fit(halves, count=2).labels(halves[:, :5])
    with pytest.raises(InputError, match=r"^maps holds NaN"):
        segment(halves * torch.nan, count=2)
