"""Cosine similarity with one pixel."""

import pytest
import torch

from omniup.errors import InputError
from omniup.visualize import similarity_map, tensors


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(1, 6, 9, 11, generator=torch.Generator().manual_seed(0))


def test_a_pixel_resembles_itself_and_is_opposed_to_its_negative(features: torch.Tensor) -> None:
    features[:, :, 1, 2] = -features[:, :, 3, 4]
    similarity = similarity_map(features, (3, 4))
    assert similarity.shape == (1, 1, 9, 11)
    assert similarity.dtype == torch.float32
    torch.testing.assert_close(similarity[0, 0, 3, 4].item(), 1.0)
    torch.testing.assert_close(similarity[0, 0, 1, 2].item(), -1.0)
    assert similarity.abs().max() <= 1


def test_every_value_is_the_cosine_of_the_two_vectors(features: torch.Tensor) -> None:
    similarity = similarity_map(features, (0, 10))
    a, b = features[0, :, 0, 10].double(), features[0, :, 7, 5].double()
    torch.testing.assert_close(similarity[0, 0, 7, 5].double(), a @ b / a.norm() / b.norm(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("factor", [1e-12, 3.0, 1e12])
def test_scale_does_not_matter(features: torch.Tensor, factor: float) -> None:
    torch.testing.assert_close(similarity_map(features * factor, (3, 4)), similarity_map(features, (3, 4)))


def test_half_precision_does_not_overflow(features: torch.Tensor) -> None:
    large = (features * 10000).half()
    torch.testing.assert_close(similarity_map(large, (3, 4)), similarity_map(features, (3, 4)), atol=2e-3, rtol=0)


def test_zero_vectors_resemble_nothing(features: torch.Tensor) -> None:
    features[:, :, 3, 4] = 0
    assert similarity_map(features, (0, 0))[0, 0, 3, 4] == 0
    assert torch.equal(similarity_map(features, (3, 4)), torch.zeros(1, 1, 9, 11))


def test_pieces_do_not_matter(features: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = similarity_map(features, (3, 4))
    monkeypatch.setattr(tensors, "PIECE_BYTES", 1)
    torch.testing.assert_close(similarity_map(features, (3, 4)), expected)


@pytest.mark.parametrize("point", [(-1, 0), (0, -1), (9, 0), (0, 11)])
def test_points_outside_are_refused(features: torch.Tensor, point: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"point is \(y, x\) = .*; accepted is \(0, 0\) to \(8, 10\)"):
        similarity_map(features, point)


def test_other_shapes_are_refused(features: torch.Tensor) -> None:
    with pytest.raises(InputError, match="features has shape"):
        similarity_map(features[0], (0, 0))
