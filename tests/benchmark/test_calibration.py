"""What a confidence is worth, on confidences that are made so that it is known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from omniup_bench.calibration import (
    CLOSE,
    calibration_error,
    class_outcomes,
    confidence_scores,
    confidence_sums,
    feature_outcomes,
    largest_deviation,
    measurement_outcomes,
    rank_correlation,
    reliability,
    reliability_curve,
)
from omniup_bench.quality import total

MANY = 40_000


def pixels(draw_from, size=MANY, seed=0):
    return draw_from(np.random.default_rng(seed), size)


def ranks(values):
    """Ranks from 1 on; those that are equal share the mean of theirs."""
    return [sum(other < each for other in values) + (sum(other == each for other in values) + 1) / 2 for each in values]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12))
def test_the_rank_correlation_is_that_of_the_ranks(pairs):
    confidence, error = (np.array(each, dtype=float) / 4 for each in zip(*pairs, strict=True))
    found = rank_correlation(confidence, error)
    if len(set(confidence)) == 1 or len(set(error)) == 1:
        assert found == 0
    else:
        assert found == pytest.approx(-np.corrcoef(ranks(confidence), ranks(error))[0, 1])


def test_any_order_that_is_kept_correlates_fully():
    confidence = pixels(lambda random, size: random.random(size))
    assert rank_correlation(confidence, np.exp(-7 * confidence)) == pytest.approx(1)
    assert rank_correlation(confidence, confidence**3) == pytest.approx(-1)
    assert abs(rank_correlation(confidence, pixels(lambda random, size: random.random(size), seed=1))) < 0.02


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_bins_and_the_error_agree_with_the_definition(pairs):
    confidence, outcome = (np.array(each) for each in zip(*pairs, strict=True))
    bins = reliability(confidence, outcome)
    expected = 0.0
    for number in range(10):
        inside = [
            (trust, good) for trust, good in pairs if number <= 10 * trust < number + 1 or (number == 9 and trust == 1)
        ]
        assert bins[0, number] == len(inside)
        if inside:
            trust, good = (sum(each) / len(inside) for each in zip(*inside, strict=True))
            assert reliability_curve(bins)[:, number] == pytest.approx([trust, good])
            expected += len(inside) / len(pairs) * abs(trust - good)
        else:
            assert np.isnan(reliability_curve(bins)[:, number]).all()
    assert calibration_error(bins) == pytest.approx(expected, abs=1e-9)
    assert largest_deviation(bins) >= calibration_error(bins) - 1e-9


def test_a_calibrated_confidence_lies_on_the_diagonal_and_an_exaggerated_one_does_not():
    confidence = pixels(lambda random, size: random.random(size))
    outcome = (pixels(lambda random, size: random.random(size), seed=1) < confidence).astype(float)
    calibrated = reliability(confidence, outcome)
    assert calibration_error(calibrated) < 0.01
    assert largest_deviation(calibrated) < 0.03
    exaggerated = reliability(np.sqrt(confidence), outcome)
    assert calibration_error(exaggerated) == pytest.approx(2 / 3 - 1 / 2, abs=0.01)  # the mean of √c - c
    assert largest_deviation(exaggerated) == pytest.approx(0.25, abs=0.02)  # its maximum


def test_a_bin_of_few_pixels_has_no_deviation_of_its_own():
    confidence, outcome = np.array([0.05] * 2 + [0.95] * 998), np.array([1.0] * 2 + [0.95] * 998)
    bins = reliability(confidence, outcome)
    assert largest_deviation(bins) == pytest.approx(0, abs=1e-9)
    assert calibration_error(bins) == pytest.approx(2 * 0.95 / 1000)
    assert largest_deviation(reliability(np.empty(0), np.empty(0))) == 0


def test_classes_turn_out_well_where_the_most_probable_is_right():
    truth = np.array([[0, 1, -1], [2, 2, 0]])
    result = F.one_hot(torch.tensor([[0, 2, 1], [2, 1, 0]]), 3).permute(2, 0, 1)[None].float()
    found = class_outcomes(result, truth)
    assert found.valid.sum() == 5
    assert found.outcome.tolist() == [1, 0, 1, 0, 1]
    assert found.error.tolist() == [0, 1, 0, 1, 0]


def test_measurements_turn_out_well_within_a_part_of_the_local_range():
    signal = torch.zeros(1, 1, 4, 8)
    signal[..., 6:] = 10.0
    truth = torch.zeros(1, 1, 16, 32)
    wrong = CLOSE * 10 - 0.1
    found = measurement_outcomes(truth + wrong, truth, signal)
    outcome = found.outcome.reshape(16, 32)
    assert outcome[:, :20].sum() == 0  # cells 0 to 4, whose neighbours are all 0: the range is 0
    assert outcome[:, 20:28].all()  # cells 5 and 6, beside the step
    assert outcome[:, 28:].sum() == 0  # cell 7, whose neighbours are all 10
    assert found.error == pytest.approx(np.full(16 * 32, wrong))
    assert measurement_outcomes(truth + CLOSE * 10 + 0.1, truth, signal).outcome.sum() == 0
    assert measurement_outcomes(truth, truth, 0 * signal).outcome.all()


def test_features_turn_out_as_their_cosine():
    truth = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 3)
    result = torch.tensor([[2.0, 1.0, -1.0], [0.0, 1.0, 0.0]]).view(1, 2, 1, 3)
    found = feature_outcomes(result, truth)
    assert found.outcome == pytest.approx([1, 0.5**0.5, 0])
    assert found.error == pytest.approx([0, 1 - 0.5**0.5, 2])


def test_statistics_of_images_add_up():
    random = np.random.default_rng(0)
    statistics, kept = [], []
    for size in (50, 70):
        truth = random.integers(-1, 3, (size, size))
        result = torch.from_numpy(random.random((1, 3, size, size)))
        confidence = torch.from_numpy(random.random((1, 1, size, size)))
        outcomes = class_outcomes(result, truth)
        statistics.append(confidence_sums(confidence, outcomes))
        kept.append((confidence[0, 0].numpy()[truth >= 0], outcomes.outcome, outcomes.error))
    scores = confidence_scores(total(statistics))
    confidences, outcome, _ = (np.concatenate(each) for each in zip(*kept, strict=True))
    assert scores["calibration_error"] == pytest.approx(calibration_error(reliability(confidences, outcome)))
    assert scores["largest_deviation"] == pytest.approx(largest_deviation(reliability(confidences, outcome)))
    assert scores["rank_correlation"] == pytest.approx(
        np.mean([rank_correlation(confidence, error) for confidence, _, error in kept])
    )
