import json
import re
import sys
import time
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import load_file

import omniup as library
from omniup.cli.report import Report
from omniup.files import read_image, read_signal, sample_image
from oracles.run_lengths import compressed, runs_of
from support.anyup import random_anyup


@pytest.mark.parametrize("method", library.methods())
def test_every_method(omniup, photo, features, method):
    torch.save(random_anyup().state_dict(), "weights.pth")
    settings = {
        "upsample_anything": {"iterations": 2},
        "anyup": {"weights": "weights.pth"},
        "ensemble": {"weights": "weights.pth"},
    }.get(method, {})
    given = [argument for name, value in settings.items() for argument in ("--set", f"{name}={value}")]
    assert omniup("upsample", photo, features, "-o", "out.npy", "--method", method, *given).status == 0
    expected = library.upsample(read_image(photo), read_signal(features), method=method, **settings)
    assert torch.equal(torch.from_numpy(np.load("out.npy")), expected)


def test_the_default_method(omniup, photo, features):
    assert omniup("upsample", photo, features, "-o", "out.npy").status == 0
    expected = library.upsample(read_image(photo), read_signal(features), method="pyramid_bilateral")
    assert torch.equal(torch.from_numpy(np.load("out.npy")), expected)


def test_settings(omniup, photo, features):
    given = ("--method", "upsample_anything", "--preset", "spec", "--iters", 3, "--set", "radius=1")
    given += ("--set", "sigma_limits=[2, 9]", "--set", "lr=1e-2")
    assert omniup("upsample", photo, features, "-o", "out.npy", *given, "--set", "positive=exp").status == 0
    settings = {"preset": "spec", "iterations": 3, "radius": 1, "sigma_limits": (2, 9), "lr": 1e-2, "positive": "exp"}
    expected = library.upsample(read_image(photo), read_signal(features), method="upsample_anything", **settings)
    assert torch.equal(torch.from_numpy(np.load("out.npy")), expected)


@pytest.mark.parametrize("signal_type", ["features", "measurement", "values", "logits", "directions"])
def test_declared_types(omniup, photo, features, signal_type):
    arguments = ("upsample", photo, features, "-o", "out.npy", "--signal-type", signal_type, "--json")
    assert json.loads(omniup(*arguments).stdout)["signal_type"] == signal_type
    expected = library.upsample(read_image(photo), read_signal(features), signal_type=signal_type)
    assert torch.equal(torch.from_numpy(np.load("out.npy")), expected)


@pytest.mark.parametrize(
    ("given", "steps"), [("0.5", 0.5), ("2", 2), ("full", "full"), ("none", None), ("auto", "auto")]
)
def test_steps_of_consistency(omniup, photo, features, given, steps):
    torch.save(random_anyup().state_dict(), "weights.pth")
    chosen = ("--method", "anyup", "--set", "weights=weights.pth", "--consistency", given)
    assert omniup("upsample", photo, features, "-o", "out.npy", *chosen).status == 0
    image, signal = read_image(photo), read_signal(features)
    expected = library.upsample(image, signal, method="anyup", weights="weights.pth", consistency=steps)
    assert torch.equal(torch.from_numpy(np.load("out.npy")), expected)


@pytest.mark.parametrize("given", ["half", "-1", "99", "nan"])
def test_what_is_no_number_of_steps_is_refused(refusal, photo, features, given):
    arguments = ("upsample", photo, features, "-o", "out.npy", "--consistency", given)
    assert "accepted: a number of steps from 0 to 32, 'full', 'auto' and None" in refusal(*arguments)


def test_what_auto_chose_is_reported(omniup, photo):
    shares = np.random.default_rng(0).dirichlet(np.ones(5), (3, 4)).transpose(2, 0, 1).astype(np.float32)
    batch = np.stack([shares, np.random.default_rng(1).standard_normal((5, 3, 4)).astype(np.float32)])
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save("grey.png")
    np.save("shares.npy", shares)
    np.save("depth.npy", shares[0])
    np.save("batch.npy", batch)
    for signal, found in {
        "shares.npy": "probabilities",
        "depth.npy": "measurement",
        "grey.png": "measurement",
        "batch.npy": "features, probabilities",
    }.items():
        outcome = omniup("upsample", photo, signal, "-o", "out.npy", "--json", "--overwrite")
        assert json.loads(outcome.stdout)["signal_type"] == found
        assert f"48 x 64 float32, {found} (read " in outcome.stderr
        expected = library.upsample(read_image(photo), read_signal(signal))
        assert torch.equal(torch.from_numpy(np.load("out.npy")), expected)


def test_probabilities_must_be_some(refusal, photo, features):
    arguments = ("upsample", photo, features, "-o", "out.npy", "--signal-type", "probabilities")
    assert "signal holds no probabilities; accepted: two or more channels" in refusal(*arguments)


class Terminal(StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    report = Report(as_json=False)
    with report.progress("prepare"):
        pass
    assert terminal.getvalue() == ""  # no steps, no bar
    with report.progress("prepare") as show:
        show(library.Progress(1, 4, 3.0, 0.25))
        time.sleep(0.2)  # a bar is not drawn more often than that
        show(library.Progress(3, 4, 1.0, 0.125))
    assert re.search(r"prepare: .*0/4", terminal.getvalue())
    assert re.search(r"prepare: .*3/4 .*loss=0\.1250", terminal.getvalue())
    terminal.truncate(0)
    with report.progress("render") as show:
        show(library.Progress(1, 7, 6.0))
        time.sleep(0.2)
        show(library.Progress(5, 9, 4.0))  # of labels, the number of steps may change from channel to channel
    assert re.search(r"render: .*5/9", terminal.getvalue())
    assert "loss" not in terminal.getvalue()


@pytest.mark.parametrize("method", ["bilinear", "upsample_anything"])
def test_size(omniup, photo, features, method):
    fast = ("--iters", 1) if method == "upsample_anything" else ()
    assert (
        omniup("upsample", photo, features, "-o", "out.npy", "--size", "30x50", "--method", method, *fast).status == 0
    )
    assert np.load("out.npy").shape == (1, 5, 30, 50)


def test_a_white_photo_at_another_size(omniup, features):
    Image.new("RGB", (130, 97), "white").save("white.png")  # smoothing it rounds to a hair above 1
    assert omniup("upsample", "white.png", features, "-o", "out.npy", "--size", "64x96").status == 0


def test_formats(omniup, photo, features):
    for output in ("out.npy", "out.npz", "out.safetensors"):
        assert omniup("upsample", photo, features, "-o", output, "--method", "nearest").status == 0
    expected = np.load("out.npy")
    assert np.array_equal(np.load("out.npz")["signal"], expected)
    assert np.array_equal(load_file("out.safetensors")["signal"].numpy(), expected)


def test_one_array_of_an_archive(omniup, photo):
    np.savez("many.npz", a=np.zeros((2, 2), np.float32), b=np.ones((2, 2), np.float32))
    assert omniup("upsample", photo, "many.npz", "--name", "b", "-o", "out.npy", "--method", "nearest").status == 0
    assert np.load("out.npy").min() == 1


def test_standard_input_and_output(omniup, photo, features, folder):
    arguments = ("-o", "-", "--method", "joint_bilateral")
    image = (folder / photo).read_bytes()
    signal = (folder / features).read_bytes()
    outcomes = [
        omniup("upsample", "-", features, *arguments, stdin=image),
        omniup("upsample", photo, "-", *arguments, stdin=signal),
        omniup("upsample", photo, features, *arguments),
    ]
    assert [outcome.status for outcome in outcomes] == [0, 0, 0]
    assert len({outcome.stdout for outcome in outcomes}) == 1
    assert np.load(BytesIO(outcomes[0].stdout)).shape == (1, 5, 48, 64)


def test_samples(omniup, features):
    assert omniup("upsample", "sample:coffee", features, "-o", "out.npy", "--method", "nearest").status == 0
    assert np.load("out.npy").shape[2:] == sample_image("coffee").size[::-1]


def test_depth_in_a_png(omniup, photo):
    Image.fromarray(np.array([[0, 900], [40000, 65535]], np.uint16)).save("depth.png")
    Image.fromarray(np.array([[0, 90], [100, 255]], np.uint8)).save("depth8.png")
    outcome = omniup("upsample", photo, "depth.png", "-o", "up.png", "--method", "joint_bilateral")
    assert (outcome.status, outcome.stderr.count("\n")) == (0, 1)  # whole numbers: rounding them is no surprise
    assert omniup("upsample", photo, "depth8.png", "-o", "up8.png", "--method", "nearest").status == 0
    assert omniup("upsample", photo, "depth8.png", "-o", "up16.png", "--method", "nearest", "--bits", 16).status == 0
    up, up8, up16 = (np.array(Image.open(name)) for name in ("up.png", "up8.png", "up16.png"))
    assert (up.dtype, up8.dtype, up16.dtype) == (np.uint16, np.uint8, np.uint16)
    assert up.max() > 60000
    assert np.array_equal(up8, up16)


@pytest.mark.parametrize("hole", ["0", "nan", "-9999"])
def test_holes_do_not_count(omniup, photo, hole):
    valid = np.random.default_rng(0).random((12, 16)) > 0.3
    depth = np.where(valid, 1000 + np.arange(16, dtype=np.float32), np.float32(hole))
    np.save("depth.npy", depth.astype(np.float32))
    asked = omniup("upsample", photo, "depth.npy", "-o", "out.npy", "--invalid", hole, "--json")
    facts = json.loads(asked.stdout)
    assert (facts["holes"], facts["signal_type"]) == ((~valid).sum(), "measurement")
    mask = torch.from_numpy(valid)[None, None]
    expected = library.upsample(read_image(photo), torch.from_numpy(np.where(valid, depth, 0))[None, None], valid=mask)
    assert torch.equal(torch.from_numpy(np.load("out.npy")), expected)
    assert 990 < np.load("out.npy").min() < np.load("out.npy").max() < 1025


def test_a_geotiff_says_which_number_stands_for_holes(omniup, photo):
    depth = np.full((12, 16), 1000.0, np.float32)
    depth[3:5, 6:9] = -9999
    Image.fromarray(depth).save("depth.tif", tiffinfo={42113: "-9999"})
    asked = omniup("upsample", photo, "depth.tif", "-o", "out.npy", "--json")
    assert json.loads(asked.stdout)["holes"] == 6
    np.testing.assert_allclose(np.load("out.npy"), 1000, atol=0.01)
    Image.fromarray(depth).save("damaged.tif", tiffinfo={42113: "none"})
    refused = omniup("upsample", photo, "damaged.tif", "-o", "out.npy", "--overwrite")
    assert (refused.status, refused.stdout) == (2, b"")
    assert "has the no-data tag 'none', which is no number" in refused.stderr


def test_void_labels_are_ignored(omniup, photo):
    labels = np.repeat([[3, 7]], 4, axis=1).repeat(6, axis=0).astype(np.uint8)
    labels[:, 3:5] = 255
    Image.fromarray(labels).save("labels.png")
    asked = omniup("upsample", photo, "labels.png", "-o", "out.png", "--labels", "--ignore", 255, "--json")
    assert json.loads(asked.stdout)["holes"] == 12
    assert set(np.unique(np.asarray(Image.open("out.png")))) == {3, 7}


def test_holes_may_be_kept(omniup, photo):
    depth = np.ones((12, 16), np.float32)
    depth[:, :8] = 0
    np.save("depth.npy", depth)
    chosen = ("--invalid", 0, "--holes", "keep")
    assert omniup("upsample", photo, "depth.npy", "-o", "out.npy", *chosen).status == 0
    result = np.load("out.npy")
    assert np.isnan(result).any() and np.isfinite(result).any()
    assert np.isnan(result[..., 0]).all()
    np.testing.assert_allclose(result[np.isfinite(result)], 1, atol=1e-5)
    refused = omniup("upsample", photo, "depth.npy", "-o", "out.npy", "--overwrite", "--invalid", "deep")
    assert refused.status == 2 and "'deep' is no number, nor nan" in refused.stderr
    refused = omniup("upsample", photo, "depth.npy", "-o", "out.npy", "--overwrite", "--invalid", 0, "--holes", "leave")
    assert refused.status == 2 and "holes is 'leave'; accepted: fill, keep" in refused.stderr
    np.save("depth.npy", np.zeros((12, 16), np.float32))
    refused = omniup("upsample", photo, "depth.npy", "-o", "out.npy", "--overwrite", "--invalid", 0)
    assert refused.status == 2 and "without a valid cell" in refused.stderr


def test_tokens_and_channels_last(omniup, photo, features):
    signal = read_signal(features)  # [1, C, h, w]
    expected = library.upsample(read_image(photo), signal)
    rows, columns = signal.shape[2:]
    np.save("tokens.npy", torch.cat([signal.new_zeros(1, 1, signal.shape[1]), signal.flatten(2).mT], 1).numpy())
    np.save("last.npy", signal.permute(0, 2, 3, 1).numpy())
    for name, chosen in {
        "tokens.npy": ("--grid", f"{rows}x{columns}"),
        "last.npy": ("--layout", "channels_last"),
    }.items():
        outcome = omniup("upsample", photo, name, "-o", "out.npy", "--overwrite", *chosen)
        assert outcome.status == 0
        torch.testing.assert_close(torch.from_numpy(np.load("out.npy")), expected)
    refused = omniup("upsample", photo, "tokens.npy", "-o", "out.npy", "--overwrite", "--grid", "9x99")
    assert refused.status == 2 and "which does not fit a grid of 9 × 99" in refused.stderr
    refused = omniup("upsample", photo, "last.npy", "-o", "out.npy", "--overwrite", "--layout", "NHWC")
    assert refused.status == 2 and "layout is 'NHWC'" in refused.stderr


def test_what_overshoots_a_png_is_cut_off(omniup, photo):
    Image.fromarray(np.array([[0, 0, 255, 255]], np.uint8)).save("step.png")
    assert omniup("upsample", photo, "step.png", "-o", "up.png", "--values", "--method", "bicubic").status == 0
    assert omniup("upsample", photo, "step.png", "-o", "up.npy", "--values", "--method", "bicubic").status == 0
    values = np.load("up.npy")[0, 0]
    assert values.min() < -1
    assert values.max() > 256
    assert np.array_equal(np.array(Image.open("up.png")), values.clip(0, 255).round().astype(np.uint8))


def test_fractions_are_not_rounded_in_silence(omniup, photo):
    np.save("probability.npy", np.array([[0.1, 0.9]], np.float32))
    outcome = omniup("upsample", photo, "probability.npy", "-o", "out.png", "--method", "bilinear")
    assert "out.png: a PNG holds whole numbers, so values are rounded" in outcome.stderr


def test_reports(omniup, photo, features):
    arguments = ("upsample", photo, features, "-o", "out.npy", "--method", "upsample_anything", "--iters", 2)
    plain = omniup(*arguments)
    arguments += ("--overwrite",)
    assert plain.stdout == b""
    assert plain.stderr.startswith("out.npy: 1 x 5 x 48 x 64 float32, features (read ")
    assert plain.stderr.count("\n") == 1
    quiet = omniup(*arguments, "--quiet")
    assert (quiet.status, quiet.stdout, quiet.stderr) == (0, b"", "")
    verbose = omniup(*arguments, "--verbose")
    for line in ("fit on cpu in float32: 2 iterations", "iteration 0: loss", "prepare: ", "render: ", "out.npy: "):
        assert line in verbose.stderr
    facts = json.loads(omniup(*arguments, "--json", "--quiet").stdout)
    assert facts.pop("seconds").keys() == {"read", "prepare", "render", "write"}
    assert facts == {
        "method": "upsample_anything",
        "output": "out.npy",
        "shape": [1, 5, 48, 64],
        "dtype": "float32",
        "signal_type": "features",
        "grid": [3, 4],
        "holes": 0,
        "device": "cpu",
    }


def _save(name, image, **options):
    image.save(name, **options)
    return name


def test_images_of_every_kind(omniup, features):
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    images = {
        _save("grey16.png", Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64))): (48, 64),
        _save("palette.png", colour.convert("P")): (48, 64),
        _save("alpha.png", colour.convert("RGBA")): (48, 64),
        _save("cmyk.jpg", colour.convert("CMYK")): (48, 64),
        _save("turned.jpg", colour, exif=exif): (64, 48),
    }
    for name, size in images.items():
        arguments = ("-o", "out.npy", "--method", "joint_bilateral", "--orientation", "upright", "--overwrite")
        assert omniup("upsample", name, features, *arguments).status == 0
        assert np.load("out.npy").shape[2:] == size


def test_a_real_photo_and_a_real_networks_probabilities(omniup, shared, folder):
    photos = shared / "data" / "photos"
    arguments = (photos / "voc_2009_003810.jpg", photos / "voc_2009_003810.class_probabilities_32x32.npy")
    fit = ("--method", "upsample_anything", "--preset", "spec", "--iters", 1)
    for method in (fit, ("--method", "pyramid_bilateral")):
        outcome = omniup("upsample", *arguments, "-o", "out.npy", *method, "--json", "--overwrite")
        assert json.loads(outcome.stdout)["signal_type"] == "probabilities"
        probabilities = np.load("out.npy")
        assert probabilities.shape[1] == 21
        assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-4)


# ---- guidance of sensors, masks and turned pictures


def test_bands_of_a_satellite_guide(omniup, shared, folder):
    scene = shared / "data" / "canopy" / "scene_1.npz"
    height = np.load(scene)["height"]
    np.save("low.npy", height.reshape(32, 8, 32, 8).mean((1, 3)))
    outcome = omniup("upsample", scene, "low.npy", "-o", "out.npy", "--image-name", "guide")
    assert outcome.status == 0, outcome
    note = "values from 1 to 18567, so each of 4 bands is scaled to 0..1, from its 1st to its 99th percentile"
    assert note in outcome.stderr
    guide = library.scale_bands(torch.from_numpy(np.load(scene)["guide"])[None])
    expected = library.upsample(guide, torch.from_numpy(np.load("low.npy"))[None, None])
    np.testing.assert_allclose(np.load("out.npy"), expected.numpy(), rtol=1e-5)
    assert "holds 2 arrays" in omniup("upsample", scene, "low.npy", "-o", "out.npy", "--overwrite").stderr
    assert (
        omniup("fit", scene, "--image-name", "guide", "--stride", 16, "--iters", 1, "-o", "k.safetensors").status == 0
    )


@pytest.mark.parametrize("pixels", [(0, 255), (0, 1), (3, 7)])
def test_a_mask_of_two_values_comes_back_as_one(omniup, photo, pixels):
    mask = np.array(pixels, np.uint8)[[[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]]]
    Image.fromarray(mask).save("mask.png")
    np.save("mask.npy", mask)
    for name in ("mask.png", "mask.npy"):
        outcome = omniup("upsample", photo, name, "-o", "out.png", "--overwrite", "--json")
        assert json.loads(outcome.stdout)["signal_type"] == "labels"
        assert set(np.unique(np.array(Image.open("out.png")))) == set(pixels)


def test_a_picture_in_colour_is_a_measurement(omniup, photo):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)).save("low.png")
    outcome = omniup("upsample", photo, "low.png", "-o", "out.npy", "--json")
    assert json.loads(outcome.stdout)["signal_type"] == "measurement"


def test_a_signal_of_the_stored_picture(omniup, photo, features):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    stored = Image.open(photo)
    stored.save("turned.png", exif=exif)  # 48 × 64 in the file, and 64 × 48 upright
    options = ("--method", "joint_bilateral")
    assert omniup("upsample", photo, features, "-o", "expected.npy", *options).status == 0
    outcome = omniup("upsample", "turned.png", features, "-o", "out.npy", *options)
    assert outcome.status == 0 and "turned by 90° by its EXIF orientation" in outcome.stderr
    assert np.array_equal(np.load("out.npy"), np.load("expected.npy"))
    outcome = omniup(
        "upsample", "turned.png", features, "-o", "out.npy", "--overwrite", *options, "--orientation", "upright"
    )
    assert "EXIF" not in outcome.stderr and np.load("out.npy").shape[2:] == (64, 48)
    np.save("tall.npy", np.load(features).transpose(0, 2, 1))
    outcome = omniup("upsample", "turned.png", "tall.npy", "-o", "out.npy", "--overwrite", *options)
    assert "EXIF" not in outcome.stderr and np.load("out.npy").shape[2:] == (64, 48)
    refused = omniup("upsample", photo, features, "-o", "out.npy", "--overwrite", "--orientation", "left")
    assert refused.status == 2 and "orientation is 'left'; accepted: auto, upright, stored" in refused.stderr


def test_notes_of_the_library_are_quiet_too(omniup, photo, features):
    frames = [Image.open(photo), Image.open(photo)]
    frames[0].save("animated.png", save_all=True, append_images=frames[1:])
    arguments = ("upsample", "animated.png", features, "-o", "out.npy", "--method", "bilinear")
    assert "animated.png: 2 pages or frames, of which the first is read" in omniup(*arguments).stderr
    assert omniup(*arguments, "--quiet", "--overwrite").stderr == ""


# ---- parts of a picture, masks of COCO, scattered measurements


def _square(photo):
    """A signal on 8 × 8 cells of the 48 × 64 picture that was padded below to a square; what is padded is garbage."""
    signal = np.random.default_rng(2).standard_normal((5, 8, 8)).astype(np.float32)
    signal[:, 6:] = np.nan
    np.save("square.npy", signal)
    return torch.from_numpy(signal)[None]


def test_a_padded_picture(omniup, photo):
    signal = _square(photo)
    outcome = omniup("upsample", photo, "square.npy", "-o", "out.npy", "--region", "0,0,64,64", "--json")
    assert outcome.status == 0, outcome
    facts = json.loads(outcome.stdout)
    assert (facts["shape"], facts["grid"], facts["holes"]) == ([1, 5, 48, 64], [8, 8], 16)
    expected = library.upsample(read_image(photo), signal, region=(0, 0, 64, 64))
    assert torch.equal(torch.from_numpy(np.load("out.npy")), expected)
    refused = omniup("upsample", photo, "square.npy", "-o", "out.npy", "--overwrite", "--region", "0,0,64,48")
    assert refused.status == 2 and "numbers that are not finite" in refused.stderr  # and all lie in the picture


def test_a_crop(omniup, photo, features):
    """On the command line the left side comes first, as in COCO's boxes; in Python the rows."""
    outcome = omniup("upsample", photo, features, "-o", "out.npy", "--region", "16, 8, 40, 30")
    assert outcome.status == 0, outcome
    expected = library.upsample(read_image(photo), read_signal(features), region=(8, 16, 30, 40))
    assert torch.equal(torch.from_numpy(np.load("out.npy")), expected)
    assert omniup("upsample", photo, features, "-o", "beyond.npy", "--region", "-8,0,72,48").status == 0
    assert np.load("beyond.npy").shape == (1, 5, 48, 64)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--region", "0,0,64"), "'0,0,64' is not left,top,width,height, such as 0,-80,640,640"),
        (("--region", "0,0,64x48"), "'0,0,64x48' is not left,top,width,height"),
        (("--region", "64,0,8,8"), "region of 8 × 8 pixels at top 0, left 64 lies outside the image"),
        (("--region", "0,0,0,8"), "region is (0, 0, 8, 0); accepted: four whole numbers, (top, left, height, width)"),
        (("--region", "0,0,64,48", "--size", "96x128"), "--size is given together with --region"),
    ],
)
def test_regions_that_cannot_be_accepted(refusal, photo, features, given, said):
    assert said in refusal("upsample", photo, features, "-o", "out.npy", *given)


def test_a_region_of_a_turned_picture_is_of_the_upright_one(omniup, photo, features):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photo).save("turned.png", exif=exif)
    outcome = omniup("upsample", "turned.png", features, "-o", "out.npy", "--region", "0,0,48,36")
    assert outcome.status == 0 and "EXIF" not in outcome.stderr
    expected = library.upsample(read_image("turned.png"), read_signal(features), region=(0, 0, 36, 48))
    assert torch.equal(torch.from_numpy(np.load("out.npy")), expected)


@pytest.mark.parametrize("text", [True, False])
def test_masks_as_coco_s_run_lengths(omniup, photo, text):
    mask = np.random.default_rng(0).random((12, 16)) > 0.5
    runs = runs_of(mask)
    Path("mask.json").write_text(json.dumps({"size": [12, 16], "counts": compressed(runs) if text else runs}))
    np.save("mask.npy", mask)
    for name in ("mask.json", "mask.npy"):
        outcome = omniup("upsample", photo, name, "-o", f"{name}.out.npy", "--json")
        assert json.loads(outcome.stdout)["signal_type"] == "labels"
    result = np.load("mask.json.out.npy")
    assert result.dtype == bool and result.shape == (1, 1, 48, 64)
    assert np.array_equal(result, np.load("mask.npy.out.npy"))


def test_depth_of_a_lidar(omniup, photo):
    """As large as the picture, and nearly all of it without a reading."""
    depth = np.zeros((48, 64), np.uint16)
    depth[16::5, ::2] = 1000 + np.arange(64, dtype=np.uint16)[::2]
    Image.fromarray(depth).save("lidar.png")
    outcome = omniup("upsample", photo, "lidar.png", "-o", "out.npy", "--invalid", 0, "--json")
    assert outcome.status == 0, outcome
    assert "signal: 224 of 48 × 64 cells hold a measurement, so they are averaged down to" in outcome.stderr
    valid = torch.from_numpy(depth > 0)
    numbers = torch.from_numpy(depth.astype(np.float32))[None, None]
    expected = library.upsample(read_image(photo), numbers, valid=valid)
    assert torch.equal(torch.from_numpy(np.load("out.npy")), expected)
    assert 995 < np.load("out.npy").min() < np.load("out.npy").max() < 1070
    assert json.loads(outcome.stdout)["grid"] < [48, 64]


# ---- files that once were read in one room and refused in another


def test_a_tiff_that_pillow_does_not_know(omniup, photo):
    """Of 64-bit floats, as programs for maps write them, with a number for no data."""
    depth = np.full((12, 16), 1000.0)
    depth[3:5, 6:9] = -9999
    tifffile.imwrite("depth.tif", depth, extratags=[(42113, "s", 0, "-9999", True)])
    outcome = omniup("upsample", photo, "depth.tif", "-o", "out.npy", "--json")
    assert outcome.status == 0, outcome
    facts = json.loads(outcome.stdout)
    assert (facts["signal_type"], facts["holes"], facts["dtype"]) == ("measurement", 6, "float64")
    np.testing.assert_allclose(np.load("out.npy"), 1000, atol=1e-6)


def test_a_signal_is_opened_once(omniup, photo, mask, monkeypatch):
    opened = []
    plain = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *how, **more: opened.append(path.name) or plain(path, *how, **more))
    assert omniup("upsample", photo, mask, "-o", "out.png", "--method", "nearest").status == 0
    assert opened.count(mask) == 1


@pytest.mark.parametrize("method", ["pyramid_bilateral", "anyup"])
def test_the_confidence_of_the_result(omniup, photo, features, method):
    torch.save(random_anyup().state_dict(), "weights.pth")
    settings = {"weights": "weights.pth"} if method == "anyup" else {}
    given = [argument for name, value in settings.items() for argument in ("--set", f"{name}={value}")]
    arguments = ("--method", method, *given, "--confidence", "trust.npy", "--json")
    facts = json.loads(omniup("upsample", photo, features, "-o", "out.npy", *arguments).stdout)
    assert facts["confidence"] == "trust.npy"
    assert "confidence" in facts["seconds"]
    image, signal = read_image(photo), read_signal(features)
    expected = library.upsample(image, signal, method=method, confidence=True, **settings)
    assert torch.equal(torch.from_numpy(np.load("out.npy")), expected.result)
    assert torch.equal(torch.from_numpy(np.load("trust.npy")), expected.confidence)
    alone = library.upsampler(method, **settings).prepare(image, signal.shape[2:]).confidence(signal)
    assert torch.equal(expected.confidence, alone) == (method != "anyup")  # which adds a step of consistency


def test_the_confidence_of_a_part_with_holes_at_another_size(omniup, photo):
    signal, depth = _square(photo), np.random.default_rng(1).random((6, 8)).astype(np.float32)
    region = ("--region", "0,0,64,64", "--confidence", "trust.npy")
    assert omniup("upsample", photo, "square.npy", "-o", "out.npy", *region).status == 0
    expected = library.upsample(read_image(photo), signal, region=(0, 0, 64, 64), confidence=True)
    assert torch.equal(torch.from_numpy(np.load("trust.npy")), expected.confidence)
    depth[:, :4] = np.nan
    np.save("depth.npy", depth)
    arguments = ("--invalid", "nan", "--holes", "keep", "--size", "96x128", "--confidence", "trust.safetensors")
    assert omniup("upsample", photo, "depth.npy", "-o", "full.npy", *arguments).status == 0
    trust, full = load_file("trust.safetensors")["signal"], torch.from_numpy(np.load("full.npy"))
    assert trust.shape == full.shape == (1, 1, 96, 128)
    assert full.isnan().any()
    assert (trust[full.isnan()] == 0).all()
    assert trust.isfinite().all()


@pytest.mark.parametrize(("options", "most", "dtype"), [((), 255, np.uint8), (("--bits", 16), 65535, np.uint16)])
def test_the_confidence_as_a_picture(omniup, photo, features, options, most, dtype):
    arguments = ("-o", "out.npy", "--confidence", "trust.png", *options)
    assert omniup("upsample", photo, features, *arguments).status == 0
    trust = library.upsample(read_image(photo), read_signal(features), confidence=True).confidence
    wanted = (most * trust[0, 0]).round().numpy().astype(dtype)
    found = np.array(Image.open("trust.png"))
    assert found.dtype == dtype
    assert np.array_equal(found, wanted)


def test_confidences_that_cannot_be_written(refusal, photo, features):
    np.save("two.npy", np.ones((2, 5, 3, 4), np.float32))
    for signal, confidence, problem in (
        (features, "trust.jpg", "trust.jpg has another suffix than those of the formats"),
        (features, "missing/trust.npy", "missing, which does not exist"),
        ("two.npy", "trust.png", "and not a signal of 2 x 1 x 3 x 4 in 8 bits"),
    ):
        assert problem in refusal("upsample", photo, signal, "-o", "out.npy", "--confidence", confidence)
    both = ("-o", "out.npy", "--confidence", "-", "--json")
    assert "both write to standard output" in refusal("upsample", photo, features, *both)
    assert not Path("out.npy").exists()
