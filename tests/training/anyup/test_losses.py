import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from omniup.training.anyup import losses
from omniup.upsamplers.anyup.distance import FLAT
from oracles import training_losses

SHAPES = st.tuples(st.integers(1, 2), st.integers(2, 7), st.integers(1, 4), st.integers(1, 4))


def features(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(SHAPES, st.integers(0, 999))
def test_distance_is_the_paper_s(shape, seed):
    prediction, target = features(shape, seed), features(shape, seed + 1)
    expected = training_losses.distance(prediction, target, flat=FLAT)
    assert losses.distance(prediction, target).item() == pytest.approx(expected)


@given(SHAPES, st.integers(0, 999))
def test_where_channels_differ_everywhere_no_pixel_counts_as_flat(shape, seed):
    prediction, target = features(shape, seed), features(shape, seed + 1)
    target[:, 0], target[:, 1] = 3.0, -3.0
    expected = training_losses.distance(prediction, target, flat=0)
    assert losses.distance(prediction, target).item() == pytest.approx(expected)


@given(SHAPES, st.integers(0, 999), st.floats(0.1, 1000))
def test_distance_does_not_depend_on_the_size_of_the_features(shape, seed, factor):
    prediction, target = features(shape, seed), features(shape, seed + 1)
    target[:, 0], target[:, 1] = 3.0, -3.0  # a range beside which `EPS` is nothing
    scaled = losses.distance(factor * prediction, factor * target)
    assert scaled.item() == pytest.approx(losses.distance(prediction, target).item(), rel=1e-4)


@given(SHAPES, st.integers(0, 999))
def test_distance_is_zero_for_equal_features_only(shape, seed):
    target = features(shape, seed)
    assert losses.distance(target, target).item() == pytest.approx(0, abs=1e-12)
    assert losses.distance(2 * target, target) > 1e-3  # of which the cosine knows nothing


def test_a_target_that_shows_nothing_does_not_outweigh_the_others():
    prediction, target = features((1, 8, 10, 10), 0), features((1, 8, 10, 10), 1)
    before = losses.distance(prediction, target)
    target[:, :, 0, 0] = 0
    assert losses.distance(prediction, target) < 3 * before


def test_gradients_agree_with_finite_differences():
    prediction, target = features((1, 3, 2, 2), 0).requires_grad_(), features((1, 3, 2, 2), 1)
    assert torch.autograd.gradcheck(losses.distance, (prediction, target))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_input_consistency_compares_the_means_of_cells(h, w, tall, wide):
    result, low = features((2, 4, h * tall, w * wide), 0), features((2, 4, h, w), 1)
    reduced = training_losses.cell_means(result, (h, w))
    expected = training_losses.distance(reduced, low, flat=FLAT)
    assert losses.input_consistency(result, low).item() == pytest.approx(expected)


def test_repeated_cells_are_consistent_with_the_input():
    low = features((1, 5, 3, 4), 0)
    repeated = F.interpolate(low, (9, 8), mode="nearest")
    assert losses.input_consistency(repeated, low).item() == pytest.approx(0, abs=1e-12)


def test_self_consistency_teaches_the_changed_result_only():
    changed, clean = features((1, 3, 4, 4), 0).requires_grad_(), features((1, 3, 4, 4), 1).requires_grad_()
    loss = losses.self_consistency(changed, clean)
    loss.backward()
    assert loss.item() == pytest.approx(training_losses.distance(changed, clean, flat=FLAT))
    assert changed.grad is not None
    assert clean.grad is None
