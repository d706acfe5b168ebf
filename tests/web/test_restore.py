"""`POST /api/restore` with the tiny model, whose weights are random: everything but what it draws."""

import json
import shutil
import sys
import threading
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from starlette.testclient import TestClient

import omniup.restoration
from omniup.files import image_tensor, read_alpha, read_image, sample_image
from omniup.restoration.alpha import with_alpha
from omniup.restoration.base_model import PUBLISHED
from omniup.visualize import to_picture
from omniup.web import Settings, create_app
from omniup.web.restoration import RestorationModel
from support.demo import encoded, events, eventually, fields, noise

pytest.importorskip("diffusers")

LIMIT = 300 * 500
PICTURE = sample_image("coffee").resize((150, 100))
TINY = Path(omniup.restoration.__file__).with_name("tiny")


@pytest.fixture(scope="module")
def client():
    """A server in this process, whose exceptions are raised here."""
    limits = {"upload_bytes": 2**20, "pixels": 2**20, "restored_pixels": LIMIT}
    settings = Settings(hosts=(), offline=True, patience=1, restore_model="tiny", **limits)
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="module")
def enhancer(client):
    """That of the server, which is idle."""
    return client.app.state.service.restoration.load("cpu")


def post(client, image=None, **config):
    files = {"image": encoded(PICTURE) if image is None else image}
    return client.post("/api/restore", files=files, data={"config": json.dumps({"device": "cpu", **config})})


def restore(client, image=None, **config):
    answer = post(client, image, **config)
    assert answer.status_code == 200, answer.text[:500]
    return answer.json()


def drawn(client, answer, name):
    """The pixels of one of an answer's pictures."""
    file = client.get(answer["images"][name])
    assert file.headers["content-type"] == "image/png"
    with Image.open(BytesIO(file.content)) as image:
        return np.array(image)


def same(pixels, expected):
    """Whether pictures are the same but for rounding, which depends on the number of threads."""
    assert pixels.shape == np.shape(expected)
    assert_allclose(pixels.astype(int), np.asarray(expected).astype(int), atol=1)


@pytest.mark.parametrize(
    "settings",
    [{}, {"scale": 1.3, "seed": 7, "prompt": "a cup of coffee"}, {"colour": "none", "tile": 64, "scale": 1}],
    ids=str,
)
def test_the_result_is_the_library_s(client, enhancer, settings):
    answer = restore(client, **settings)
    expected = enhancer(image_tensor(PICTURE), **{"scale": 2, **settings})
    height, width = expected.shape[2:]
    assert (answer["H"], answer["W"]) == (height, width)
    same(drawn(client, answer, "restored"), to_picture(expected))
    enlarged = torch.nn.functional.interpolate(image_tensor(PICTURE), (height, width), mode="bicubic")
    same(drawn(client, answer, "enlarged"), to_picture(enlarged))


def test_the_answer_says_what_was_done(client):
    run_id = str(uuid4())
    answer = restore(client, run_id=run_id, scale=1)
    assert answer["run_id"] == run_id
    assert (answer["model"], answer["trained"]) == ("tiny", False)
    assert (answer["device"], answer["precision"]) == ("cpu", "fp32")
    assert answer["seconds"].keys() == {"load", "restore", "draw", "total"}
    assert answer["seconds"]["total"] >= answer["seconds"]["restore"] > 0
    assert answer["files"].keys() == {"restored.png", "enlarged.png"}
    assert answer["images"] == {name: answer["files"][f"{name}.png"] for name in ("enlarged", "restored")}


def test_the_answer_says_how_well_tiles_agree(client, enhancer):
    assert restore(client, scale=1)["tiles"] is None
    tiles = restore(client, scale=1, tile=64)["tiles"]
    (agreement,) = enhancer.agreement
    assert tiles["tiles"] == agreement.tiles > 1
    assert tiles["median"] == pytest.approx(agreement.median)
    assert 0 < tiles["median"] <= tiles["largest"]
    assert tiles["anew"] == len(agreement.anew)


@pytest.mark.parametrize("picture", [noise(1, 1), noise(9, 100), noise(40, 30, mode="L"), noise(30, 40, mode="RGBA")])
def test_any_picture(client, picture):
    answer = restore(client, encoded(picture), scale=1.5)
    assert (answer["H"], answer["W"]) == (round(1.5 * picture.height), round(1.5 * picture.width))
    channels = 4 if picture.mode == "RGBA" else 3
    assert drawn(client, answer, "restored").shape == (answer["H"], answer["W"], channels)


def test_alpha_is_kept(client, enhancer):
    """As `omniup restore` keeps it."""
    picture = PICTURE.convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    answer = restore(client, encoded(picture))
    image, alpha = read_image(encoded(picture)), read_alpha(encoded(picture))
    same(drawn(client, answer, "restored"), to_picture(with_alpha(enhancer(image, scale=2), alpha)))
    enlarged = torch.nn.functional.interpolate(image, (200, 300), mode="bicubic")
    same(drawn(client, answer, "enlarged"), to_picture(with_alpha(enlarged, alpha)))


def test_the_model_is_loaded_once(client, enhancer):
    assert client.app.state.service.restoration.load("cpu") is enhancer


# ---- progress


def test_progress_is_told_tile_by_tile(client):
    run_id = str(uuid4())
    restore(client, run_id=run_id, tile=128)
    told = list(events(client, run_id))
    assert list(dict.fromkeys(event["stage"] for event in told)) == ["queued", "load", "restore", "draw", "done"]
    tiles = [event for event in told if "tile" in event]
    assert [event["tile"] for event in tiles] == list(range(1, 9))
    assert {event["tiles"] for event in tiles} == {8}
    assert [event["stage"] for event in tiles] == ["restore"] * 8
    left = [event["seconds_left"] for event in tiles]
    assert min(left) == left[-1] == 0


@pytest.fixture
def slow(client, enhancer, monkeypatch):
    """Tiles are let through one by one; gives what lets one through, and a list of those that have begun."""
    gate, begun, ended = threading.Semaphore(0), [], enhancer._restore

    def restore(cells, text):
        begun.append(len(cells))
        assert gate.acquire(timeout=30)
        return ended(cells, text)

    monkeypatch.setattr(enhancer, "_restore", restore)
    yield gate.release, begun
    gate.release(100)


def test_cancelling_ends_it_after_the_tile_that_is_computed(client, slow):
    let_through, begun = slow
    run_id, answers = str(uuid4()), []
    thread = threading.Thread(target=lambda: answers.append(post(client, run_id=run_id, tile=128)))
    thread.start()
    assert eventually(lambda: len(begun) == 1, 30)
    let_through()
    assert eventually(lambda: len(begun) == 2)
    assert client.delete(f"/api/runs/{run_id}").status_code == 204
    let_through()
    thread.join(30)
    assert begun == [1, 1]  # the sample that norms are gathered from, and the first of eight tiles
    assert answers[0].status_code == 409
    assert [event["stage"] for event in events(client, run_id)][-1] == "cancelled"
    assert client.delete(f"/api/runs/{run_id}").status_code == 404  # nothing of it is kept


# ---- refusals


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"scale": 0.5}, "config.scale"),
        ({"scale": 9}, "config.scale"),
        ({"scale": "large"}, "config.scale"),
        ({"tile": 31}, "config.tile"),
        ({"tile": 4097}, "config.tile"),
        ({"seed": -1}, "config.seed"),
        ({"seed": 2**32}, "config.seed"),
        ({"seed": 0.5}, "config.seed"),
        ({"colour": "sepia"}, "config.colour"),
        ({"prompt": "a" * 2001}, "config.prompt"),
        ({"prompt": None}, "config.prompt"),
        ({"device": "tpu"}, "config.device"),
        ({"model": "/etc"}, "config.model"),
        ({"weights": "/etc/passwd"}, "config.weights"),
        ({"memory": "1GB"}, "config.memory"),
    ],
    ids=str,
)
def test_settings_out_of_bounds_are_refused(client, config, field):
    assert fields(post(client, **config)) == {field}


def test_a_tile_that_is_too_small_for_the_model_is_refused_at_its_field(client):
    answer = post(client, tile=60)
    assert fields(answer) == {"config.tile"}
    assert "accepted: 64 pixels or more" in answer.text


def test_the_result_is_limited(client):
    answer = post(client, scale=4)
    assert fields(answer) == {"config.scale"}
    assert f"scale makes {400 * 600} pixels of 150 × 100, above {LIMIT}; accepted: up to 3.16 here" in answer.text
    assert (restore(client, scale=3.16)["H"], restore(client, scale=3.16)["W"]) == (316, 474)
    large = post(client, encoded(noise(500, 400)), scale=1)
    assert fields(large) == {"config.scale"}
    assert "accepted: a smaller picture" in large.text


@pytest.mark.parametrize("size", [(1, 17), (400, 20)])
def test_long_and_thin_pictures_are_refused(client, size):
    """Brought to the size that the networks were trained on, these would be much more than their pixels."""
    answer = post(client, encoded(noise(*size)), scale=1)
    assert fields(answer) == {"image"}
    assert "at most 16 times the other" in answer.text


@pytest.mark.parametrize("image", [b"", b"text", encoded(PICTURE)[:500], bytes(2**20 + 1)], ids=lambda each: len(each))
def test_what_is_no_picture_is_refused(client, image):
    assert fields(post(client, image)) == {"image"}


def test_a_lack_of_memory_says_what_needs_less(client, enhancer, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(enhancer, "_restore", fail)
    answer = post(client)
    assert fields(answer) == {"config"}
    assert "out of memory; accepted: a smaller scale or tile" in answer.text


# ---- the model


def test_the_options_say_what_restores(client):
    options = client.get("/api/options").json()
    assert options["restoration"] == {
        "state": "ready", "message": "", "model": "tiny", "trained": False, "tiles": [64, 128, 192, 256],
        "texts": {"en": "", "zh": "", "details": ""}, "settings": ["prompt", "scale", "tile", "seed", "colour"],
        "thinnest": 16,
    }  # fmt: skip
    assert options["limits"]["restored_pixels"] == LIMIT


@pytest.fixture(scope="module")
def trained(tmp_path_factory, enhancer):
    """A folder with a model as `--restore-model` takes it: the tiny one's weights, written out."""
    folder = tmp_path_factory.mktemp("models") / "own"
    shutil.copytree(TINY, folder)
    (folder / "hypir.json").write_text('{"patch": 128, "lora_rank": null}')
    for name in ("unet", "vae", "text_encoder"):
        getattr(enhancer.networks, name).save_pretrained(folder / name)
    return folder


def test_a_folder_with_a_model(client, trained):
    with TestClient(create_app(Settings(hosts=(), restore_model=str(trained)))) as own:
        status = own.get("/api/options").json()["restoration"]
        assert (status["state"], status["model"], status["trained"]) == ("ready", str(trained), True)
        answer = restore(own, scale=1)
        assert (answer["model"], answer["trained"]) == (str(trained), True)
        same(drawn(own, answer, "restored"), drawn(client, restore(client, scale=1), "restored"))


def test_the_published_model_from_a_folder(trained):
    """As `--base` names it; the recipe of this stand-in needs no adapter."""
    settings = Settings(hosts=(), restore_model=PUBLISHED, restore_base=("nobody/nothing", str(trained)))
    with TestClient(create_app(settings)) as own:
        status = own.get("/api/options").json()["restoration"]
        assert (status["state"], status["model"]) == ("ready", PUBLISHED)
        assert restore(own, scale=1)["model"] == PUBLISHED


def refusal(model):
    """What a server says that has such a model, which must not keep it from anything else."""
    with TestClient(create_app(Settings(hosts=(), restore_model=str(model)))) as client:
        assert client.get("/api/health").json()["status"] == "ok"
        status, answer = client.get("/api/options").json()["restoration"], post(client)
    assert fields(answer) == {"config"}
    return status, answer.json()["detail"][0]["msg"]


def test_a_folder_that_lacks_files_is_named_with_them(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "partial")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    status, said = refusal(folder)
    assert status["state"] == "unavailable"
    assert status["message"] == said
    assert f"the folder {folder}, which has no vae/diffusion_pytorch_model.safetensors" in said


def test_weights_that_do_not_fit_are_named(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "damaged")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    status, said = refusal(folder)
    assert status["state"] == "ready"  # which only loading disproves
    assert f"model has the folder {folder / 'vae'}, which cannot be read as AutoencoderKL" in said


def test_a_repository_that_is_not_here_is_never_fetched(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "snapshot_download", None)
    monkeypatch.setattr(hub, "model_info", None)
    status, said = refusal("someone/restorer")
    assert status["message"] == said
    assert f"model is someone/restorer, of which unet/config.json is not in {tmp_path}" in said
    assert "hf download someone/restorer" in said


@pytest.mark.parametrize("package", ["diffusers", "transformers", "peft", "psutil"])
def test_a_missing_package_is_told_with_the_way_to_install_it(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    status = RestorationModel("tiny").status
    assert status.state == "unavailable"
    assert status.message == f'{package} is needed for this and is not installed: pip install "omniup[restore]"'


# ---- the small network, which a server has by default


@pytest.fixture(scope="module")
def small():
    """A server as users start it, but without limits of hosts."""
    with TestClient(create_app(Settings(hosts=(), offline=True))) as client:
        yield client


def test_the_small_network_restores_by_default(small):
    status = small.get("/api/options").json()["restoration"]
    assert (status["state"], status["model"], status["trained"]) == ("ready", "small", True)
    assert status["settings"] == ["scale", "strength", "deblur"]
    answer = restore(small, scale=1.5, strength=0.5, deblur=1)
    restorer = omniup.restoration.Restorer.from_pretrained()
    expected = restorer(image_tensor(PICTURE), scale=1.5, strength=0.5, deblur=1)
    same(drawn(small, answer, "restored"), to_picture(expected))
    (damage,) = restorer.estimate(image_tensor(PICTURE))
    assert answer["found"] == pytest.approx({"noise": damage.noise, "quality": damage.quality, "blur": damage.blur})


def test_the_tables_of_a_jpeg_file_tell_its_quality(small):
    file = BytesIO()
    PICTURE.save(file, "JPEG", quality=35)
    assert restore(small, file.getvalue())["found"]["quality"] == 35


@pytest.mark.parametrize("setting", [{"prompt": "a cup"}, {"seed": 1}, {"colour": "adain"}, {"tile": 512}], ids=str)
def test_settings_of_another_model_are_refused(small, client, setting):
    (name,) = setting
    answer = post(small, **setting)
    assert fields(answer) == {f"config.{name}"}
    assert f"{name} is given, and the model here takes none; accepted: scale, strength" in answer.text
    assert fields(post(client, strength=2)) == {"config.strength"}
