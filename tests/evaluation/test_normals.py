import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniup.errors import InputError
from omniup.evaluation.metrics.normals import THRESHOLDS, normal_scores, normal_sums, surface_normals
from oracles.normals import angle, plane_normal


@settings(max_examples=15)
@given(st.integers(1, 3), st.integers(0, 99))
def test_a_normal_is_that_of_the_plane_that_fits_best(radius, seed):
    random = np.random.default_rng(seed)
    depth = 100 + random.normal(0, 0.5, (11, 9)) + 0.3 * np.arange(9)
    normals, valid = surface_normals(depth, radius)
    assert valid[radius:-radius, radius:-radius].all()
    assert valid.sum() == (11 - 2 * radius) * (9 - 2 * radius)
    for y, x in np.argwhere(valid):
        np.testing.assert_allclose(normals[:, y, x], plane_normal(depth, y, x, radius), atol=1e-9)


def test_where_depth_jumps_there_is_no_normal():
    depth = np.full((40, 40), 50.0)
    depth[:, 20:] = 80
    _, valid = surface_normals(depth, 4)
    assert not valid[:, 15:25].any()
    assert valid[4:-4, 4:14].all()


@settings(max_examples=15)
@given(st.integers(0, 99))
def test_scores_are_those_of_the_angles_one_by_one(seed):
    random = np.random.default_rng(seed)
    truth = random.normal(0, 1, (3, 7, 8))
    truth /= np.linalg.norm(truth, axis=0)
    predicted = 3 * truth + random.normal(0, 1, truth.shape)
    valid = random.random((7, 8)) < 0.7
    angles = [angle(predicted[:, y, x], truth[:, y, x]) for y, x in np.argwhere(valid)]
    scores = normal_scores(normal_sums(predicted, truth, valid))
    assert scores["mean"] == pytest.approx(np.mean(angles))
    assert np.sum(np.array(angles) < scores["median"] + 0.05) >= len(angles) / 2
    assert np.sum(np.array(angles) > scores["median"] - 0.05) >= len(angles) / 2
    for limit in THRESHOLDS:
        assert scores[f"within_{limit:g}"] == pytest.approx(100 * np.mean(np.array(angles) < limit))


def test_sums_add_up_over_images():
    random = np.random.default_rng(0)
    truth = random.normal(0, 1, (3, 6, 20))
    truth /= np.linalg.norm(truth, axis=0)
    predicted, valid = truth + random.normal(0, 0.2, truth.shape), np.ones((6, 20), bool)
    parts = [normal_sums(predicted[..., half], truth[..., half], valid[:, half]) for half in (slice(7), slice(7, None))]
    whole = normal_scores(normal_sums(predicted, truth, valid))
    assert normal_scores({name: parts[0][name] + parts[1][name] for name in parts[0]}) == pytest.approx(whole)


def test_equal_vectors_are_no_angle_apart():
    truth = np.zeros((3, 4, 4))
    truth[2] = 1
    assert normal_scores(normal_sums(5 * truth, truth, np.ones((4, 4), bool)))["mean"] == 0
    assert normal_scores(normal_sums(-truth, truth, np.ones((4, 4), bool)))["mean"] == 180


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"^predicted has the shape \[3, 4, 5\], and truth \[3, 4, 4\]; accepted: "):
        normal_sums(np.zeros((3, 4, 5)), np.zeros((3, 4, 4)), np.ones((4, 4), bool))
