"""`POST /api/upsample` takes the files that `omniup upsample` takes, and gives what it gives."""

import io
import json
import zipfile

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from starlette.testclient import TestClient

import omniup
from omniup.files import image_tensor, read_image, read_signal
from omniup.web import Settings, create_app
from oracles.run_lengths import compressed, runs_of
from support.demo import array, encoded, fields, noise, npy, picture, post_upsample, upsample
from support.small_files import npz

HEIGHT, WIDTH, GRID = 48, 64, (6, 8)
IMAGE = noise(HEIGHT, WIDTH)
PIXELS = 2**16
BANDS = (np.asarray(noise(HEIGHT, WIDTH, mode="RGBA"), np.float32) * 60 + 200).transpose(2, 0, 1)  # as of a satellite
FAST = {"method": "joint_bilateral"}


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(Settings(hosts=(), offline=True, pixels=PIXELS, values=2**20))) as client:
        yield client


@pytest.fixture(scope="module")
def image():
    return encoded(IMAGE)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, *GRID)).astype(np.float32)


def tiff(bands, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, bands, **options)
    return file.getvalue()


# ---- guidance that is no picture


@pytest.mark.parametrize(
    "content",
    [
        npy(BANDS),
        npz(npy(BANDS)),
        npy(BANDS.transpose(1, 2, 0)),
        tiff(BANDS, photometric="minisblack", planarconfig="separate"),
    ],
    ids=["npy", "npz", "channels last", "tiff"],
)
def test_bands_of_a_sensor_guide(client, content):
    signal = numbers(2)
    answer = upsample(client, content, npy(signal), **FAST)
    assert answer["bands"] == [BANDS.min(), BANDS.max()]
    guide = omniup.scale_bands(torch.from_numpy(BANDS)[None])
    expected = omniup.upsample(guide, torch.from_numpy(signal)[None], **FAST)
    torch.testing.assert_close(array(client, answer, "result.npy"), expected, atol=1e-4, rtol=1e-4)
    assert picture(answer["images"]["image"]).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_arrays_in_0_to_1_are_not_scaled(client, channels):
    guide = np.random.default_rng(0).random((channels, HEIGHT, WIDTH), np.float32)
    answer = upsample(client, npy(guide), npy(numbers(1)), **FAST)
    assert answer["bands"] is None
    expected = omniup.upsample(torch.from_numpy(guide)[None], torch.from_numpy(numbers(1))[None], **FAST)
    torch.testing.assert_close(array(client, answer, "result.npy"), expected, atol=1e-4, rtol=1e-4)
    shown = picture(answer["images"]["image"])
    assert (shown[..., 0] == shown[..., 2]).all() == (channels < 3)


def test_bytes_are_0_to_255(client, image):
    guide = np.asarray(IMAGE)
    answer = upsample(client, npy(guide), npy(numbers(1)), **FAST)
    assert answer["bands"] is None
    assert np.array_equal(picture(answer["images"]["image"]), guide)
    as_picture = array(client, upsample(client, image, npy(numbers(1)), **FAST), "result.npy")
    torch.testing.assert_close(array(client, answer, "result.npy"), as_picture)


def test_one_array_of_several_guides(client):
    file = io.BytesIO()
    np.savez(file, guide=BANDS, height=numbers())
    answer = post_upsample(client, file.getvalue(), npy(numbers(1)), **FAST)
    assert fields(answer) == {"image"} and "holds 2 arrays" in answer.text
    named = {"image_name": "guide", "name": "height"}
    assert upsample(client, file.getvalue(), file.getvalue(), **FAST, **named)["shape"] == [1, 1, HEIGHT, WIDTH]


def test_guidance_that_is_too_large(client):
    wide, deep = np.zeros((1, 300, 300), np.uint8), np.zeros((40, 100, 100), np.uint8)
    for guide in (wide, deep):
        for content in (npy(guide), npz(npy(guide))):
            answer = post_upsample(client, content, npy(numbers(1)), **FAST)
            if guide is deep:
                assert fields(answer) == {"image"} and f"more than the limit of {4 * PIXELS}" in answer.text
            else:
                assert fields(answer) == {"image"} and f"more pixels than the limit of {PIXELS}" in answer.text
    claim = io.BytesIO()
    with zipfile.ZipFile(claim, "w") as archive, archive.open("guide.npy", "w") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f8", "fortran_order": False, "shape": (64, 2**15, 2**15)}
        )
    answer = post_upsample(client, claim.getvalue(), npy(numbers(1)), **FAST)
    assert fields(answer) == {"image"} and "more than the limit" in answer.text


def test_a_turned_picture_with_the_signal_of_the_stored_one(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, signal = encoded(IMAGE, exif=exif), npy(numbers(2))
    answer = upsample(client, turned, signal, **FAST)
    assert answer["stored"] and answer["shape"] == [1, 2, HEIGHT, WIDTH]
    expected = omniup.upsample(image_tensor(IMAGE), torch.from_numpy(numbers(2))[None], **FAST)
    torch.testing.assert_close(array(client, answer, "result.npy"), expected, atol=1e-4, rtol=1e-4)
    upright = upsample(client, turned, signal, orientation="upright", **FAST)
    assert not upright["stored"] and upright["shape"] == [1, 2, WIDTH, HEIGHT]
    assert fields(post_upsample(client, turned, signal, orientation="left")) == {"config.orientation"}


# ---- parts of a picture


def test_a_padded_picture(client, image):
    signal = np.random.default_rng(0).random((1, 8, 8), np.float32)
    signal[:, 6:] = np.nan
    region = {"left": 0, "top": 0, "width": 64, "height": 64}
    answer = upsample(client, image, npy(signal), region=region, **FAST)
    assert (answer["shape"], answer["grid"], answer["holes"]) == ([1, 1, HEIGHT, WIDTH], [8, 8], 16)
    expected = omniup.upsample(image_tensor(IMAGE), torch.from_numpy(signal)[None], region=(0, 0, 64, 64), **FAST)
    torch.testing.assert_close(array(client, answer, "result.npy"), expected, atol=1e-4, rtol=1e-4)
    low = picture(answer["images"]["low"])
    assert low.shape == picture(answer["images"]["image"]).shape == (HEIGHT, WIDTH, 3)
    assert len(np.unique(low.reshape(6, 8, 8, 8, 3).transpose(0, 2, 1, 3, 4).reshape(48, 64, 3), axis=0)) > 1
    assert (low.reshape(6, 8, 64, 3) == low.reshape(6, 8, 64, 3)[:, :1]).all()  # six rows of cells, none of padding


def test_a_crop_is_shown_alone(client, image):
    region = {"left": 16, "top": 8, "width": 40, "height": 30}
    answer = upsample(client, image, npy(numbers(2)), region=region, **FAST)
    assert answer["shape"] == [1, 2, 30, 40] and answer["holes"] == 0
    assert np.array_equal(picture(answer["images"]["image"]), np.asarray(IMAGE)[8:38, 16:56])


@pytest.mark.parametrize(
    ("region", "field"),
    [
        ({"left": 64, "top": 0, "width": 8, "height": 8}, "config.region"),
        ({"left": 0, "top": 0, "width": 400, "height": 8}, "config.region"),
        ({"left": -128, "top": -128, "width": 256, "height": 256}, None),
        ({"left": -128, "top": -128, "width": 256, "height": 257}, "config.region"),
        ({"left": 0, "top": 0, "width": 0, "height": 8}, "config.region.width"),
        ({"left": 0, "top": 0, "width": 8}, "config.region.height"),
        ({"left": 0.5, "top": 0, "width": 8, "height": 8}, "config.region.left"),
        ([0, 0, 8, 8], "config.region"),
    ],
)
def test_regions_that_cannot_be_accepted(client, image, region, field):
    answer = post_upsample(client, image, npy(numbers(1)), region=region, **FAST)
    assert answer.status_code == 200 if field is None else fields(answer) == {field}


# ---- masks of COCO, scattered measurements, TIFF of 64-bit floats


def test_a_mask_as_run_lengths(client, image):
    mask = np.random.default_rng(0).random((12, 16)) > 0.5
    results = []
    for counts in (runs_of(mask), compressed(runs_of(mask))):
        content = json.dumps({"size": [12, 16], "counts": counts}).encode()
        answer = upsample(client, image, content, **FAST)
        assert (answer["signal_type"], answer["kind"]) == ("labels", "labels")
        results.append(array(client, answer, "result.npy"))
    expected = omniup.upsample(image_tensor(IMAGE), torch.from_numpy(mask)[None, None], **FAST)
    assert torch.equal(results[0].bool(), expected) and torch.equal(results[0], results[1])
    assert fields(post_upsample(client, image, b'{"size": [12, 16], "counts": [1]}')) == {"signal"}


def test_depth_of_a_lidar(client, image):
    depth = np.zeros((HEIGHT, WIDTH), np.float32)
    depth[16::5, ::2] = 10 + np.arange(0, WIDTH, 2) / 10
    answer = upsample(client, image, npy(depth), invalid=[0], **FAST)
    assert answer["gathered"] == [HEIGHT, WIDTH] and answer["grid"][0] < HEIGHT / 2
    expected = omniup.upsample(
        image_tensor(IMAGE), torch.from_numpy(depth)[None, None], valid=torch.from_numpy(depth > 0), **FAST
    )
    torch.testing.assert_close(array(client, answer, "result.npy"), expected, atol=1e-4, rtol=1e-4)
    assert upsample(client, image, npy(depth + 1), **FAST)["gathered"] is None


def test_what_the_command_line_gives(client, image, tmp_path, monkeypatch):
    """The same files and choices, by both doors."""
    from omniup.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.png").write_bytes(image)
    palette = Image.fromarray(np.random.default_rng(0).integers(0, 5, GRID, dtype=np.uint8)).convert("P")
    depth = np.full((12, 16), 1000.0)
    depth[3:5, 6:9] = -9999
    files = {
        "depth.tif": (tiff(depth, extratags=[(42113, "s", 0, "-9999", True)]), (), {}),
        "palette.png": (encoded(palette), (), {}),
        "values.png": (encoded(palette), ("--values",), {"labels": False}),
        "mask.png": (encoded(Image.fromarray(np.eye(8, dtype=np.uint8)[:6] * 255)), (), {}),
        "whole.npy": (npy(np.arange(48).reshape(GRID)), ("--values",), {"labels": False}),
        "tokens.npy": (npy(numbers(5).reshape(5, -1).T), ("--grid", "6x8"), {"grid": GRID}),
        "nan.npy": (npy(np.where(numbers() > 1, np.nan, numbers())), ("--invalid", "nan"), {"invalid": ["nan"]}),
    }
    for name, (content, chosen, config) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SystemExit) as left:
            main(["upsample", "image.png", name, "-o", f"{name}.npy", "--quiet", "--method", "bilinear", *chosen])
        assert left.value.code == 0, name
        answer = upsample(client, image, content, method="bilinear", **config)
        there, here = array(client, answer, "result.npy"), torch.from_numpy(np.load(f"{name}.npy"))
        torch.testing.assert_close(there.double(), here.double(), atol=1e-4, rtol=1e-4, msg=name)
    assert read_image(tmp_path / "image.png").shape[2:] == (HEIGHT, WIDTH)
    assert read_signal(tmp_path / "depth.tif").shape == (1, 1, 12, 16)
