"""`omniup restore` with the tiny model, whose weights are random: everything but what it draws.

The small model, which is the default, has `test_restore_small.py`.
"""

import json
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, features
from PIL.ExifTags import IFD, Base

from omniup.files import read_alpha, read_image
from omniup.restoration import Enhancer
from omniup.restoration.alpha import with_alpha
from omniup.restoration.results import write_result
from support.captions import serving

huggingface_hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("diffusers")

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="Pillow was built without AVIF")

TINY = ("--model", "tiny", "--scale", "1")


@pytest.fixture
def pictures(folder):
    """Three pictures in a tree, one of them broken, and prompts beside it."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    (folder / "in" / "streets").mkdir(parents=True)
    Image.fromarray(pixels[0]).save("in/cat.png")
    Image.fromarray(pixels[1]).save("in/streets/night.jpg")
    Path("in/streets/broken.png").write_bytes(Path("in/cat.png").read_bytes()[:500])
    shutil.copytree("in", "prompts", ignore=shutil.ignore_patterns("*.png", "*.jpg"))
    for name in ("cat", "streets/night", "streets/broken"):
        Path(f"prompts/{name}.txt").write_text(f"a picture of {name}\n")
    return folder


def _tree(path):
    return {str(found.relative_to(path)) for found in Path(path).rglob("*") if found.is_file()}


def _size(path):
    with Image.open(path) as image:
        image.load()
        return image.size


def _facts(outcome):
    return json.loads(outcome.stdout)


def test_a_sample(omniup, folder):
    outcome = omniup("restore", "sample:coffee", "-o", "out.png", "--model", "tiny", "--longest-side", 96)
    assert outcome.status == 0, outcome
    assert "tiny has random weights" in outcome.stderr
    assert "out.png: 1 restored (load" in outcome.stderr
    assert _size("out.png") == (96, 64)
    assert _tree(".") == {"out.png"}


def test_a_folder_with_a_broken_picture_is_resumed(omniup, pictures):
    command = ("restore", "in", "-o", "out", "--prompts", "prompts", *TINY)
    outcome = omniup(*command, "--json", "--quiet")
    assert outcome.status == 2
    listed, said = outcome.stderr.splitlines()
    assert listed.startswith("in/streets/broken.png cannot be read")
    assert said == "omniup: 1 of 3 pictures could not be restored: those above"
    facts = _facts(outcome)
    assert facts["restored"] == ["out/cat.png", "out/streets/night.png"]
    assert list(facts["failures"]) == ["in/streets/broken.png"]
    assert facts["random"]
    assert _tree("out") == {"cat.png", "streets/night.png"}
    assert _size("out/streets/night.png") == (40, 30)

    written = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.png")}
    assert _facts(omniup(*command, "--json"))["restored"] == []
    assert {path: path.stat().st_mtime_ns for path in written} == written

    shutil.copy("in/cat.png", "in/streets/broken.png")
    Path("prompts/cat.txt").write_text("a dog")
    outcome = omniup(*command, "--json")
    assert outcome.status == 0
    assert _facts(outcome)["restored"] == ["out/cat.png", "out/streets/broken.png"]
    assert _facts(outcome)["skipped"] == 1


def test_how_well_tiles_agree_is_told(omniup, photo):
    outcome = omniup("restore", photo, "-o", "out.png", *TINY, "--tile", 64, "--json")
    assert outcome.status == 0, outcome
    ((source, tiles),) = _facts(outcome)["tiles"].items()
    assert tiles["tiles"] > 1
    assert len(tiles["differences"]) > 1
    assert f"{source}: {tiles['tiles']} tiles differ by 0." in outcome.stderr
    outcome = omniup("restore", photo, "-o", "whole.png", *TINY, "--json")
    assert _facts(outcome)["tiles"] == {}


def test_another_setting_and_another_picture_are_done_anew(omniup, photo):
    def restored(*options):
        outcome = omniup("restore", photo, "-o", "out.png", *TINY, "--json", *options)
        assert outcome.status == 0, outcome
        return _facts(outcome)["restored"] == ["out.png"]

    assert restored()
    assert not restored()
    for options in (
        ("--seed", 1),
        ("--colour", "none"),
        ("--tile", 64),
        ("--prompt", "noise"),
        ("--precision", "bf16"),
    ):
        assert restored(*options)
        assert not restored(*options)
    assert restored()
    Image.new("RGB", (20, 30)).save(photo)
    assert restored()
    Path("out.png").write_bytes(Path("out.png").read_bytes()[:20])  # nothing says whose that is
    assert "out.png exists already" in omniup("restore", photo, "-o", "out.png", *TINY).stderr
    assert restored("--overwrite")


def test_a_picture_without_a_prompt_is_listed(omniup, pictures):
    Path("prompts/cat.txt").unlink()
    shutil.rmtree("in/streets")
    outcome = omniup("restore", "in", "-o", "out", "--prompts", "prompts", *TINY)
    assert outcome.status == 2
    assert "prompts/cat.txt cannot be read (No such file or directory)" in outcome.stderr
    assert not Path("out").exists()


def test_captions(omniup, photo, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("OMNIUP_CAPTION_KEY", "sk-very-secret")
    with serving("a photograph of noise") as server:
        command = ("restore", photo, "-o", "out.png", *TINY, "--caption", server.url, "--verbose")
        outcome = omniup(*command)
        assert outcome.status == 0, outcome
        assert len(server.requests) == 1
        assert "done already" in omniup(*command).stderr
        assert len(server.requests) == 1
    assert "sk-very-secret" not in outcome.stderr
    assert b"sk-very-secret" not in Path("out.png").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_loses_nothing(omniup, folder, monkeypatch):
    Path("in").mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(f"in/{name}.png")
    command = ("restore", "in", "-o", "out", *TINY)
    enhance, calls = Enhancer.__call__, []

    def interrupted(*arguments, **settings):
        calls.append(arguments)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return enhance(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Enhancer, "__call__", interrupted)
        outcome = omniup(*command)
    *_, note, last = outcome.stderr.splitlines()
    assert (outcome.status, last) == (130, "omniup: interrupted")
    assert note == "1 restored before the interrupt; the same command goes on from there"
    assert _tree("out") == {"a.png"}
    assert _facts(omniup(*command, "--json"))["restored"] == ["out/b.png"]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_alpha_is_kept(omniup, folder, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 4), dtype=np.uint8)
    pixels[..., 3] = np.arange(40) // 20 * 255
    picture = Image.fromarray(pixels)
    if mode == "P":
        picture = picture.convert("RGB").quantize(16)
        picture.info["transparency"] = bytes([0] * 8 + [255] * 8)
        picture.save("in.png", transparency=picture.info["transparency"])
    else:
        picture.convert(mode).save("in.png")
    outcome = omniup("restore", "in.png", "-o", "out.png", "--model", "tiny", "--scale", "2")
    assert outcome.status == 0, outcome
    with Image.open("in.png") as image, Image.open("out.png") as result:
        assert (result.mode, result.size) == ("RGBA", (80, 60))
        alpha = np.asarray(result.getchannel("A"))
        expected = np.asarray(image.convert("RGBA").getchannel("A")) / 255
    if mode != "P":
        assert (alpha[:, :32] == 0).all() and (alpha[:, 48:] == 255).all()
    assert np.corrcoef(alpha[::2, ::2].ravel(), expected.ravel())[0, 1] > 0.7
    image = Image.fromarray(pixels[..., :3]).convert("RGBA")  # opaque everywhere
    image.save("in.png")
    assert omniup("restore", "in.png", "-o", "out.png", *TINY).status == 0
    with Image.open("out.png") as result:
        assert result.mode == "RGB"


@pytest.mark.parametrize("suffix", [".bmp", ".GIF", ".heic", ".npy"])
def test_another_format_makes_no_folder(refusal, photo, suffix):
    said = refusal("restore", photo, "-o", f"out{suffix}", *TINY)
    assert (
        f"out{suffix} has the suffix '{suffix}'; accepted: a folder, or a file name that ends in png, jpg, jpeg,"
        in said
    )
    assert _tree(".") == {photo}
    assert not Path(f"out{suffix}").exists()


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", pytest.param("avif", marks=needs_avif)])
def test_formats_keep_metadata_and_what_is_done(omniup, folder, suffix):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[Base.Artist], exif[Base.Orientation] = "Ada", 6
    exif[IFD.Exif] = {Base.ExposureTime: 0.5}
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("in.jpg", icc_profile=profile, exif=exif)
    command = ("restore", "in.jpg", "-o", f"out.{suffix}", *TINY, "--json", "--prompt", "ein Fräulein")
    assert _facts(omniup(*command))["restored"] == [f"out.{suffix}"]
    assert _facts(omniup(*command))["restored"] == []
    with Image.open(f"out.{suffix}") as result:
        assert result.size == (30, 40)
        assert result.info["icc_profile"] == profile
        kept = result.getexif()
        assert (kept[Base.Artist], kept.get(Base.Orientation, 1)) == ("Ada", 1)
        assert kept.get_ifd(IFD.Exif)[Base.ExposureTime] == 0.5
    assert _facts(omniup(*command, "--seed", 1))["restored"] == [f"out.{suffix}"]  # it replaces its like


def test_a_folder_of_another_format(omniup, pictures):
    Path("in/streets/broken.png").unlink()
    assert omniup("restore", "in", "-o", "out", "--format", "webp", *TINY).status == 0
    assert _tree("out") == {"cat.webp", "streets/night.webp"}
    assert "--format is given, and a.png is a file" in omniup("restore", "in", "-o", "a.png", "--format", "jpg").stderr


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_sixteen_bits(omniup, folder, has_alpha, suffix):
    """What comes in with 16 bits is seen with them, and what goes out with them is the result to 1/65535."""
    ramp = torch.linspace(0.2, 0.8, 40).expand(1, 3 + has_alpha, 30, 40)
    inside, outside = f"in{suffix}", f"out{suffix}"
    write_result(Path(inside), ramp, {}, bits=16)
    command = ("restore", inside, "-o", outside, *TINY, "--bits", 16)
    assert omniup(*command).status == 0
    assert "1 done already" in omniup(*command).stderr  # the settings are read again
    restored = Enhancer.from_pretrained("tiny")(read_image(inside), scale=1)
    restored = restored if not has_alpha else with_alpha(restored, read_alpha(inside))
    made = read_image(outside)
    expected = restored[:, :3] if not has_alpha else restored[:, :3] * restored[:, 3:] + 1 - restored[:, 3:]
    torch.testing.assert_close(made, expected, rtol=0, atol=2 / 65535)
    assert ((made * 255).frac() > 0.01).any()
    assert (read_alpha(outside) is not None) == has_alpha


def test_a_sheet_compares_what_this_run_restored(omniup, refusal, pictures):
    command = ("restore", "in", "-o", "out", *TINY, "--compare", "sheet.png")
    outcome = omniup(*command)  # one picture is broken, and the others are compared
    assert outcome.status == 2
    assert _tree("out") == {"cat.png", "streets/night.png"}
    first = Path("sheet.png").read_bytes()
    assert _size("sheet.png")[0] > 4 * 200
    assert _facts(omniup(*command, "--json"))["compare"] is None  # nothing is left to do, and the sheet stays
    assert Path("sheet.png").read_bytes() == first
    assert _facts(omniup(*command, "--json", "--seed", 1))["compare"] == "sheet.png"
    assert Path("sheet.png").read_bytes() != first
    Image.new("RGB", (2, 2)).save("mine.png")
    for sheet, problem in (
        ("mine.png", "mine.png exists already"),
        ("sheet.jpg", "--compare is sheet.jpg; accepted: a .png file that is no result"),
        ("out/cat.png", "--compare is out/cat.png; accepted: a .png file that is no result"),
        ("in/cat.png", "in/cat.png is an input"),
    ):
        assert problem in refusal("restore", "in", "-o", "out", *TINY, "--compare", sheet)


def test_jpeg_has_alpha_over_white(omniup, folder):
    Image.new("RGBA", (40, 30), (10, 20, 30, 100)).save("in.png")
    assert omniup("restore", "in.png", "-o", "out.jpg", *TINY).status == 0
    with Image.open("out.jpg") as result:
        assert (result.format, result.mode) == ("JPEG", "RGB")


def test_a_folder_may_have_a_dot_in_its_name(omniup, photo):
    assert omniup("restore", photo, "-o", "out.v2", *TINY).status == 0
    assert _tree("out.v2") == {"photo.png"}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--base", "a/b"), "base is given, and the model is tiny; accepted: sources of the model hypir"),
        (("--scale", "2", "--longest-side", "90"), "--scale is given together with --longest-side"),
        (("--scale", "0"), "Invalid value for '--scale'"),
        (
            ("--prompt", "a", "--prompts", "."),
            "--prompt, --prompts and --caption are given together; accepted: one of them",
        ),
        (("--prompts", "nowhere"), "nowhere does not exist; accepted: a folder of prompts"),
        (("--caption", "nowhere"), "caption is no address of an endpoint; accepted: http://HOST/v1"),
        (("--colour", "blue"), "--colour is 'blue'; accepted: wavelet, adain, none"),
        (("--precision", "fp8"), "precision is 'fp8'; accepted: auto, fp32, bf16, fp16"),
        (("--format", "gif"), "--format is 'gif'; accepted: png, jpg, jpeg, tif, tiff, webp, avif"),
        (("--bits", "12"), "--bits is 12; accepted: 8 and 16"),
        (("--bits", "16", "--format", "jpg"), "--bits is 16, and results are .jpg; accepted: 16 for .png, .tif, .tiff"),
        (("--tile", "10"), "tile is 10; accepted: 64 pixels or more"),
        (("--memory", "1KB"), "memory is 0 MB; accepted:"),
        (("--weights", "lora.pth"), "weights is lora.pth, which is no file"),
        (("--model", "nowhere at all"), "model is 'nowhere at all', neither a folder nor a repository"),
    ],
)
def test_refusals(refusal, photo, options, problem):
    assert problem in refusal("restore", photo, "-o", "out", "--model", "tiny", "--quiet", *options)
    assert _tree(".") == {photo}


def test_refused_outputs(refusal, pictures):
    assert "out.png is one file for 3 pictures; accepted: a folder" in refusal("restore", "in", "-o", "out.png", *TINY)
    assert "is an input, which the result would overwrite" in refusal("restore", "in/cat.png", "-o", "in", *TINY)


def test_missing_weights_are_told_at_once(refusal, photo, folder, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    began = time.monotonic()
    said = refusal("restore", photo, "-o", "out", "--model", "hypir")
    assert time.monotonic() - began < 5
    assert f"of which unet/config.json is not in {folder / 'hub'}" in said
    assert not Path("out").exists()
