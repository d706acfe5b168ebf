"""Scores of what bleeds over edges, against their definitions pixel by pixel, and cases with a known number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniup.evaluation.metrics.depth import JUMP, NEAR, depth_sums
from omniup_bench.edges import FLYING, bleeding, bleeding_scores, flying_pixels
from oracles import labels as oracle


def square(shape, y, x, reach):
    """The pixels of a square window."""
    height, width = shape
    rows, columns = (range(max(0, at - reach), min(side, at + reach + 1)) for at, side in ((y, height), (x, width)))
    return [(row, column) for row in rows for column in columns]


def flies(predicted, truth, y, x):
    surfaces = [truth[place] for place in square(truth.shape, y, x, 5) if truth[place] > 0]
    return min(abs(predicted[y, x] - each) for each in surfaces) > FLYING * (max(surfaces) - min(surfaces))


@st.composite
def depths(draw):
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 16))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    truth = np.where(np.arange(shape[1]) < draw(st.integers(0, 16)), 1.0, draw(st.sampled_from([1.02, 1.2, 3.0])))
    truth = truth + random.choice([0.0, 0.03, -5.0], shape, p=[0.8, 0.15, 0.05])
    return random.uniform(0.5, 3.5, shape), truth


@given(depths())
def test_flying_pixels_agree_with_the_definition(pair):
    predicted, truth = pair
    marked = oracle.edges(truth, JUMP)
    near = [(y, x) for y, x in oracle.pixels(truth) if truth[y, x] > 0 and oracle.distance(marked, y, x) <= NEAR]
    assert flying_pixels(predicted, truth) == sum(flies(predicted, truth, y, x) for y, x in near)
    assert depth_sums(predicted, truth)["edge_pixels"] == len(near)


def step(width=40, height=10):
    return np.where(np.arange(width) < width // 2, 1.0, 2.0) * np.ones((height, 1))


def test_a_ramp_between_two_depths_flies_and_a_displaced_edge_does_not():
    truth = step()
    ramp = np.clip(1 + (np.arange(40) - 15.5) / 8, 1, 2) * np.ones((10, 1))  # over the eight pixels 16 to 23
    between = ramp[0][(ramp[0] > 1 + FLYING) & (ramp[0] < 2 - FLYING)]
    assert flying_pixels(ramp, truth) == 10 * len(between) == 10 * 4
    assert flying_pixels(np.roll(truth, 3, axis=1), truth) == 0
    assert flying_pixels(truth, truth) == 0
    assert flying_pixels(2 * ramp, 2 * truth) == flying_pixels(ramp, truth)


def test_what_overshoots_both_depths_flies_and_what_is_far_from_edges_does_not():
    truth, predicted = step(), step()
    predicted[3, 19], predicted[4, 20], predicted[5, 2] = 0.7, 2.3, 1.5
    assert flying_pixels(predicted, truth) == 2


@st.composite
def label_maps(draw):
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    truth = np.kron(random.integers(-1, 3, (5, 5)), np.ones((2, 2), int))[: shape[0], : shape[1]]
    return random.integers(0, 4, shape), truth


@given(label_maps(), st.integers(1, 4))
def test_bleeding_agrees_with_the_definition(pair, width):
    predicted, truth = pair
    marked = oracle.boundary(truth)
    counts = np.zeros(3, int)
    for y, x in oracle.pixels(truth):
        if truth[y, x] < 0 or not oracle.distance(marked, y, x) < width:
            continue
        counts[0] += 1
        if predicted[y, x] != truth[y, x]:
            around = [
                truth[row, column]
                for row, column in square(truth.shape, y, x, width + 1)
                if (row - y) ** 2 + (column - x) ** 2 <= (width + 1) ** 2
            ]
            counts[1 if predicted[y, x] in around else 2] += 1
    assert bleeding(predicted, truth, width).tolist() == counts.tolist()


def test_a_displaced_boundary_bleeds_and_a_third_class_is_spurious():
    truth = step().astype(int)  # classes 1 and 2
    near = 10 * 12  # six columns on each side
    assert bleeding(np.roll(truth, 2, axis=1), truth, 6).tolist() == [near, 20, 0]
    third = truth.copy()
    third[:, 19] = 0
    counts = bleeding(third, truth, 6)
    assert counts.tolist() == [near, 0, 10]
    assert bleeding_scores(counts) == pytest.approx({"bleeding": 0, "spurious": 100 * 10 / near})
    assert bleeding(truth, truth, 6).tolist() == [near, 0, 0]


def test_a_map_without_edges_has_nothing_to_bleed():
    flat = np.ones((8, 8))
    assert flying_pixels(flat + 1, flat) == 0
    assert bleeding_scores(bleeding(0 * flat, flat, 6)) == {"bleeding": 0, "spurious": 0}
