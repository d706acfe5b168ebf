import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import omniup as library
from omniup.files import read_image, read_labels, read_signal
from support.transformers_models import save_model

SMALL = ("--encoder", "timm:test_vit", "--encoder-set", "pretrained=false")


@pytest.fixture
def two_photos(photo):
    """The photograph, and one of its right half, in a folder."""
    Path("photos/deep").mkdir(parents=True)
    with Image.open(photo) as whole:
        whole.save("photos/a.png")
        whole.crop((32, 0, 64, 48)).save("photos/deep/b.png")
    return "photos"


def test_a_file_of_features_is_what_the_function_gives(omniup, photo):
    outcome = omniup("features", photo, *SMALL, "-o", "dense.safetensors", "--json")
    assert outcome.status == 0, outcome.stderr
    expected = library.features(photo, library.encoder("timm:test_vit", pretrained=False))
    assert torch.equal(read_signal("dense.safetensors"), expected)
    facts = json.loads(outcome.stdout)
    assert facts["pictures"] == [
        {"image": photo, "shape": [1, 64, 48, 64], "grid": [3, 4], "files": ["dense.safetensors"]}
    ]
    assert (facts["encoder"], facts["weights"]) == ("timm:test_vit", "random (seed 0)")
    assert not Path("omniup.json").exists()


def test_options_reach_the_function(omniup, photo):
    how = ("--size", "32x40", "--method", "joint_bilateral", "--set", "radius=1", "--resolution", 128, "--sides", "pad")
    tiles = ("--tile", 64)
    layers = ("--encoder-set", "layer=[1,-1]", "--precision", "bfloat16", "--device", "cpu")
    assert omniup("features", photo, *SMALL, *how, *tiles, *layers, "-o", "dense.safetensors").status == 0
    expected = library.features(
        photo,
        library.encoder("timm:test_vit", pretrained=False, layer=[1, -1]),
        size=(32, 40),
        method="joint_bilateral",
        radius=1,
        resolution=128,
        tile=64,
        sides="pad",
        precision="bfloat16",
    )
    assert expected.dtype == torch.bfloat16
    assert torch.equal(read_signal("dense.safetensors"), expected)


def test_a_model_of_transformers(omniup, photo):
    folder = save_model("registers", "model")
    assert omniup("features", photo, "--encoder", f"transformers:{folder}", "-o", "dense.npy", "-q").status == 0
    assert np.load("dense.npy").shape == (1, 32, 48, 64)


def test_pictures_of_several_photographs_go_together(omniup, two_photos):
    drawn = ("--pca", "--segments", 3, "--similar", "40,24", "--no-arrays")
    outcome = omniup("features", two_photos, "--encoder", "projection", *drawn, "-o", "out")
    assert outcome.status == 0, outcome.stderr
    names = [f"{name}.{content}.png" for name in ("a", "deep/b") for content in ("pca", "segments", "similarity")]
    assert {path.relative_to("out").as_posix() for path in Path("out").rglob("*.*")} == {*names, "omniup.json"}
    for content in ("pca", "segments", "similarity"):
        whole, half = (np.asarray(Image.open(f"out/{name}.{content}.png")) for name in ("a", "deep/b"))
        assert whole.shape[:2] == (48, 64) and half.shape[:2] == (48, 32)
        similar = np.isclose(whole[:, 40:].astype(float), half[:, 8:].astype(float), atol=24).mean()
        assert similar > 0.8, content  # beside the cut, cells draw from other neighbours
    labels = read_labels("out/a.segments.png")
    assert labels.unique().tolist() == [0, 1, 2]
    similarity = read_image("out/a.similarity.png").sum(1)[0]
    assert similarity[24, 40] == similarity.max()


def test_drawings_of_one_picture_lie_beside_its_features(omniup, photo):
    assert omniup("features", photo, "--encoder", "projection", "-o", "dense.npy", "--pca").status == 0
    assert {path.name for path in Path().iterdir()} == {photo, "dense.npy", "dense.pca.png"}


def test_nothing_is_overwritten_but_what_it_wrote_itself(omniup, refusal, two_photos):
    command = ("features", two_photos, "--encoder", "projection", "--pca", "--no-arrays", "-o", "out")
    Path("out").mkdir()
    Path("out/a.pca.png").write_text("mine")
    assert "out/a.pca.png exists already" in refusal(*command)
    assert Path("out/a.pca.png").read_text() == "mine"
    assert omniup(*command, "--overwrite").status == 0
    assert omniup(*command).status == 0
    assert omniup("features", "photos/a.png", "--encoder", "projection", "-o", "one.npy").status == 0
    assert "one.npy exists already" in refusal("features", "photos/a.png", "--encoder", "projection", "-o", "one.npy")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "dense.jpg"), "dense.jpg has the suffix '.jpg'; accepted: a folder, or .npy, .npz, .safetensors"),
        (("-o", "out", "--no-arrays"), "--no-arrays leaves nothing to write"),
        (("-o", "out", "--similar", "64,0"), "--similar is 64,0; accepted: pixels of the first picture, 64 x 48"),
        (("-o", "out", "--similar", "left"), "'left' is not x,y"),
        (("-o", "out", "--size", "big"), "'big' is not height x width"),
        (("-o", "out", "--encoder-set", "seed=-1"), "--encoder-set: seed is -1"),
        (("-o", "out", "--encoder-set", "layer=1"), "--encoder-set: settings do not fit projection"),
        (("-o", "out", "--sides", "crop"), "--sides is 'crop'; accepted: resize, pad"),
        (("-o", "out", "--precision", "half"), "--precision is 'half'; accepted: float32, float16, bfloat16"),
        (("-o", "out", "--method", "cubist"), "method is 'cubist'"),
    ],
)
def test_refusals(arguments, said, refusal, photo):
    assert said in refusal("features", photo, "--encoder", "projection", *arguments)
    assert {path.name for path in Path().iterdir()} == {photo}


def test_several_pictures_need_a_folder(refusal, two_photos):
    said = refusal("features", two_photos, "--encoder", "projection", "-o", "dense.npy")
    assert said == "dense.npy is one file for 2 pictures; accepted: a folder\n"


def test_weights_that_cannot_be_had_are_refused_by_the_option(refusal, photo):
    said = refusal("features", photo, "--encoder", "timm:test_vit", "--encoder-set", "pretrained=no.pth", "-o", "out")
    assert "--encoder timm:test_vit: no.pth cannot be read" in said


def test_results_of_several_parts_are_no_standard_output(refusal, photo):
    assert refusal("features", photo, "--encoder", "projection", "-o", "-").startswith("- is standard output")
    assert not Path("-").exists()
