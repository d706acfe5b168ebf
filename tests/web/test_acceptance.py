"""The specification's section 11, point by point, and what its section 3.3 says of an answer."""

import re
from io import BytesIO

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from starlette.testclient import TestClient

import omniup
from omniup import GaussianKernels
from omniup.evaluation import edge_spread, reconstruction_metrics
from omniup.files import SAMPLES, sample_image
from omniup.upsamplers import SIGNAL_TYPES, UpsampleAnything
from omniup.visualize import error_map, heat_map, pca_rgb, to_picture
from omniup.web import Settings, create_app
from support.demo import SMALL, array, encoded, noise, picture, run, values

OF_THE_SPECIFICATION = {
    *("I_hr", "I_lr_up_bilinear", "I_hat_tto", "err_abs"),
    *("feat_lr_pca", "feat_hr_bilinear_pca", "feat_hr_gsjbu_pca"),
    *("sigma_x", "sigma_y", "theta", "sigma_r"),
}
OURS = {
    *("I_lr", "I_lr_up_bicubic", "I_hat_fixed", "err_abs_bilinear", "err_abs_fixed", "concentration"),
    *("feat_hr_fixed_pca", "I_hat_pyramid", "err_abs_pyramid", "feat_hr_pyramid_pca"),
}


def turned(image, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, "JPEG", exif=exif, quality=95)


UPLOADS = {
    "png": encoded(noise(97, 130)),
    "jpeg": encoded(noise(101, 67), "JPEG"),
    "grey": encoded(noise(75, 75, mode="L")),
    "rgba": encoded(noise(80, 90, mode="RGBA")),
    "palette": encoded(noise(60, 90).quantize(16)),
    "16 bit": encoded(Image.fromarray(np.arange(64 * 80, dtype=np.uint16).reshape(64, 80) * 12)),
    "cmyk": encoded(noise(60, 90).convert("CMYK"), "JPEG"),
    "turned": turned(noise(60, 120), 6),
    "webp": encoded(noise(60, 90), "WEBP", lossless=True),
    "tiny": encoded(noise(20, 30)),
    "one pixel": encoded(noise(1, 2)),
    "long": encoded(noise(10, 700)),
}


@pytest.fixture(scope="module")
def default(client, photo):
    """What a run with the specification's settings answers."""
    return run(client, photo)


@pytest.fixture(scope="module")
def small(client, photo):
    return run(client, photo, size=96, iters=5, stride=8, channels=12)


def test_the_page_loads(client):
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    needed = re.findall(r'(?:src|href)="(/static/[^"]+|static/[^"]+)"', page.text)
    assert needed
    for path in needed:
        assert client.get(path if path.startswith("/") else f"/{path}").status_code == 200, path
    assert client.head("/").status_code == 200


@pytest.mark.parametrize("iters", [0, 2])
@pytest.mark.parametrize("upload", UPLOADS)
def test_any_picture_gives_all_pictures(client, upload, iters):
    answer = run(client, UPLOADS[upload], size=64, iters=iters)
    meta = answer["meta"]
    assert (meta["H"], meta["W"], meta["iters"]) == (64, 64, iters)
    assert answer["images"].keys() == OF_THE_SPECIFICATION | OURS
    for name, url in answer["images"].items():
        assert picture(url).shape == (64, 64, 3), name
    assert len(answer["losses"]) == iters


@pytest.mark.parametrize("upload", ["png", "jpeg", "turned", "tiny", "long"])
def test_proportions_are_kept_where_that_is_asked_for(client, upload):
    answer = run(client, UPLOADS[upload], size=96, iters=1, stride=8, shape="keep")
    size = answer["meta"]["H"], answer["meta"]["W"]
    assert (
        size
        == {
            "png": (72, 96),
            "jpeg": (96, 64),
            "turned": (96, 48),  # 60 × 120, and the camera on its side
            "tiny": (64, 96),
            "long": (16, 96),  # as thin as SSIM allows
        }[upload]
    )
    assert all(picture(url).shape == (*size, 3) for url in answer["images"].values())


def test_a_turned_photograph_stands_upright(client):
    image = Image.new("RGB", (64, 64), "black")
    image.paste("white", (0, 0, 32, 64))  # white on the left, and on top once it is turned clockwise
    upright = picture(run(client, turned(image, 6), **SMALL)["images"]["I_hr"])
    assert upright[:28].min() > 200
    assert upright[36:].max() < 50


@pytest.mark.parametrize("stride", [8, 14, 16, 32])
@pytest.mark.parametrize("size", [224, 256, 384])
def test_the_stride_divides_the_sides(client, photo, size, stride):
    for shape in ("square", "keep")[: 2 if size == 224 else 1]:
        meta = run(client, photo, size=size, stride=stride, iters=0, radius=1, shape=shape, channels=1)["meta"]
        assert meta["H"] % stride == meta["W"] % stride == 0
        assert meta["grid"] == [meta["H"] // stride, meta["W"] // stride]
        assert abs(meta["W"] - size) <= stride / 2
        assert abs(meta["H"] - (size if shape == "square" else size * 400 / 600)) <= stride / 2


def test_the_settings_are_those_that_were_asked_for(client, photo):
    asked = {"size": 80, "stride": 8, "iters": 3, "radius": 1, "lr": 0.02, "channels": 5}
    meta = run(client, photo, **asked)["meta"]
    told = {"size": meta["H"], **{name: meta[name] for name in asked if name != "size"}}
    assert told == asked
    assert (meta["preset"], meta["window_cells"], meta["extractor"], meta["dtype"]) == (
        "spec",
        9,
        "projection",
        "float32",
    )
    assert meta["device"] in ("cpu", "cuda", "mps")


def test_without_iterations_the_kernels_are_the_fixed_ones(client, photo):
    answer = run(client, photo, size=128, iters=0)
    pairs = [("I_hat_tto", "I_hat_fixed"), ("err_abs", "err_abs_fixed"), ("feat_hr_gsjbu_pca", "feat_hr_fixed_pca")]
    for fitted, fixed in pairs:
        a, b = (picture(answer["images"][name]).astype(int) for name in (fitted, fixed))
        assert abs(a - b).max() <= 1
    methods = answer["metrics"]["methods"]
    assert methods["gsjbu"] == pytest.approx(methods["fixed"], abs=1e-4)
    assert answer["metrics"]["gain_db"] == pytest.approx(0, abs=1e-4)
    assert answer["hint"] is None


def test_the_defaults_finish(default):
    meta = default["meta"]
    assert (meta["H"], meta["W"], meta["stride"], meta["iters"], meta["radius"]) == (256, 256, 16, 50, 2)
    assert (meta["lr"], meta["channels"], meta["grid"]) == (1e-3, 32, [16, 16])
    assert meta["seconds"]["total"] < 20  # so slow only on a very busy machine
    assert meta["seconds"]["total"] >= meta["seconds"]["fit"]
    assert len(default["losses"]) == 50
    assert default["losses"][-1] < default["losses"][0]


def test_fitting_gains_and_mixing_by_colour_gains_more(default):
    methods = default["metrics"]["methods"]
    assert methods["gsjbu"]["psnr_recon"] > methods["fixed"]["psnr_recon"] > methods["bilinear"]["psnr_recon"] + 3
    assert default["metrics"]["gain_db"] == pytest.approx(
        methods["gsjbu"]["psnr_recon"] - methods["fixed"]["psnr_recon"]
    )
    own = {name: default["metrics"][name] for name in ("l1_recon", "psnr_recon", "ssim_recon")}
    assert own == methods["gsjbu"]


def test_little_gain_hints_at_the_paper_s_settings(client, photo, default, small):
    assert small["metrics"]["gain_db"] < 0.1
    assert small["hint"] == "use_paper"
    assert default["metrics"]["gain_db"] > 0.1
    assert default["hint"] is None
    paper = run(client, photo, size=96, preset="paper", iters=10)
    assert paper["metrics"]["gain_db"] > 0.1
    assert paper["hint"] is None


def test_feature_pictures_differ_visibly(default):
    bilinear, fitted = (picture(default["images"][f"feat_hr_{way}_pca"]).astype(int) for way in ("bilinear", "gsjbu"))
    difference = abs(bilinear - fitted)
    assert difference.mean() > 8  # of 255 levels
    assert (difference.max(axis=2) > 32).mean() > 0.1


@pytest.mark.parametrize("preset", ["spec", "paper"])
@pytest.mark.parametrize("name", SAMPLES)
def test_less_colour_spreads_across_edges(client, name, preset):
    image = encoded(sample_image(name))
    answer = run(client, image, preset=preset, **({"size": 160, "iters": 30} if preset == "paper" else {}))
    spread = {way: scores["edge_spread"] for way, scores in answer["metrics"]["features"].items()}
    assert spread["gsjbu"] < 0.9 * spread["bilinear"]


def test_edge_spread_is_that_of_the_arrays(client, small):
    original = values(picture(small["images"]["I_hr"]))
    for way, scores in small["metrics"]["features"].items():
        expected = edge_spread(array(client, small, f"features_{way}.npy"), original)
        assert scores["edge_spread"] == pytest.approx(expected, abs=1e-4), way


def test_metrics_are_those_of_the_arrays(client, small):
    original = values(picture(small["images"]["I_hr"]))
    for way in ("bilinear", "fixed", "gsjbu", "pyramid"):
        expected = reconstruction_metrics(array(client, small, f"image_{way}.npy"), original)
        assert small["metrics"]["methods"][way] == pytest.approx(expected, abs=1e-4), way
    bicubic = torch.nn.functional.interpolate(array(client, small, "image_lr.npy"), (96, 96), mode="bicubic")
    assert small["metrics"]["methods"]["bicubic"] == pytest.approx(reconstruction_metrics(bicubic, original), abs=1e-4)


def test_the_low_resolution_image_is_the_bilinear_one(client, small):
    original = values(picture(small["images"]["I_hr"]))
    expected = torch.nn.functional.interpolate(original, (12, 12), mode="bilinear")
    torch.testing.assert_close(array(client, small, "image_lr.npy"), expected)


def same(pixels, tensor):
    """Whether a picture is a tensor's, but for rounding."""
    assert_allclose(pixels.astype(int), np.asarray(to_picture(tensor)).astype(int), atol=1)


def test_pictures_are_the_arrays(client, small):
    images, files = small["images"], {name.removesuffix(".npy"): name for name in small["files"]}
    arrays = {name: array(client, small, file) for name, file in files.items() if file.endswith(".npy")}
    same(picture(images["I_lr_up_bilinear"]), arrays["image_bilinear"])
    same(picture(images["I_hat_fixed"]), arrays["image_fixed"])
    same(picture(images["I_hat_tto"]), arrays["image_gsjbu"])
    same(picture(images["I_hat_pyramid"]), arrays["image_pyramid"])
    same(picture(images["I_lr"])[4::8, 4::8], arrays["image_lr"])
    cells = picture(images["I_lr"]).reshape(12, 8, 12, 8, 3)
    assert (cells == cells[:, :1, :, :1]).all()  # a cell appears as the cell it is

    ways = ("bilinear", "fixed", "gsjbu", "pyramid")
    low, *high = pca_rgb(*(arrays[f"features_{way}"] for way in ("lr", *ways)))
    same(picture(images["feat_lr_pca"])[4::8, 4::8], low)
    for way, colours in zip(ways, high, strict=True):
        same(picture(images[f"feat_hr_{way}_pca"]), colours)


def test_error_maps_share_the_scale_that_is_told(client, small):
    key, original = small["scales"]["err_abs"], values(picture(small["images"]["I_hr"]))
    ways = {"": "gsjbu", "_fixed": "fixed", "_bilinear": "bilinear", "_pyramid": "pyramid"}
    for name, way in ((f"err_abs{suffix}", way) for suffix, way in ways.items()):
        error = error_map(array(client, small, f"image_{way}.npy"), original)
        expected = np.asarray(heat_map(error, (key["low"], key["high"]))).astype(int)
        assert_allclose(picture(small["images"][name]).astype(int), expected, atol=4)
    assert key["low"] == 0
    assert key["unit"]


def test_the_key_of_a_map_has_the_colours_of_its_ends(small):
    for name in ("sigma_x", "sigma_y", "theta", "sigma_r"):
        key = small["parameters"][name]
        assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in key["colours"])
        assert key["low"] < key["high"]
        table = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in key["colours"]])
        pixels = picture(small["images"][name]).reshape(-1, 1, 3).astype(int)
        far = abs(pixels - np.concatenate([table, (table[1:] + table[:-1]) // 2])[None]).sum(2).min(1)
        assert far.max() < 24  # every colour of the map lies near one of the key


def test_histograms_are_those_of_the_arrays(client, small):
    for name, told in small["parameters"].items():
        parameter = array(client, small, f"{name}.npy")
        assert parameter.shape == (1, 1, 12, 12)
        assert sum(told["counts"]) == 144
        assert told["mean"] == pytest.approx(float(parameter.mean()), rel=1e-5, abs=1e-6)
        assert told["median"] == pytest.approx(float(parameter.median()), rel=1e-5, abs=1e-6)
        inside = parameter.clamp(told["low"], told["high"]).double().numpy()
        counts, _ = np.histogram(inside, len(told["counts"]), (told["low"], told["high"]))
        assert abs(counts - told["counts"]).sum() <= 4  # but for values on the border of two bins


def test_the_kernels_can_be_taken_along(client, small, tmp_path):
    path = tmp_path / "kernels.safetensors"
    path.write_bytes(client.get(small["files"]["kernels.safetensors"]).content)
    kernels = GaussianKernels.load(path)
    assert (kernels.grid, kernels.size) == ((12, 12), (96, 96))
    for signal in ("features", "image"):
        rendered = kernels.render(array(client, small, f"{signal}_lr.npy"))
        torch.testing.assert_close(rendered, array(client, small, f"{signal}_gsjbu.npy"), atol=1e-5, rtol=1e-5)
    assert kernels.theta.equal(array(client, small, "theta.npy"))
    assert kernels.history.losses == pytest.approx(small["losses"])


def test_the_fit_is_the_library_s(client, small):
    original = values(picture(small["images"]["I_hr"]))
    kernels = UpsampleAnything(iterations=5).prepare(original, (12, 12))
    assert kernels.history.losses == pytest.approx(small["losses"], rel=1e-4)
    torch.testing.assert_close(kernels.sigma_r, array(client, small, "sigma_r.npy"), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("settings", [{}, {"preset": "paper"}], ids=str)
def test_the_same_run_gives_the_same(client, photo, settings):
    first, second = (run(client, photo, **(SMALL | settings)) for _ in range(2))
    assert first["run_id"] != second["run_id"]
    for part in ("images", "losses", "metrics", "parameters", "scales"):
        assert first[part] == second[part], part


@pytest.mark.filterwarnings("default")
def test_without_a_network_the_other_extractor_says_what_it_used(photo, monkeypatch, tmp_path):
    pytest.importorskip("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    with TestClient(create_app(Settings(hosts=(), offline=True))) as client:
        answer = run(client, photo, **SMALL, extractor="resnet18_layer2")
    assert (answer["meta"]["extractor"], answer["meta"]["channels"]) == ("resnet18_layer2", 128)
    assert "random" in answer["meta"]["extractor_weights"]
    assert answer["images"].keys() == OF_THE_SPECIFICATION | OURS


def _no_network(*_, **__):
    raise OSError("no network")


def test_fake_is_the_specification_s_name_of_the_projection(client, photo):
    named, default = (run(client, photo, **SMALL, **more) for more in ({"extractor": "fake"}, {}))
    assert named["images"] == default["images"]
    assert named["meta"]["extractor"] == "projection"


def test_large_pictures_come_as_urls(client, photo):
    inside, beside = (run(client, photo, **SMALL, return_files=files) for files in (False, True))
    assert beside["images"].keys() == inside["images"].keys()
    for name, url in beside["images"].items():
        assert url == beside["files"][f"{name}.png"] == f"/api/runs/{beside['run_id']}/files/{name}.png"
        file = client.get(url)
        assert file.headers["content-type"] == "image/png"
        with Image.open(BytesIO(file.content)) as image:
            assert_array_equal(np.array(image.convert("RGB")), picture(inside["images"][name]))


def test_files_are_attachments_of_their_names_and_sizes(client, small):
    for name, url in small["files"].items():
        file = client.get(url)
        assert file.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert file.headers["content-type"] == "application/octet-stream"
        assert int(file.headers["content-length"]) == len(file.content)


@pytest.mark.parametrize("colour", ["black", "white", "red"])
def test_one_colour_has_no_error_and_no_psnr(client, colour):
    answer = run(client, encoded(Image.new("RGB", (70, 70), colour)), **SMALL)
    assert answer["metrics"]["psnr_recon"] is None or answer["metrics"]["psnr_recon"] > 100
    assert answer["metrics"]["l1_recon"] < 1e-6
    assert 0 <= answer["metrics"]["features"]["gsjbu"]["edge_spread"] <= 1
    assert abs(answer["metrics"]["gain_db"]) < 200


def test_the_options_say_what_there_is(client):
    options = client.get("/api/options").json()
    assert options["strides"] == [8, 14, 16, 32]
    assert {224, 256, 384} <= set(options["sizes"])
    assert [sample["name"] for sample in options["samples"]] == list(SAMPLES)
    assert options["presets"]["spec"] == {
        "iters": 50, "radius": 2, "lr": 1e-3, "window": "square", "window_cells": 25,
    }  # fmt: skip
    assert options["presets"].keys() == {"spec", "paper"}
    assert options["signal_types"] == ["auto", *SIGNAL_TYPES]
    assert options["consistencies"] == ["auto", "none", "0.5", "1", "full"]
    known = omniup.methods()
    assert options["method"] == "pyramid_bilateral"
    assert {each["name"]: (each["summary"], each["summary_zh"]) for each in options["methods"]} == {
        name: (method.summary, method.summary_zh) for name, method in known.items()
    }
    assert options["device"] in {device["name"] for device in options["devices"]}
    for sample in options["samples"]:
        for url, longest in ((sample["url"], None), (sample["thumbnail"], 96)):
            with Image.open(BytesIO(client.get(url).content)) as image:
                assert image.format == "JPEG"
                assert max(image.size) == (longest or max(sample_image(sample["name"]).size))


def test_health(client, small):
    health = client.get("/api/health").json()
    assert health["status"] == "ok"
    assert health["kept_runs"] >= 1
    assert health["kept_bytes"] > 0
    assert health["seconds_up"] > 0
