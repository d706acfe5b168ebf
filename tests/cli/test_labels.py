import json

import numpy as np
import pytest
from PIL import Image

from omniup.files import read_stored


def _open(name):
    with Image.open(name) as image:
        image.load()
        return image


def _classes(name):
    return set(np.unique(np.array(_open(name))))


@pytest.mark.parametrize(
    "method", ["nearest", "bilinear", "bicubic", "joint_bilateral", "guided_filter", "pyramid_bilateral"]
)
def test_no_label_is_invented(omniup, photo, mask, method):
    assert omniup("upsample", photo, mask, "-o", "out.png", "--method", method).status == 0
    assert _classes("out.png") == {3, 7, 200}
    assert _open("out.png").size == (64, 48)
    assert read_stored("out.png").palette[: 3 * 201] == read_stored(mask).palette[: 3 * 201]


def test_a_fit_for_labels(omniup, photo, mask):
    outcome = omniup("upsample", photo, mask, "-o", "out.png", "--method", "upsample_anything", "--iters", 2, "--json")
    assert json.loads(outcome.stdout)["signal_type"] == "labels"
    assert _classes("out.png") <= {3, 7, 200}


def test_memory_does_not_change_the_labels(omniup, photo, mask):
    for output, memory in (("all.npy", "512MB"), ("one_by_one.npy", "40KB")):
        chosen = ("--method", "joint_bilateral", "--set", "radius=1", "--memory", memory)
        assert omniup("upsample", photo, mask, "-o", output, *chosen).status == 0
    assert np.array_equal(np.load("all.npy"), np.load("one_by_one.npy"))
    assert np.load("all.npy").dtype == np.int64


def test_grey_images_are_values_unless_told(omniup, photo, mask):
    Image.fromarray(np.array(_open(mask)).repeat(3, 0).repeat(3, 1)).save("grey.png")
    arguments = ("upsample", photo, "grey.png", "-o", "out.png", "--method", "bilinear", "--overwrite")
    assert "say --labels" in omniup(*arguments).stderr
    assert len(_classes("out.png")) > 3
    assert "say --labels" not in omniup(*arguments, "--values").stderr
    assert "say --labels" not in omniup(*arguments, "--signal-type", "measurement").stderr
    assert "say --labels" not in omniup(*arguments, "--labels").stderr
    assert _classes("out.png") == {3, 7, 200}
    assert _open("out.png").mode == "L"


def test_palette_images_are_labels_unless_told(omniup, photo, mask):
    assert omniup("upsample", photo, mask, "-o", "out.npy", "--method", "bilinear", "--values").status == 0
    assert len(np.unique(np.load("out.npy"))) > 3


def test_labels_has_a_long_form(omniup, photo):
    np.save("segments.npy", np.array([[1, 700], [300, 2]]))
    for output, short_or_long in (("a.npy", ("--labels",)), ("b.npy", ("--signal-type", "labels"))):
        assert omniup("upsample", photo, "segments.npy", "-o", output, *short_or_long).status == 0
    assert np.array_equal(np.load("a.npy"), np.load("b.npy"))
    assert set(np.unique(np.load("a.npy"))) <= {1, 2, 300, 700}


def test_a_palette_image_of_another_type(omniup, photo, mask):
    outcome = omniup("upsample", photo, mask, "-o", "out.npy", "--signal-type", "values", "--json")
    assert json.loads(outcome.stdout)["signal_type"] == "values"
    assert len(np.unique(np.load("out.npy"))) > 3


def test_contradictions_are_refused(refusal, photo, mask):
    arguments = ("upsample", photo, mask, "-o", "out.png")
    said = "--labels is given together with --signal-type measurement; accepted: one of the two"
    assert said in refusal(*arguments, "--labels", "--signal-type", "measurement")
    said = "--values is given together with --signal-type labels; accepted: one of the two"
    assert said in refusal(*arguments, "--values", "--signal-type", "labels")
    assert "signal_type is 'depth'; accepted: " in refusal(*arguments, "--signal-type", "depth")


def test_labels_beyond_8_bits(omniup, photo):
    np.save("segments.npy", np.array([[1, 70000], [300, 2]]))
    arguments = ("upsample", photo, "segments.npy", "--labels", "--method", "bilinear", "-o")
    assert omniup(*arguments, "out.npy").status == 0
    assert set(np.unique(np.load("out.npy"))) == {1, 2, 300, 70000}
    np.save("segments.npy", np.array([[1, 700], [300, 2]]))
    assert omniup(*arguments, "out.png").status == 0
    assert _classes("out.png") == {1, 2, 300, 700}


def test_rendered_labels(omniup, photo, mask):
    assert omniup("fit", photo, "--grid", "3x4", "--iters", 1, "-o", "kernels.safetensors").status == 0
    assert omniup("render", "kernels.safetensors", mask, "-o", "out.png").status == 0
    assert _classes("out.png") <= {3, 7, 200}


def test_real_labels(omniup, shared, folder):
    labels = sorted((shared / "data" / "camvid" / "val").glob("*.labels.png"))[0]
    image = labels.with_name(labels.name.replace(".labels.png", ".jpg"))
    full = _open(labels)
    full.resize((60, 45), Image.Resampling.NEAREST).save("small.png")
    agreement = {}
    for method in ("nearest", "joint_bilateral"):
        arguments = ("--labels", "--method", method, "--set", "sigma_x=4", "--set", "sigma_y=4")
        chosen = arguments[:3] if method == "nearest" else arguments
        assert omniup("upsample", image, "small.png", "-o", "out.png", "--overwrite", *chosen).status == 0
        assert _classes("out.png") <= _classes("small.png")
        agreement[method] = (np.array(_open("out.png")) == np.array(full)).mean()
    assert agreement["joint_bilateral"] > agreement["nearest"] > 0.8


def test_integers_of_arrays_must_be_declared(omniup, photo):
    np.save("numbers.npy", np.array([[1, 70000], [300, 2]]))
    outcome = omniup("upsample", photo, "numbers.npy", "-o", "out.npy")
    assert outcome.status == 2
    assert "signal_type is 'auto'" in outcome.stderr and "labels and measurement" in outcome.stderr
    for declared in (("--signal-type", "measurement"), ("--values",), ("--labels",)):
        assert omniup("upsample", photo, "numbers.npy", "-o", "out.npy", "--overwrite", *declared).status == 0
    np.save("mask.npy", np.array([[True, False], [False, True]]))
    assert omniup("upsample", photo, "mask.npy", "-o", "out.npy", "--overwrite").status == 0
    assert np.load("out.npy").dtype == bool


def _classes_in_colour(name, **options):
    """A picture of three classes, drawn in colours as data sets draw them."""
    colours = np.array([[128, 64, 128], [0, 0, 142], [70, 70, 70]], np.uint8)
    classes = np.repeat(np.repeat([[0, 0, 1, 1], [0, 2, 2, 1], [2, 2, 1, 1]], 3, 0), 3, 1)
    Image.fromarray(colours[classes]).save(name, **options)
    return colours, classes


def test_classes_in_colour(omniup, refusal, photo):
    colours, _ = _classes_in_colour("classes.png")
    arguments = ("upsample", photo, "classes.png", "--method", "joint_bilateral", "-o")
    assert "say --labels" in omniup(*arguments, "plain.npy").stderr
    assert np.load("plain.npy").shape == (1, 3, 48, 64)
    outcome = omniup(*arguments, "out.png", "--labels", "--json")
    assert json.loads(outcome.stdout)["signal_type"] == "labels"
    result = _open("out.png")
    assert result.mode == "P"  # with the colours that it came with
    found = np.unique(np.array(result.convert("RGB")).reshape(-1, 3), axis=0)
    assert np.array_equal(found, np.unique(colours, axis=0))
    assert omniup(*arguments, "out.npy", "--labels").status == 0
    assert set(np.unique(np.load("out.npy"))) == {0, 1, 2}  # by their colours, ascending
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)).save("noise.png")
    said = refusal("upsample", photo, "noise.png", "--labels", "-o", "noise.npy")
    assert "noise.png has 768 colours; accepted: colours of classes, at most 256" in said
    assert "say --labels" not in omniup("upsample", photo, "noise.png", "-o", "noise.npy").stderr


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_a_mask_where_one_is_asked_for(omniup, refusal, photo, mode):
    alpha = np.zeros((12, 16), np.uint8)
    alpha[3:9, 4:12] = 200
    alpha[5, 5] = 100
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8))
    picture = picture.convert(mode.removesuffix("A") if mode == "LA" else "RGB")
    picture.putalpha(Image.fromarray(alpha))
    picture.save("cut.png")
    np.save("mask.npy", (alpha >= 128).astype(int))
    for name in ("cut.png", "mask.npy"):
        assert omniup("upsample", photo, name, "-o", f"{name}.out.npy", "--labels").status == 0
    assert np.array_equal(np.load("cut.png.out.npy"), np.load("mask.npy.out.npy"))
    said = refusal("upsample", photo, "cut.png", "-o", "out.npy")
    assert f"is an image of the mode {mode}, not grey, RGB or palette" in said
