"""Cosine similarity with one pixel."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.errors import InputError
from omniup.upsamplers import Bilinear
from omniup.visualize import lengths, mixed_similarity, similarity_map, tensors
from support.kernels import PAPER, SPEC, cast, random_kernels, random_signal


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
    with pytest.raises(InputError, match=r"point is \(y, x\) = .*; accepted: \(0, 0\) to \(8, 10\)"):
        similarity_map(features, point)


def test_other_shapes_are_refused(features: torch.Tensor) -> None:
    with pytest.raises(InputError, match="features has the shape"):
        similarity_map(features[0], (0, 0))


def test_lengths_are_those_of_the_vectors(features: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    features[:, :, 3, 4] = 0
    expected = features.double().square().sum(1, keepdim=True).sqrt().float()
    found = lengths(features)
    assert found.shape == (1, 1, 9, 11)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    assert found[0, 0, 3, 4] == 0
    monkeypatch.setattr(tensors, "PIECE_BYTES", 1)
    torch.testing.assert_close(lengths(features), expected)
    torch.testing.assert_close(lengths((features * 10000).half()), expected * 10000, rtol=1e-3, atol=1)


@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    channels=st.integers(1, 6),
    window=st.sampled_from([SPEC, PAPER, None]),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_the_similarity_of_mixed_features_needs_no_mixed_features(size, channels, window, seed, data) -> None:
    grid = tuple(data.draw(st.integers(1, side)) for side in size)
    y, x = (data.draw(st.integers(0, side - 1)) for side in size)
    kernels = cast(random_kernels(size, grid, window or SPEC, seed=seed), torch.float32)
    features = random_signal(grid, channels=channels, seed=seed, dtype=torch.float32)

    def render(signal: torch.Tensor) -> torch.Tensor:
        return kernels.render(signal) if window else Bilinear().prepare(kernels.guidance, kernels.grid).render(signal)

    mixed = render(features)
    found = mixed_similarity(render, features, mixed[0, :, y, x], lengths(mixed))
    assert found.shape == (1, 1, *size)
    assert found.dtype == torch.float32
    assert found.abs().max() <= 1
    near_zero = lengths(mixed) < 0.05  # where rounding decides
    expected = similarity_map(mixed, (y, x)) if not near_zero[0, 0, y, x] else found
    torch.testing.assert_close(found[~near_zero], expected[~near_zero], atol=1e-3, rtol=0)


def test_mixed_zero_vectors_resemble_nothing(features: torch.Tensor) -> None:
    nothing = torch.zeros(6)
    long = lengths(features)
    assert mixed_similarity(lambda signal: signal, features, nothing, long).equal(torch.zeros(1, 1, 9, 11))
    features[:, :, 3, 4] = 0
    found = mixed_similarity(lambda signal: signal, features, features[0, :, 0, 0], lengths(features))
    assert found[0, 0, 3, 4] == 0
    torch.testing.assert_close(found[0, 0, 0, 0].item(), 1.0)


def test_the_length_of_the_vector_does_not_matter(features: torch.Tensor) -> None:
    vector = features[0, :, 2, 2]
    one, other = (
        mixed_similarity(lambda signal: signal, features, scale * vector, lengths(features)) for scale in (1, 1e-12)
    )
    torch.testing.assert_close(one, other)


def test_mixed_features_of_another_shape_are_refused(features: torch.Tensor) -> None:
    for call in (lengths, lambda wrong: mixed_similarity(lambda signal: signal, wrong, wrong[:, 0, 0], wrong)):
        with pytest.raises(InputError, match="features has the shape"):
            call(features[0])


def test_the_pixel_may_be_another_map_s(features: torch.Tensor) -> None:
    part = features[..., 2:5, 3:9].double()
    torch.testing.assert_close(similarity_map(features, (1, 2), of=part), similarity_map(features, (3, 5)))
    with pytest.raises(InputError, match=r"^point is"):
        similarity_map(features, (3, 0), of=part)
    with pytest.raises(InputError, match=r"^of has the shape"):
        similarity_map(features, (0, 0), of=part[:, :2])
