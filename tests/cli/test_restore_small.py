"""`omniup restore` with the small model, the default, which needs no extra."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from omniup.files import image_tensor, read_alpha, read_image, sample_image
from omniup.restoration import Restorer
from omniup.restoration.alpha import with_alpha
from omniup.restoration.results import write_result


def read_size(path):
    with Image.open(path) as image:
        image.load()
        return image.size


def test_the_default_says_what_it_found(omniup, folder, photo):
    picture = Image.open(photo).convert("RGB")
    picture.save("old.jpg", quality=30)
    outcome = omniup("restore", "old.jpg", "-o", "new.png", "--json")
    assert outcome.status == 0, outcome
    facts = json.loads(outcome.stdout)
    assert (facts["model"], facts["scale"], facts["strength"], facts["random"]) == ("small", 1, 1.0, False)
    assert facts["found"]["old.jpg"]["quality"] == 30
    assert read_size("new.png") == picture.size
    said = omniup("restore", "old.jpg", "-o", "again.png").stderr
    assert "old.jpg: found noise" in said and "JPEG quality 30" in said
    assert omniup("restore", "old.jpg", "-o", "new.png", "--json", "--strength", 2).status == 0
    assert omniup("restore", "old.jpg", "-o", "double.png", "--scale", 2).status == 0
    assert read_size("double.png") == (2 * picture.width, 2 * picture.height)


def test_strength_0_gives_the_picture_back(omniup, folder, photo):
    Image.open(photo).convert("RGB").save("old.png")
    assert omniup("restore", "old.png", "-o", "new.png", "--strength", 0).status == 0
    assert torch.equal(read_image("new.png"), read_image("old.png"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            ("--prompt", "a cat"),
            "--prompt is given, and the model small draws nothing; accepted: it with --model hypir",
        ),
        (("--seed", 1), "--seed is given, and the model small draws nothing"),
        (("--colour", "none"), "--colour is given, and the model small draws nothing"),
        (("--weights", "x.pth"), "weights is given, and the model is small; accepted: it with hypir"),
        (("--model", "tiny", "--strength", 1), "--strength is given, and the model is tiny; accepted: it with --model"),
        (("--model", "none.safetensors"), "model is none.safetensors, which is no file"),
    ],
)
def test_options_of_the_other_model_are_refused(refusal, photo, folder, options, problem):
    assert problem in refusal("restore", photo, "-o", "out", *options)


def test_a_folder_is_restored_once(omniup, folder):
    """Whatever the memory: tiles change nothing."""
    Path("in").mkdir()
    sample_image("coffee").resize((90, 60)).save("in/a.jpg", quality=40)
    sample_image("coffee").resize((60, 90)).convert("L").save("in/b.png")
    outcome = omniup("restore", "in", "-o", "out", "--json", "--compare", "sheet.png")
    assert outcome.status == 0, outcome
    assert json.loads(outcome.stdout)["restored"] == ["out/a.png", "out/b.png"]
    assert Path("sheet.png").is_file()
    grey = read_image("out/b.png")
    assert torch.equal(grey[:, 0], grey[:, 1])
    for options in ((), ("--memory", "1GB"), ("--tile", 600)):
        assert json.loads(omniup("restore", "in", "-o", "out", "--json", *options).stdout)["skipped"] == 2
    assert json.loads(omniup("restore", "in", "-o", "out", "--json", "--deblur", 1).stdout)["skipped"] == 0


def test_reduced_it_is_what_the_reduced_picture_needs(omniup, folder):
    sample_image("coffee").resize((300, 200)).save("old.jpg", quality=30)
    outcome = omniup("restore", "old.jpg", "-o", "new.png", "--longest-side", 100, "--json")
    found = json.loads(outcome.stdout)["found"]["old.jpg"]
    assert found["quality"] > 60
    image, restorer = read_image("old.jpg"), Restorer.from_pretrained()
    torch.testing.assert_close(read_image("new.png"), restorer(image, longest_side=100), rtol=0, atol=0.51 / 255)


def test_alpha_and_sixteen_bits_are_kept(omniup, folder):
    picture = torch.cat([image_tensor(sample_image("coffee").resize((80, 60))), torch.ones(1, 1, 60, 80)], dim=1)
    picture[:, 3, :, 40:] = 0.25
    write_result(Path("in.png"), picture, {}, bits=16)
    assert omniup("restore", "in.png", "-o", "out.png", "--bits", 16).status == 0
    torch.testing.assert_close(read_alpha("out.png"), picture[:, 3:], rtol=0, atol=1 / 65535)
    made = with_alpha(Restorer.from_pretrained()(read_image("in.png")), picture[:, 3:])  # [1, 4, 60, 80]
    expected = made[:, :3] * made[:, 3:] + 1 - made[:, 3:]
    torch.testing.assert_close(read_image("out.png"), expected, rtol=0, atol=2 / 65535)


@pytest.mark.parametrize("suffix", ["webp", "jpg"])
def test_what_a_format_does_not_hold_is_listed_and_the_others_go_on(omniup, folder, suffix):
    Path("in").mkdir()
    Image.fromarray(np.zeros((4, 8200, 3), np.uint8)).save("in/a.png")
    sample_image("coffee").resize((60, 40)).save("in/b.png")
    scale = {"webp": 2, "jpg": 8}[suffix]
    outcome = omniup("restore", "in", "-o", "out", "--format", suffix, "--scale", scale)
    assert outcome.status == 2
    assert f"in/a.png: out/a.{suffix} would have" in outcome.stderr
    assert "pixels; accepted: sides up to" in outcome.stderr
    assert [path.name for path in Path("out").glob("*")] == [f"b.{suffix}"]
