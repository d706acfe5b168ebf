import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omniup import GaussianKernels
from omniup.evaluation import psnr
from omniup.files import read_image

QUICK = ("--size", 96, "--iters", 4)
PICTURES = {
    *("sheet", "loss", "original", "low_resolution", "bilinear", "bicubic", "fixed", "fitted", "pyramid"),
    *(
        "error_bilinear",
        "error_bicubic",
        "error_fixed",
        "error_fitted",
        "error_pyramid",
        "concentration",
        "sigma_x",
        "sigma_y",
        "theta",
        "sigma_r",
    ),
    *("features_low_resolution", "features_bilinear", "features_fixed", "features_fitted", "features_pyramid"),
}


def test_the_main_job(omniup, folder):
    outcome = omniup("reconstruct", "sample:coffee", "-o", "deep/out", *QUICK, "--json")
    out = Path("deep/out")
    made = {f"{name}.png" for name in PICTURES} | {"metrics.json", "kernels.safetensors", "omniup.json"}
    assert {path.name for path in out.iterdir()} == made
    facts = json.loads(outcome.stdout)
    written = json.loads((out / "metrics.json").read_text())
    assert facts.pop("seconds").keys() - written.pop("seconds").keys() == set()
    assert facts == written
    assert facts["size"] == [64, 96]
    assert facts["grid"] == [4, 6]
    assert facts["preset"] == "paper"
    assert facts["settings"]["iterations"] == facts["iterations"] == 4
    assert facts["encoder"] == "projection"
    assert facts["device"] == "cpu"

    scores = {way: values["psnr_recon"] for way, values in facts["metrics"].items()}
    assert scores["fitted"] > scores["fixed"] > scores["bilinear"]
    assert facts["gain_db"] == scores["fitted"] - scores["fixed"]
    original, fitted = read_image(out / "original.png"), read_image(out / "fitted.png")
    assert psnr(fitted, original) == pytest.approx(scores["fitted"], abs=0.05)  # the picture has 256 levels
    assert GaussianKernels.load(out / "kernels.safetensors").guidance.equal(original)


def test_what_people_see(omniup, folder):
    outcome = omniup("reconstruct", "sample:coffee", "-o", "out", *QUICK, "--preset", "spec")
    said = outcome.stdout.decode()
    assert said.startswith("sample:coffee: 64 x 96 pixels from 4 x 6 cells\n")
    for part in (
        "PSNR",
        "bilinear",
        "fitted kernels",
        "pyramid bilateral",
        "fit ",
        "out/sheet.png",
        "out/metrics.json",
    ):
        assert part in said
    assert outcome.stderr.startswith("The fitted kernels gain only 0.")
    assert "--preset paper" in outcome.stderr
    quiet = omniup("reconstruct", "sample:coffee", "-o", "out", *QUICK, "--preset", "spec", "--quiet")
    assert (quiet.status, quiet.stdout, quiet.stderr) == (0, b"", "")


def test_without_a_fit(omniup, folder):
    assert omniup("reconstruct", "sample:coffee", "-o", "out", "--size", 64, "--iters", 0).status == 0
    assert not Path("out/loss.png").exists()


def test_features(omniup, photo):
    assert omniup("reconstruct", photo, "-o", "out", "--iters", 1, "--features").status == 0
    assert np.load("out/features.npy").shape == (1, 32, 48, 64)


def test_one_colour_has_no_error_and_no_psnr(omniup, folder):
    Image.new("RGB", (32, 32)).save("black.png")
    outcome = omniup("reconstruct", "black.png", "-o", "out", "--iters", 1, "--json")
    facts = json.loads(outcome.stdout)
    assert facts["metrics"]["fitted"] == {"l1_recon": 0, "psnr_recon": None, "ssim_recon": 1}
    assert facts["gain_db"] is None


@pytest.mark.filterwarnings("default")
def test_random_weights_are_announced_in_one_line(omniup, photo, monkeypatch, tmp_path):
    pytest.importorskip("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    outcome = omniup("reconstruct", photo, "-o", "out", "--iters", 1, "--encoder", "resnet18_layer2", "--json")
    assert json.loads(outcome.stdout)["channels"] == 128
    (warning, *_) = outcome.stderr.splitlines()
    assert warning.startswith("omniup: warning: resnet18_layer2: random (seed 0)")


@pytest.mark.parametrize("value", ["false", "False"])
def test_a_backbone_with_random_weights(omniup, photo, value):
    pytest.importorskip("timm")
    backbone = ("--encoder", "timm:test_vit", "--encoder-set", f"pretrained={value}", "--encoder-set", "layer=0")
    facts = json.loads(omniup("reconstruct", photo, "-o", "out", "--iters", 0, *backbone, "--json").stdout)
    assert (facts["encoder"], facts["weights"], facts["channels"]) == ("timm:test_vit", "random (seed 0)", 64)


def test_a_backbone_without_weights_says_what_gives_some(omniup, photo, monkeypatch, tmp_path):
    """Its advice is an option of the command, followed by what that accepts."""
    pytest.importorskip("timm")
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    outcome = omniup("reconstruct", photo, "-o", "out", "--encoder", "timm:resnet18")
    assert outcome.status == 2
    assert outcome.stderr.startswith("omniup: --encoder-set: pretrained is True, and the weights of resnet18 cannot")
    assert outcome.stderr.endswith("accepted: a local file, or False for random weights\n")


def test_an_encoder_s_weights_are_an_input(omniup, photo):
    Path("out").mkdir()
    Path("out/kernels.safetensors").write_bytes(b"weights")
    settings = ("--encoder", "timm:test_vit", "--encoder-set", "pretrained=out/kernels.safetensors", "--overwrite")
    outcome = omniup("reconstruct", photo, "-o", "out", "--iters", 0, *settings)
    assert (outcome.status, Path("out/kernels.safetensors").read_bytes()) == (2, b"weights")
    assert "is an input, which the result would overwrite" in outcome.stderr


def _no_network(*_, **__):
    raise OSError("no network")


def test_a_real_photo(omniup, shared, folder):
    photo = shared / "data" / "photos" / "voc_2009_003810.jpg"
    outcome = omniup("reconstruct", photo, "-o", "out", "--size", 160, "--stride", 14, "--iters", 3, "--json")
    facts = json.loads(outcome.stdout)
    assert facts["size"] == [126, 154]  # 375 × 500, in multiples of 14: 8.57 and 11.43
    assert facts["gain_db"] > 0.5


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take UTF-8 only")
def test_a_name_that_is_not_utf_8(omniup, photo):
    name, out = os.fsdecode(b"a\xff.png"), os.fsdecode(b"out\xff")
    Path(photo).rename(name)
    outcome = omniup("reconstruct", name, "-o", out, *QUICK)
    assert outcome.status == 0, outcome
    assert b"'a\\udcff.png'" in outcome.stdout
    assert Path(out, "metrics.json").exists()
