"""A signal is recognised before it is upsampled; what comes out is at hand in every form."""

import itertools
import json
from io import BytesIO
from uuid import uuid4

import numpy as np
import pytest
import tifffile
from PIL import Image
from starlette.testclient import TestClient

from omniup.files.georeference import read_georeference
from omniup.web import Settings, create_app
from support.demo import array, encoded, events, fields, noise, npy, picture, upsample

IMAGE = encoded(noise(64, 96))
RANDOM = np.random.default_rng(0)
DEPTH = RANDOM.random((16, 24), np.float32) * 8 + 1


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(Settings(hosts=(), offline=True))) as client:
        yield client


def recognise(client, signal, **config):
    return client.post("/api/recognise", files={"image": IMAGE, "signal": signal}, data={"config": json.dumps(config)})


def test_depth_with_holes(client):
    depth = DEPTH.copy()
    depth[:4, :5] = np.nan
    assert recognise(client, npy(depth)).json() == {
        "signal_type": "measurement",
        "layout": "map",
        "extra_tokens": 0,
        "channels": 1,
        "grid": [16, 24],
        "size": [64, 96],
        "low": pytest.approx(np.nanmin(depth)),
        "high": pytest.approx(np.nanmax(depth)),
        "labels": None,
        "holes": 20,
        "invalid": ["nan"],
    }


def test_tokens_and_labels(client):
    found = recognise(client, npy(RANDOM.random((1, 385, 64), np.float32))).json()
    assert [found[name] for name in ("signal_type", "layout", "extra_tokens", "channels", "grid")] == [
        "features",
        "tokens",
        1,
        64,
        [16, 24],
    ]
    found = recognise(client, npy(RANDOM.integers(0, 5, (16, 24)))).json()
    assert (found["signal_type"], found["labels"]) == ("labels", 5)


def test_what_cannot_be_read_is_named(client):
    assert fields(recognise(client, b"nothing")) == {"signal"}
    assert fields(recognise(client, npy(DEPTH), region={"left": 200, "top": 0, "width": 5, "height": 5})) == {
        "config.region"
    }


def test_the_difference_to_bilinear(client):
    answer = upsample(client, IMAGE, npy(DEPTH))
    plain = array(client, upsample(client, IMAGE, npy(DEPTH), method="bilinear"), "result.npy")
    differs = (array(client, answer, "result.npy") - plain).abs()[0, 0]
    drawn = picture(answer["images"]["difference"]).sum(-1).astype(float)
    assert drawn.shape == differs.shape
    assert np.corrcoef(drawn.flatten(), differs.clamp(max=answer["difference"]["high"]).flatten())[0, 1] > 0.9
    same = upsample(client, IMAGE, npy(DEPTH), method="bilinear")
    assert np.ptp(picture(same["images"]["difference"]).reshape(-1, 3), axis=0).max() == 0


def test_classes_differ_or_not(client):
    labels = RANDOM.integers(0, 3, (16, 24)).astype(np.uint8)
    answer = upsample(client, IMAGE, npy(labels), signal_type="labels")
    assert answer["difference"] is None
    assert len(np.unique(picture(answer["images"]["difference"]).reshape(-1, 3), axis=0)) == 2


def png16(client, answer):
    with Image.open(BytesIO(client.get(answer["files"]["result_16bit.png"]).content)) as stored:
        assert stored.mode in ("I;16", "I")
        return np.array(stored)


def test_sixteen_bits_hold_whole_numbers_as_they_are(client):
    depth = (1000 * DEPTH).astype(np.uint16)
    answer = upsample(client, IMAGE, npy(depth), signal_type="measurement", method="bilinear")
    assert answer["sixteen_bits"] is None
    np.testing.assert_array_equal(png16(client, answer), array(client, answer, "result.npy")[0, 0])


def test_sixteen_bits_hold_others_on_a_scale_that_is_told(client):
    answer = upsample(client, IMAGE, npy(DEPTH), method="bilinear")
    low, high = answer["sixteen_bits"]
    back = low + png16(client, answer) / 65535 * (high - low)
    np.testing.assert_allclose(back, array(client, answer, "result.npy")[0, 0], atol=1e-3)


def test_sixteen_bits_hold_the_classes_of_probabilities(client):
    parts = RANDOM.random((3, 16, 24), np.float32)
    answer = upsample(client, IMAGE, npy(parts / parts.sum(0)), method="bilinear")
    np.testing.assert_array_equal(png16(client, answer), array(client, answer, "result.npy")[0].argmax(0))


def test_features_have_no_picture_of_16_bits(client):
    answer = upsample(client, IMAGE, npy(RANDOM.standard_normal((5, 16, 24)).astype(np.float32)))
    assert "result_16bit.png" not in answer["files"] and "result.tif" in answer["files"]
    assert not answer["georeferenced"]


def test_a_photograph_of_12_megapixels_tells_how_it_goes(client):
    photo = noise(30, 40).resize((4000, 3000))
    run_id = str(uuid4())
    answer = upsample(client, encoded(photo, "JPEG"), npy(DEPTH), method="bilinear", run_id=run_id)
    assert answer["shape"] == [1, 1, 3000, 4000]
    assert max(picture(answer["images"]["difference"]).shape) == 512
    told = [event["stage"] for event in events(client, run_id)]
    assert [stage for stage, _ in itertools.groupby(told) if stage != "queued"] == [
        "prepare",
        "render",
        "confidence",
        "draw",
        "done",
    ]


def test_a_geotiff_keeps_its_place(client):
    tags = [(33550, "d", 3, (2.0, 2.0, 0.0), True), (33922, "d", 6, (0, 0, 0, 5e5, 4e6, 0), True)]
    image = BytesIO()
    pixels = np.asarray(noise(64, 96))
    tifffile.imwrite(image, pixels, photometric="rgb", extratags=tags, metadata=None)
    region = {"left": 32, "top": 16, "width": 64, "height": 48}
    answer = upsample(client, image.getvalue(), npy(DEPTH), region=region, method="bilinear")
    assert answer["georeferenced"]
    content = client.get(answer["files"]["result.tif"]).content
    assert read_georeference(BytesIO(content)).tags[33922][:5] == (-32, -16, 0, 5e5, 4e6)
    result = array(client, answer, "result.npy")
    np.testing.assert_array_equal(tifffile.imread(BytesIO(content)), result[0, 0])

    signal = BytesIO()
    tifffile.imwrite(signal, DEPTH, extratags=tags, metadata=None)
    answer = upsample(client, IMAGE, signal.getvalue(), method="bilinear")
    tags = read_georeference(BytesIO(client.get(answer["files"]["result.tif"]).content)).tags
    assert tags[33550][:2] == (0.5, 0.5)
