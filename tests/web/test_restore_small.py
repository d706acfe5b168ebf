"""`POST /api/restore` with the small model, the default, which needs no extra."""

import json
from io import BytesIO

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.testing import assert_allclose
from PIL import Image

from omniup.files import read_alpha, read_image, sample_image
from omniup.restoration.alpha import with_alpha
from omniup.visualize import to_picture
from omniup.web import Settings, create_app
from support.demo import encoded, fields, noise


@pytest.fixture(scope="module")
def client():
    """A server in this process, whose exceptions are raised here."""
    with TestClient(create_app(Settings(hosts=(), offline=True))) as client:
        yield client


@pytest.fixture(scope="module")
def restorer(client):
    """That of the server, which is idle."""
    return client.app.state.service.restoration.load("cpu")


@pytest.fixture(scope="module")
def jpeg():
    """A small photograph of JPEG quality 30."""
    file = BytesIO()
    sample_image("coffee").resize((150, 100)).save(file, "JPEG", quality=30)
    return file.getvalue()


def post(client, image, **config):
    return client.post("/api/restore", files={"image": image}, data={"config": json.dumps({"device": "cpu", **config})})


def restore(client, image, **config):
    answer = post(client, image, **config)
    assert answer.status_code == 200, answer.text[:500]
    return answer.json()


def same(client, answer, expected):
    """Compare the restored picture with the expected one, but for rounding, which depends on the number of threads."""
    with Image.open(BytesIO(client.get(answer["images"]["restored"]).content)) as image:
        pixels = np.array(image)
    assert pixels.shape == np.shape(expected)
    assert_allclose(pixels.astype(int), np.asarray(expected).astype(int), atol=1)


@pytest.mark.parametrize(
    "settings", [{"scale": 1}, {"scale": 1, "strength": 0.5}, {"scale": 1.5, "deblur": 1}], ids=str
)
def test_the_result_is_the_library_s(client, restorer, jpeg, settings):
    answer = restore(client, jpeg, **settings)
    (damage,) = found = restorer.estimate(read_image(jpeg), quality=30)
    assert answer["found"] == {"noise": pytest.approx(damage.noise), "quality": 30, "blur": pytest.approx(damage.blur)}
    assert (answer["model"], answer["trained"], answer["tiles"]) == ("small", True, None)
    same(client, answer, to_picture(restorer(read_image(jpeg), **settings, damage=found)))


def test_alpha_is_kept(client, restorer):
    picture = sample_image("coffee").resize((150, 100)).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    image, alpha = read_image(encoded(picture)), read_alpha(encoded(picture))
    same(client, restore(client, encoded(picture), scale=2), to_picture(with_alpha(restorer(image, scale=2), alpha)))


@pytest.mark.parametrize("size", [(1, 1), (3, 300), (1000, 40)])
def test_pictures_of_any_shape_are_restored(client, size):
    """Also long and thin ones: the small network sees them in their own size."""
    height, width = size
    answer = restore(client, encoded(noise(height, width)), scale=2)
    assert (answer["H"], answer["W"]) == (2 * height, 2 * width)


@pytest.mark.parametrize(
    ("config", "field"),
    [({"prompt": "a cat"}, "config.prompt"), ({"seed": 1}, "config.seed"), ({"tile": 512}, "config.tile")],
    ids=str,
)
def test_settings_of_the_large_model_are_refused(client, jpeg, config, field):
    answer = post(client, jpeg, **config)
    assert fields(answer) == {field}
    assert "takes none; accepted: scale, strength, deblur" in answer.text


@pytest.mark.parametrize("config", [{"strength": -1}, {"strength": 11}, {"deblur": -0.1}, {"deblur": "much"}], ids=str)
def test_settings_out_of_bounds_are_refused(client, jpeg, config):
    assert fields(post(client, jpeg, **config)) == {f"config.{name}" for name in config}


def test_the_options_say_what_restores(client):
    options = client.get("/api/options").json()["restoration"]
    assert (options["state"], options["model"], options["trained"]) == ("ready", "small", True)
    assert (options["settings"], options["thinnest"], options["tiles"]) == (["scale", "strength", "deblur"], None, [])
