import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omniup.evaluation.label_probe import LabelProbe
from omniup.files import read_labels, read_signal
from omniup.files.stored import read_stored

ENCODER = ("--encoder", "projection", "--encoder-set", "stride=4")
PALETTE = [0, 0, 0, 200, 0, 0, 0, 0, 200]


@pytest.fixture
def pictures(folder):
    """Four pictures with bright rectangles, which have the label 1; 2 is a corner that counts for nothing."""
    random = np.random.default_rng(2)
    Path("train").mkdir()
    for number in range(4):
        labels = np.zeros((32, 48), np.uint8)
        top, left = random.integers(16, size=2)
        labels[top : top + 14, left : left + 20] = 1
        pixels = (60 + 120 * labels[..., None] + random.integers(40, size=(32, 48, 3))).astype(np.uint8)
        Image.fromarray(pixels).save(f"train/{number}.png")
        labels[28:, 44:] = 2
        drawn = Image.fromarray(labels)
        drawn.putpalette(PALETTE)
        drawn.save(f"train/{number}.labels.png")
    return "train"


@pytest.fixture
def probe(omniup, pictures):
    assert omniup("probe", "fit", pictures, *ENCODER, "--ignore", 2, "-o", "probe.safetensors").status == 0
    return "probe.safetensors"


def test_a_probe_is_fitted_and_measured(omniup, pictures):
    command = ("probe", "fit", "train/0.png", "train/1.png", *ENCODER, "--ignore", 2, "-o", "probe.safetensors")
    outcome = omniup(*command, "--validation", pictures, "--json")
    assert outcome.status == 0, outcome.stderr
    facts = json.loads(outcome.stdout)
    assert (facts["labels"], facts["pictures"], facts["validation_pictures"]) == ([0, 1], 2, 4)
    assert facts["mean_iou"] > 90
    assert facts["pixel_accuracy"] > 97


def test_pictures_are_labelled_in_the_colours_of_the_label_maps(omniup, probe):
    assert omniup("probe", "predict", probe, "train", "-o", "out").status == 0
    assert {path.name for path in Path("out").iterdir()} == {*(f"{n}.labels.png" for n in range(4)), "omniup.json"}
    truth, found = read_labels("train/3.labels.png"), read_labels("out/3.labels.png")
    assert (found == truth)[truth < 2].float().mean() > 0.97
    assert read_stored("out/3.labels.png").palette[:6] == PALETTE[:6]


def test_one_picture_of_another_size_as_an_array(omniup, probe):
    how = ("--size", 96, "--method", "bilinear")
    assert omniup("probe", "predict", probe, "train/0.png", "-o", "labels.npy", *how).status == 0
    assert read_signal("labels.npy").shape == (1, 1, 64, 96)


def test_label_maps_may_lie_in_a_folder_of_their_own(omniup, pictures):
    Path("maps").mkdir()
    for number in range(4):
        Path(f"train/{number}.labels.png").rename(f"maps/{number}.png")
    done = omniup("probe", "fit", pictures, *ENCODER, "--labels", "maps", "--ignore", 2, "-o", "probe.safetensors")
    assert done.status == 0, done.stderr


def test_what_is_missing_or_does_not_fit_is_refused(refusal, pictures):
    command = ("probe", "fit", pictures, *ENCODER, "-o", "probe.safetensors")
    assert refusal("probe", "fit", pictures, *ENCODER, "-o", "probe.pt").startswith("probe.pt is no name for a file")
    Image.new("L", (9, 9)).save("train/2.labels.png")
    assert "train/2.labels.png is [9, 9]; accepted: the photograph's size, [32, 48]" in refusal(*command)
    Path("train/2.labels.png").unlink()
    assert refusal(*command) == "train/2.png has no label map train/2.labels.png\n"
    assert not Path("probe.safetensors").exists()


def test_nothing_is_overwritten(omniup, refusal, probe):
    assert "probe.safetensors exists already" in refusal("probe", "fit", "train", *ENCODER, "-o", probe)
    assert "is an input" in refusal("probe", "predict", probe, "train/0.png", "-o", "train/0.png", "--overwrite")
    assert "is an input" in refusal("probe", "predict", probe, "train/0.png", "-o", probe, "--overwrite")


def test_other_files_are_no_probes(omniup, refusal, photo):
    assert omniup("features", photo, "--encoder", "projection", "-o", "dense.safetensors").status == 0
    said = refusal("probe", "predict", "dense.safetensors", photo, "-o", "labels.png")
    assert said == "dense.safetensors holds no probe; accepted: a file that `omniup probe fit` wrote\n"


def test_a_probe_without_its_encoder_is_refused(refusal, probe, photo):
    made, _ = LabelProbe.load(probe)
    made.save("bare.safetensors", {"omniup_probe": '{"encoder": ["projection"]}'})
    said = refusal("probe", "predict", "bare.safetensors", photo, "-o", "labels.png")
    assert said.startswith("bare.safetensors does not say which encoder it is for; accepted: a file that")


def test_help_without_a_command(omniup):
    assert b"predict" in omniup("probe").stdout
