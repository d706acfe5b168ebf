from uuid import uuid4

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.visualize import heat_map, lengths, similarity_map
from omniup.web.runs import Comparison
from omniup.web.schemas import SimilarityRequest
from omniup.web.similarity import similarity
from support.demo import array, fields, picture, run
from support.kernels import SPEC, cast, random_kernels, random_signal

MAPS = ("bilinear", "fixed", "gsjbu")


@pytest.fixture(scope="module")
def made(client, photo):
    """A run, twice as wide as high."""
    return run(client, photo, size=96, shape="keep", stride=8, iters=4, channels=7)


def ask(client, run_id, **request):
    return client.post("/api/similarity", json={"run_id": run_id, **request})


def as_drawn(cosine, key):
    return np.asarray(heat_map(cosine, (key["low"], key["high"]))).astype(int)


def comparison_of(size, grid, *, channels=5, seed=0):
    """What is kept of a run, and the features of its three maps."""
    kernels = {
        name: cast(random_kernels(size, grid, SPEC, seed=seed + i), torch.float32) for i, name in enumerate(MAPS[1:])
    }
    features = random_signal(grid, channels=channels, seed=seed, dtype=torch.float32)
    high = {"bilinear": F.interpolate(features, size, mode="bilinear")}
    high |= {name: each.render(features) for name, each in kernels.items()}
    return Comparison(features, kernels, {name: lengths(each) for name, each in high.items()}), high


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.integers(1, 6),
    name=st.sampled_from(MAPS),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_the_map_is_the_cosine_with_the_features_of_the_pixel(size, channels, name, seed, data):
    grid = tuple(data.draw(st.integers(1, side)) for side in size)
    y, x = (data.draw(st.integers(0, side - 1)) for side in size)
    comparison, high = comparison_of(size, grid, channels=channels, seed=seed)
    answer = similarity(comparison, SimilarityRequest(run_id=uuid4(), x=x, y=y, map=name))
    expected = similarity_map(high[name], (y, x))
    key = answer.scale.model_dump()
    assert_allclose(picture(answer.image).astype(int), as_drawn(expected, key), atol=6)
    assert (answer.x, answer.y, answer.map) == (x, y, name)
    assert key["high"] == 1
    assert key["low"] < 1


@pytest.mark.parametrize("name", MAPS)
def test_a_pixel_resembles_itself_most(name):
    comparison, _ = comparison_of((24, 36), (4, 6))
    answer = similarity(comparison, SimilarityRequest(run_id=uuid4(), x=30, y=7, map=name))
    pixels = picture(answer.image)
    top = [int(answer.scale.colours[-1][i : i + 2], 16) for i in (1, 3, 5)]
    assert_allclose(pixels[7, 30].astype(int), top, atol=1)


def test_all_maps_of_a_point_share_their_scale():
    comparison, _ = comparison_of((24, 36), (4, 6))
    answers = [similarity(comparison, SimilarityRequest(run_id=uuid4(), x=3, y=9, map=name)) for name in MAPS]
    assert len({(answer.scale.low, answer.scale.high) for answer in answers}) == 1


def test_features_that_are_all_alike_are_all_similar():
    comparison, _ = comparison_of((12, 12), (3, 3))
    alike = Comparison(
        torch.ones(1, 5, 3, 3), comparison.kernels, {name: torch.full((1, 1, 12, 12), 5**0.5) for name in MAPS}
    )
    for name in MAPS:
        answer = similarity(alike, SimilarityRequest(run_id=uuid4(), x=0, y=11, map=name))
        top = [int(answer.scale.colours[-1][i : i + 2], 16) for i in (1, 3, 5)]
        assert_allclose(picture(answer.image).astype(int), np.broadcast_to(top, (12, 12, 3)), atol=2)


@pytest.mark.parametrize(("y", "x"), [(12, 0), (0, 18), (12, 18), (4095, 4095)])
def test_points_outside_are_refused(y, x):
    comparison, _ = comparison_of((12, 18), (2, 3))
    with pytest.raises(InputError, match="accepted: pixels of 18 × 12"):
        similarity(comparison, SimilarityRequest(run_id=uuid4(), x=x, y=y))


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(("y", "x"), [(0, 0), (63, 95), (20, 71)])
def test_the_server_answers_with_the_cosine_of_the_arrays(client, made, name, y, x):
    assert (made["meta"]["H"], made["meta"]["W"]) == (64, 96)
    answer = ask(client, made["run_id"], x=x, y=y, map=name).json()
    cosine = similarity_map(array(client, made, f"features_{name}.npy"), (y, x))
    assert_allclose(picture(answer["image"]).astype(int), as_drawn(cosine, answer["scale"]), atol=6)
    assert answer["scale"]["unit"] == "cosine"
    assert (answer["x"], answer["y"], answer["map"]) == (x, y, name)


def test_the_map_is_that_of_the_fitted_kernels_by_default(client, made):
    default, named = (ask(client, made["run_id"], x=1, y=2, **more).json() for more in ({}, {"map": "gsjbu"}))
    assert default["map"] == "gsjbu"
    assert default["image"] == named["image"]


@pytest.mark.parametrize("point", [{"x": 96, "y": 0}, {"x": 0, "y": 64}, {"x": 4095, "y": 4095}], ids=str)
def test_a_point_outside_of_the_image_is_refused(client, made, point):
    answer = ask(client, made["run_id"], **point)
    assert fields(answer) == {"x"}
    assert "96 × 64" in answer.text


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"x": -1, "y": 0}, "x"),
        ({"x": 0, "y": 0.5}, "y"),
        ({"x": 0, "y": 4096}, "y"),
        ({"x": 0}, "y"),
        ({"x": "a", "y": 0}, "x"),
        ({"x": 0, "y": 0, "map": "nearest"}, "map"),
        ({"x": 0, "y": 0, "z": 0}, "z"),
    ],
    ids=str,
)
def test_a_request_that_is_none_is_refused(client, made, request_, field):
    assert fields(ask(client, made["run_id"], **request_)) == {field}


def test_an_unknown_run_has_no_similarities(client):
    assert ask(client, str(uuid4()), x=0, y=0).status_code == 404
    assert fields(ask(client, "mine", x=0, y=0)) == {"run_id"}


def test_an_upsampling_has_no_similarities(client, photo):
    files = {"image": photo, "signal": photo}
    run_id = client.post("/api/upsample", files=files, data={"config": '{"method": "bilinear"}'}).json()["run_id"]
    assert ask(client, run_id, x=0, y=0).status_code == 404
