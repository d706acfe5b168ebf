import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics import MeanAbsoluteError, MeanSquaredError

from omniup import InputError
from omniup.evaluation.metrics.depth import DELTA, JUMP, NEAR, depth_scores, depth_sums, edge_distance
from oracles import labels as oracle


@st.composite
def depths(draw):
    """A predicted map and a true one, in which some depths are not known."""
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 12))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    truth = random.choice([0.0, 1.0, 1.04, 1.2, 2.0], shape, p=[0.05, 0.5, 0.35, 0.05, 0.05]).astype(np.float32)
    return (truth + random.normal(0, 0.2, shape)).astype(np.float32), truth


@given(depths())
def test_sums_agree_with_the_oracle(pair):
    predicted, truth = pair
    marked = oracle.edges(truth.astype(np.float64), JUMP)
    known = [(y, x) for y, x in oracle.pixels(truth) if truth[y, x] > 0]
    near = [(y, x) for y, x in known if oracle.distance(marked, y, x) <= NEAR]

    def error(pixel):
        return abs(float(predicted[pixel]) - float(truth[pixel]))

    def within(pixel):
        ratios = predicted[pixel] / truth[pixel], truth[pixel] / predicted[pixel]
        return predicted[pixel] > 0 and max(ratios) < DELTA

    sums = depth_sums(predicted, truth)
    assert sums["pixels"] == len(known)
    assert sums["edge_pixels"] == len(near)
    assert sums["within"] == sum(within(pixel) for pixel in known)
    assert sums["absolute"] == pytest.approx(sum(error(pixel) for pixel in known), rel=1e-5)
    assert sums["squared"] == pytest.approx(sum(error(pixel) ** 2 for pixel in known), rel=1e-5)
    assert sums["edge_absolute"] == pytest.approx(sum(error(pixel) for pixel in near), rel=1e-5)


def test_scores_are_torchmetrics():
    random = np.random.default_rng(0)
    truth = random.uniform(1, 5, (20, 30)).astype(np.float32)
    predicted = (truth + random.normal(0, 1, truth.shape)).astype(np.float32)
    scores = depth_scores(depth_sums(predicted, truth))
    ours = torch.from_numpy(predicted), torch.from_numpy(truth)
    assert scores["rmse"] == pytest.approx(float(MeanSquaredError(squared=False)(*ours)), rel=1e-5)
    assert scores["mae"] == pytest.approx(float(MeanAbsoluteError()(*ours)), rel=1e-5)


def test_errors_at_edges_are_those_near_a_jump():
    truth = np.ones((9, 40), dtype=np.float32)
    truth[:, 20:] = 2
    assert edge_distance(truth)[4, 17] == 2
    predicted = truth.copy()
    predicted[:, :10] += 1  # wrong, far from the edge
    scores = depth_scores(depth_sums(predicted, truth))
    assert scores["edge_mae"] == 0
    assert scores["mae"] == 0.25
    assert scores["delta1"] == 75
    assert math.isinf(edge_distance(np.ones((3, 3)))[0, 0])


def test_maps_of_different_shapes_are_refused():
    with pytest.raises(InputError, match=r"^predicted has the shape \[3, 4\], and truth \[4, 3\]"):
        depth_sums(np.ones((3, 4)), np.ones((4, 3)))
