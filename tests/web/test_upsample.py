import json
import pickle
import threading
from io import BytesIO
from uuid import uuid4

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image
from safetensors.numpy import save
from starlette.testclient import TestClient

import omniup
from omniup.files import image_tensor
from omniup.upsamplers import SIGNAL_TYPES, PreparedImage, registry
from omniup.upsamplers.registry import register
from omniup.visualize import class_colours
from omniup.web import Settings, create_app
from support.demo import array, encoded, events, fields, noise, npy, picture, post_upsample, upsample

HEIGHT, WIDTH, GRID = 48, 64, (6, 8)
IMAGE = noise(HEIGHT, WIDTH)
QUICK = {"method": "upsample_anything", "settings": {"preset": "paper", "iterations": 2}}
VALUES = 2**20
METHODS = sorted(omniup.methods().keys() - {"anyup", "ensemble"})  # whose weights would be fetched


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, *GRID)).astype(np.float32)


@pytest.fixture(scope="module")
def client():
    """A server in this process, whose exceptions are raised here."""
    limits = {"values": VALUES, "upload_bytes": 2**22, "queue": 4}
    with TestClient(create_app(Settings(hosts=(), offline=True, patience=1, **limits))) as client:
        yield client


@pytest.fixture(scope="module")
def image():
    return encoded(IMAGE)


def drawn(client, answer):
    """The pixels of the result's picture."""
    with Image.open(BytesIO(client.get(answer["files"]["result.png"]).content)) as picture:
        return np.array(picture.convert("RGB"))


def expected(signal, method="pyramid_bilateral", **settings):
    return omniup.upsample(image_tensor(IMAGE), torch.from_numpy(signal), method=method, **settings)


@pytest.mark.parametrize("method", ["anyup", "ensemble"])
def test_published_weights_bring_a_signal_up(client, image, method, shared, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/anyup_paper.pth").symlink_to((shared / "weights/anyup_paper.pth").resolve())
    signal = numbers(5)
    answer = upsample(client, image, npy(signal), method=method, settings={"weights": "paper"})
    result = array(client, answer, "result.npy")
    torch.testing.assert_close(result, expected(signal[None], method, weights="paper"), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("given", "steps"), [(0.5, 0.5), ("full", "full"), ("none", None), ("auto", "auto")])
def test_steps_of_consistency(client, image, given, steps):
    signal = numbers(5)
    answer = upsample(client, image, npy(signal), method="joint_bilateral", consistency=given)
    result = array(client, answer, "result.npy")
    wanted = expected(signal[None], "joint_bilateral", consistency=steps)
    torch.testing.assert_close(result, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("consistency", ["none", 1])
def test_the_confidence_of_the_result(client, image, consistency):
    signal, steps = numbers(1), None if consistency == "none" else consistency
    signal[0, :2, :2] = 0
    region = {"left": 8, "top": 0, "width": 64, "height": 48}
    given = {"method": "joint_bilateral", "consistency": consistency, "invalid": [0], "region": region}
    answer = upsample(client, image, npy(signal), **given)
    valid, options = torch.from_numpy(signal != 0)[None], {"consistency": steps, "region": (0, 8, 48, 64)}
    wanted = expected(signal[None], "joint_bilateral", valid=valid, confidence=True, **options)
    torch.testing.assert_close(array(client, answer, "result.npy"), wanted.result, atol=1e-4, rtol=1e-4)
    trust = array(client, answer, "confidence.npy")
    torch.testing.assert_close(trust, wanted.confidence, atol=1e-3, rtol=0)
    with Image.open(BytesIO(client.get(answer["files"]["confidence.png"]).content)) as grey:
        assert_array_equal(np.array(grey), (255 * trust[0, 0]).round().numpy().astype(np.uint8))
    key = answer["confidence"]
    assert (key["low"], key["high"]) == (0, 1)
    stops = np.array([[int(colour[n : n + 2], 16) for n in (1, 3, 5)] for colour in key["colours"]])  # [17, 3]
    colours = picture(answer["images"]["confidence"]).reshape(-1, 3).astype(int)
    for place in (trust.argmin(), trust.argmax()):
        assert np.abs(colours[place] - stops[(16 * trust.flatten()[place]).round().int()]).max() < 16


@pytest.mark.parametrize("given", ["half", -1, 33, None])
def test_what_is_no_number_of_steps_is_refused(client, image, given):
    answer = post_upsample(client, image, npy(numbers(2)), consistency=given)
    assert answer.status_code == 422
    assert any("consistency" in name for name in fields(answer))


@pytest.mark.parametrize("weights", ["/etc/passwd", "weights.pth", "file:///etc/passwd", ["paper"], None])
def test_weights_from_elsewhere_are_refused(client, image, weights):
    answer = post_upsample(client, image, npy(numbers(2)), method="anyup", settings={"weights": weights})
    assert fields(answer) == {"config.settings.weights"}
    assert "accepted: paper, multi_backbone" in answer.text


def test_which_settings_are_paths_is_the_registry_s_to_say(client, image, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))
    built = []

    @register("by_recipe", "does as a file says", paths={"recipe": ["usual", "fast"]})
    def build(recipe="usual", radius=1):
        built.append((recipe, radius))
        return omniup.upsamplers.Nearest()

    for recipe in ("usual", "fast"):
        upsample(client, image, npy(numbers(2)), method="by_recipe", settings={"recipe": recipe, "radius": 3})
    assert built == [("usual", 3), ("fast", 3)]
    answer = post_upsample(client, image, npy(numbers(2)), method="by_recipe", settings={"recipe": str(tmp_path)})
    assert fields(answer) == {"config.settings.recipe"}
    assert "accepted: usual, fast" in answer.text
    assert len(built) == 2


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_what_the_library_gives(client, image, method, channels):
    signal = numbers(channels)
    settings = QUICK["settings"] if method == "upsample_anything" else {}
    answer = upsample(client, image, npy(signal), method=method, settings=settings)
    result = array(client, answer, "result.npy")
    torch.testing.assert_close(result, expected(signal[None], method, **settings), atol=1e-4, rtol=1e-4)
    assert (answer["shape"], answer["grid"]) == ([1, channels, HEIGHT, WIDTH], [*GRID])
    assert answer["method"] == method
    assert answer["kind"] == ("map" if channels == 1 else "features")
    assert answer["signal_type"] == ("measurement" if channels == 1 else "features")
    assert drawn(client, answer).shape == (HEIGHT, WIDTH, 3)
    assert ("kernels.safetensors" in answer["files"]) == (method in ("upsample_anything", "joint_bilateral"))


def test_a_picture_s_channels_come_first(client, image):
    """Three frames in colour, 9 channels, of a size that an array might have with channels last."""
    frames = [noise(12, 16, seed=seed) for seed in range(3)]
    pixels = np.concatenate([np.array(frame, np.float32).transpose(2, 0, 1) for frame in frames])  # [9, 12, 16]
    assert fields(post_upsample(client, image, npy(pixels))) == {"signal"}
    animation = encoded(frames[0], save_all=True, append_images=frames[1:], duration=50)
    answer = upsample(client, image, animation, method="nearest")
    assert (answer["shape"], answer["grid"]) == ([1, 9, HEIGHT, WIDTH], [12, 16])


def test_settings_reach_the_method(client, image):
    signal, changes = numbers(2), {"sigma_x": 5, "sigma_y": 3.5, "theta": 0.4, "sigma_r": 0.5, "radius": 1}
    answer = upsample(client, image, npy(signal), method="joint_bilateral", settings=changes)
    result = array(client, answer, "result.npy")
    torch.testing.assert_close(result, expected(signal[None], "joint_bilateral", **changes))
    assert not torch.allclose(result, expected(signal[None], "joint_bilateral"), atol=1e-3)


def test_a_preset_is_a_setting_too(client, image):
    signal, settings = numbers(2), {"preset": "spec", "iterations": 2}
    answer = upsample(client, image, npy(signal), method="upsample_anything", settings=settings)
    result = array(client, answer, "result.npy")
    torch.testing.assert_close(result, expected(signal[None], "upsample_anything", **settings), atol=1e-4, rtol=1e-4)


def test_the_default_method_is_the_library_s(client, image):
    signal = numbers(3)
    answer = upsample(client, image, npy(signal))
    assert answer["method"] == "pyramid_bilateral"
    result = array(client, answer, "result.npy")
    given = torch.from_numpy(signal[None])
    torch.testing.assert_close(result, omniup.upsample(image_tensor(IMAGE), given), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("signal_type", [name for name in SIGNAL_TYPES if name not in ("labels", "probabilities")])
def test_a_declared_type_is_the_library_s(client, image, signal_type):
    signal = numbers(3)
    answer = upsample(client, image, npy(signal), signal_type=signal_type)
    assert answer["signal_type"] == signal_type
    result = array(client, answer, "result.npy")
    torch.testing.assert_close(result, expected(signal[None], signal_type=signal_type), atol=1e-4, rtol=1e-4)


def test_labels_and_a_signal_type_must_agree(client, image):
    labels = npy(np.random.default_rng(0).integers(0, 3, GRID))
    for said in ({"labels": True}, {"signal_type": "labels"}, {"labels": True, "signal_type": "labels"}):
        assert upsample(client, image, labels, method="nearest", **said)["signal_type"] == "labels"
    for said in ({"labels": False}, {"labels": False, "signal_type": "measurement"}):
        assert upsample(client, image, labels, method="nearest", **said)["signal_type"] == "measurement"
    for labelled, signal_type in ((True, "features"), (False, "labels")):
        answer = post_upsample(client, image, labels, method="nearest", labels=labelled, signal_type=signal_type)
        assert fields(answer) == {"config"}


def test_what_is_not_of_the_declared_type_is_refused(client, image):
    answer = post_upsample(client, image, npy(numbers(3)), signal_type="probabilities")
    assert fields(answer) == {"signal"}
    assert "signal holds no probabilities" in answer.text


def test_the_kernels_can_be_taken_along(client, image, tmp_path):
    signal = numbers(3)
    answer = upsample(client, image, npy(signal), **QUICK)
    path = tmp_path / "kernels.safetensors"
    path.write_bytes(client.get(answer["files"]["kernels.safetensors"]).content)
    rendered = omniup.GaussianKernels.load(path).render(torch.from_numpy(signal[None]))
    torch.testing.assert_close(rendered, array(client, answer, "result.npy"), atol=1e-5, rtol=1e-5)


def test_a_fit_tells_its_progress(client, image):
    run_id = str(uuid4())
    answer = upsample(
        client, image, npy(numbers(1)), run_id=run_id, method="upsample_anything", settings={"iterations": 5}
    )
    assert answer["run_id"] == run_id
    told = list(events(client, run_id))
    assert [event["iteration"] for event in told if "iteration" in event] == [1, 2, 3, 4, 5]
    assert told[-1] == {"stage": "done"}


@pytest.mark.parametrize("shape", [(), (3,), (1, 3)], ids=["h w", "C h w", "1 C h w"])
def test_arrays_of_all_ranks(client, image, shape):
    signal = numbers(*shape)
    answer = upsample(client, image, npy(signal), method="bilinear")
    low = torch.from_numpy(signal).reshape(1, -1, *GRID)
    torch.testing.assert_close(array(client, answer, "result.npy"), expected(low.numpy(), "bilinear"))


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int64", "bool", ">f4"])
def test_arrays_of_all_types(client, image, dtype):
    signal = (10 * numbers(1)).astype(dtype)
    declared = {"uint8": {"signal_type": "measurement"}, "int64": {"labels": False}}.get(dtype, {})
    answer = upsample(client, image, npy(signal), method="nearest", **declared)
    assert answer["kind"] == ("labels" if dtype == "bool" else "map")
    result = array(client, answer, "result.npy").float()
    torch.testing.assert_close(result, expected(signal[None].astype(np.float32), "nearest"))


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_integers_must_be_declared(client, image, dtype):
    answer = post_upsample(client, image, npy((10 * numbers(1)).astype(dtype)))
    assert fields(answer) == {"signal"}
    assert "labels and measurement" in answer.text


def test_labels_have_one_channel(client, image):
    assert fields(post_upsample(client, image, npy(numbers(3) > 0))) == {"signal"}


def test_an_archive_s_arrays_have_names(client, image):
    signals, archive = {"a": numbers(2), "b": numbers(3, seed=1)}, BytesIO()
    np.savez(archive, **signals)
    for file in (archive.getvalue(), save(signals)):
        for name, signal in signals.items():
            answer = upsample(client, image, file, method="nearest", name=name)
            assert array(client, answer, "result.npy").equal(expected(signal[None], "nearest"))
        for name in (None, "c", "../a", ""):
            assert fields(post_upsample(client, image, file, method="nearest", name=name)) == {"signal"}


def test_an_archive_of_one_array_needs_no_name(client, image):
    archive = BytesIO()
    np.savez(archive, features=numbers(2))
    assert upsample(client, image, archive.getvalue(), method="nearest")["shape"] == [1, 2, HEIGHT, WIDTH]


def test_depth_of_16_bits(client, image):
    depth = np.random.default_rng(0).integers(300, 60_000, GRID, dtype=np.uint16)
    answer = upsample(client, image, encoded(Image.fromarray(depth)), **QUICK)
    result = array(client, answer, "result.npy")
    assert answer["kind"] == "map"
    assert result.shape == (1, 1, HEIGHT, WIDTH)
    assert depth.min() - 0.1 <= result.min() <= result.max() <= depth.max() + 0.1
    assert (answer["scale"]["low"], answer["scale"]["high"]) == (depth.min(), depth.max())


@pytest.mark.parametrize("hole", [0, "nan"])
def test_holes_do_not_count(client, image, hole):
    valid = np.random.default_rng(0).random(GRID) > 0.3
    depth = np.where(valid, 1000 + np.arange(GRID[1]), float(hole)).astype(np.float32)
    result = array(client, upsample(client, image, npy(depth), invalid=[hole]), "result.npy")
    mask = torch.from_numpy(valid)[None, None]
    filled = torch.from_numpy(np.where(valid, depth, 0).astype(np.float32))[None, None]
    assert torch.equal(result, omniup.upsample(image_tensor(IMAGE), filled, valid=mask))


def test_tokens_and_channels_last(client, image):
    signal = numbers(30)
    given = {"grid": GRID}, {"layout": "channels_last"}
    arrays = signal.reshape(30, -1).T[None], np.moveaxis(signal, 0, 2)
    for array_, options in zip(arrays, given, strict=True):
        result = array(client, upsample(client, image, npy(np.ascontiguousarray(array_)), **options), "result.npy")
        torch.testing.assert_close(result, expected(signal[None]))


def test_void_labels_are_ignored(client, image):
    labels = np.full(GRID, 4, np.int16)
    labels[2:4, 3:] = 255
    result = array(client, upsample(client, image, npy(labels), labels=True, invalid=[255]), "result.npy")
    assert result.unique().tolist() == [4]


def test_numbers_of_holes_are_checked(client, image):
    answer = post_upsample(client, image, npy(numbers(1)), invalid=["deep"])
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["argument"] == "invalid"
    assert answer.json()["detail"][0]["msg"] == "Input should be a valid number, unable to parse string as a number"


def labels_of(palette):
    """A palette picture of the labels 3, 7 and 200."""
    labels = np.random.default_rng(0).choice(np.array([3, 7, 200], dtype=np.uint8), GRID)
    image = Image.fromarray(labels)
    image.putpalette(palette)
    return image


@pytest.mark.parametrize("method", METHODS)
def test_labels_are_never_mixed_into_new_ones(client, image, method):
    colours = [(37 * index) % 256 for index in range(768)]
    settings = QUICK["settings"] if method == "upsample_anything" else {}
    answer = upsample(client, image, encoded(labels_of(colours)), method=method, settings=settings)
    result = array(client, answer, "result.npy")
    assert (answer["kind"], answer["signal_type"]) == ("labels", "labels")
    assert result.dtype == torch.int64
    assert set(result.unique().tolist()) == {3, 7, 200}
    pixels, table = drawn(client, answer), np.array(colours, dtype=np.uint8).reshape(256, 3)
    assert_array_equal(pixels, table[result[0, 0].numpy()])
    assert answer["scale"] is None


def test_labels_by_nearest_are_those_of_their_cells(client, image):
    labels = labels_of([index % 256 for index in range(768)])
    answer = upsample(client, image, encoded(labels), method="nearest")
    expected = np.kron(np.array(labels), np.ones((8, 8), dtype=np.int64))
    assert_array_equal(array(client, answer, "result.npy")[0, 0], expected)


def test_a_palette_that_ends_early(client, image):
    labels = Image.fromarray(np.random.default_rng(0).integers(0, 4, GRID, dtype=np.uint8))
    labels.putpalette([255, 0, 0, 0, 255, 0])
    pixels = drawn(client, upsample(client, image, encoded(labels), method="nearest"))
    assert {(255, 0, 0), (0, 255, 0)} <= set(map(tuple, pixels.reshape(-1, 3).tolist()))


def test_whole_numbers_are_labels_where_that_is_said(client, image):
    labels = np.random.default_rng(0).choice([-5, 0, 10**12], GRID)
    answer = upsample(client, image, npy(labels), method="joint_bilateral", labels=True)
    assert answer["kind"] == "labels"
    assert set(array(client, answer, "result.npy").unique().tolist()) == {-5, 0, 10**12}
    assert upsample(client, image, npy(labels.clip(0, 9)), method="bilinear", labels=False)["kind"] == "map"
    palette = encoded(labels_of([0] * 768))
    assert upsample(client, image, palette, method="bilinear", labels=False)["kind"] == "map"
    assert upsample(client, image, palette, method="bilinear", signal_type="measurement")["kind"] == "map"


def test_what_cannot_be_labels_is_refused(client, image):
    photograph = encoded(noise(24, 32))  # of more colours than there are classes
    for signal in (npy(numbers(1)), npy(np.zeros((2, *GRID), dtype=np.int64)), photograph):
        assert fields(post_upsample(client, image, signal, method="nearest", labels=True)) == {"signal"}


def test_colours(client, image):
    low = noise(*GRID, seed=5)
    answer = upsample(client, image, encoded(low), method="nearest")
    assert answer["kind"] == "colours"
    assert_array_equal(drawn(client, answer), np.asarray(low.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)))
    unit = np.asarray(low).transpose(2, 0, 1).astype(np.float32) / 255
    answer = upsample(client, image, npy(unit), method="nearest")
    assert answer["kind"] == "colours"
    assert_array_equal(drawn(client, answer), np.asarray(low.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)))


def test_probabilities_are_drawn_by_the_likeliest_class(client, image):
    probabilities = np.random.default_rng(0).dirichlet([0.3] * 4, GRID).transpose(2, 0, 1).astype(np.float32)
    answer = upsample(client, image, npy(probabilities), method="joint_bilateral")
    result = array(client, answer, "result.npy")
    assert (answer["kind"], answer["signal_type"]) == ("probabilities", "probabilities")
    assert torch.allclose(result.sum(1), torch.ones(1, HEIGHT, WIDTH), atol=1e-4)
    assert_array_equal(drawn(client, answer), class_colours(4)[result.argmax(1)[0].numpy()])


def test_the_answer_s_pictures_are_of_one_size(client):
    big, low = encoded(noise(300, 900)), npy(numbers(2))
    answer = upsample(client, big, low, method="nearest", layout="channels_first")
    assert {picture(url).shape for url in answer["images"].values()} == {(171, 512, 3)}
    assert drawn(client, answer).shape == (300, 900, 3)


def test_a_signal_of_the_image_s_own_size(client, image):
    signal = np.random.default_rng(0).random((2, HEIGHT, WIDTH), dtype=np.float32)
    answer = upsample(client, image, npy(signal), method="bilinear")
    torch.testing.assert_close(array(client, answer, "result.npy")[0].numpy(), signal)


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e15, 1e30, 1e38, 3e38])
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("method", ["bilinear", "bicubic", "guided_filter", "pyramid_bilateral"])
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_numbers_of_all_sizes_are_served_or_refused(client, image, method, channels, scale):
    signal = (scale * np.random.default_rng(0).uniform(-1, 1, (channels, *GRID))).astype(np.float32)
    answer = post_upsample(client, image, npy(signal), method=method)
    if scale > 1e30:
        assert fields(answer) == {"signal"}
    else:
        assert array(client, answer.json(), "result.npy").isfinite().all()


def test_too_many_channels_are_refused(client, image):
    most = VALUES // (HEIGHT * WIDTH)
    assert upsample(client, image, npy(numbers(most)), method="nearest")["shape"][1] == most
    answer = post_upsample(client, image, npy(numbers(most + 1)), method="nearest")
    assert fields(answer) == {"signal"}
    assert f"accepted: up to {VALUES} values" in answer.text


def pickled():
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("a pickle was run",)

    file = BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue(), pickle.dumps([1, 2, 3])


@pytest.mark.parametrize(
    "signal",
    [
        npy(numbers(2, 3)),
        npy(np.full((1, *GRID), np.nan)),
        npy(np.full((1, *GRID), np.inf)),
        npy(np.zeros((1, *GRID), dtype=complex)),
        npy(np.zeros((0, *GRID))),
        npy(np.zeros(5)),
        npy(np.zeros((1, 1, 1, 2, 2))),
        npy(np.zeros((2, HEIGHT + 1, 8))),
        npy(np.zeros((2, 6, WIDTH + 1))),
        npy(np.array([["a", "b"], ["c", "d"]])),
        npy(numbers(2))[:-1],
        npy(numbers(2))[:40],
        *pickled(),
        b"",
        b"text",
        b"\x93NUMPY",
        encoded(noise(*GRID, mode="RGBA")),
        encoded(noise(*GRID))[:100],
        encoded(noise(*GRID).convert("P"))[:-30],  # its palette is whole, its pixels are cut off
    ],
    ids=lambda signal: f"{len(signal)} bytes",
)
def test_signals_that_cannot_be_accepted_are_refused(client, image, signal):
    assert fields(post_upsample(client, image, signal, method="bilinear")) == {"signal"}


def test_an_array_that_declares_more_than_it_has_is_refused(client, image):
    for shape in ((1, 10**6, 10**6), (2**40, 1, 1), (1, 2**62, 2**62)):
        file = BytesIO()
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        assert fields(post_upsample(client, image, file.getvalue() + bytes(100), method="nearest")) == {"signal"}


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"method": "lanczos"}, "config"),
        ({"method": ""}, "config"),
        ({"method": "bilinear", "settings": {"radius": 2}}, "config.settings.radius"),
        ({"settings": {"iteration": 2}}, "config.settings.iteration"),
        ({"settings": {"iterations": 2.5}}, "config.settings.iterations"),
        ({"settings": {"iterations": "2"}}, "config.settings.iterations"),
        ({"settings": {"iterations": -1}}, "config.settings.iterations"),
        ({"settings": {"iterations": True}}, "config.settings.iterations"),
        ({"settings": {"iterations": 100_000, "radius": 16}}, "config"),
        ({"settings": {"lr": None}}, "config.settings.lr"),
        ({"settings": {"sigma": [16]}}, "config.settings.sigma"),
        ({"settings": {"sigma": 10**400}}, "config.settings.sigma"),
        ({"settings": {"sigma_limits": [2]}}, "config.settings.sigma_limits"),
        ({"settings": {"sigma_limits": [2, "3"]}}, "config.settings.sigma_limits"),
        ({"settings": {"sigma_limits": {}}}, "config.settings.sigma_limits"),
        ({"settings": {"preset": "mine"}}, "config.settings.preset"),
        ({"settings": {"preset": ["paper"]}}, "config.settings.preset"),
        ({"settings": {"window": ["disc"]}}, "config.settings.window"),
        ({"method": "guided_filter", "settings": {"eps": 0}}, "config.settings.eps"),
        ({"method": "joint_bilateral", "settings": {"radius": 10**6}}, "config.settings.radius"),
        ({"settings": {"method": "bilinear"}}, "config.settings.method"),
        ({"settings": {"self": 1}}, "config.settings.self"),
        ({"settings": {"image": 1, "signal": 2, "size": [4, 4], "memory": 1}}, "config.settings.image"),
        ({"settings": {"": 1}}, "config.settings."),
        ({"method": "pyramid_bilateral", "settings": {"radius": 99}}, "config.settings.radius"),
        ({"device": "tpu"}, "config.device"),
        ({"labels": 3}, "config.labels"),
        ({"signal_type": "depth"}, "config.signal_type"),
        ({"more": 1}, "config.more"),
        ({"settings": 3}, "config.settings"),
        ({"run_id": "mine"}, "config.run_id"),
        ([], "config"),
        (3, "config"),
        ("text", "config"),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_settings_that_cannot_be_accepted_are_refused(client, image, config, field):
    files = {"image": image, "signal": npy(numbers(1))}
    if isinstance(config, dict):
        config = {"method": "upsample_anything", **config}
    answer = client.post("/api/upsample", files=files, data={"config": json.dumps(config)})
    assert fields(answer) == {field}


def test_a_device_that_is_not_there_is_refused(client, image):
    missing = "cuda" if not torch.cuda.is_available() else "mps"
    answer = post_upsample(client, image, npy(numbers(1)), method="nearest", device=missing)
    assert fields(answer) == {"config.device"}
    assert "accepted: cpu" in answer.text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
PLAUSIBLE = {
    int: st.integers(0, 20),
    float: st.floats(0, 1) | st.floats(0, 100) | st.sampled_from([1e-6, 1e-3, 1e3, 1e6]),
    tuple: st.tuples(st.floats(1e-6, 10), st.floats(10, 100)) | st.none(),
    type(None): st.none() | st.floats(0, 4),
    "window": st.sampled_from(["square", "disc"]),
    "positive": st.sampled_from(["softplus", "exp"]),
    "downsample": st.sampled_from(["bilinear", "bicubic"]),
    "theta_penalty": st.sampled_from(["absolute", "variation"]),
    "power": st.sampled_from([1, 2, 4, 8, 16, 32, 64]),
    "preset": st.sampled_from(["spec", "paper"]),
}


@st.composite
def requests(draw):
    """A method and settings of it: mostly such as it might have, now and then anything."""
    method = draw(st.sampled_from([*METHODS, *3 * ["upsample_anything"]]))
    known = omniup.methods()[method].settings
    settings = {}
    for name in draw(st.lists(st.sampled_from(sorted(known)), max_size=6, unique=True)) if known else ():
        anything = draw(st.integers(0, 15)) == 0
        settings[name] = draw(json_values if anything else PLAUSIBLE.get(name, PLAUSIBLE.get(type(known[name]))))
    if draw(st.integers(0, 15)) == 0:
        settings[draw(st.sampled_from(["method", "self"]) | st.text(max_size=5))] = draw(json_values)
    if method == "upsample_anything":
        settings["iterations"] = draw(st.integers(0, 8))
    return {"method": method, "settings": settings}


@given(requests())
def test_any_settings_are_served_or_refused(client, config):
    files = {"image": encoded(noise(12, 16)), "signal": npy(np.arange(12, dtype=np.float32).reshape(1, 3, 4))}
    answer = client.post("/api/upsample", files=files, data={"config": json.dumps(config)})
    if answer.status_code == 200:
        assert array(client, answer.json(), "result.npy").isfinite().all()
    else:
        assert fields(answer) <= {"config", *(f"config.settings.{name}" for name in config["settings"])}


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 10, "positive": "exp", "sigma_limits": None, "sigma_r_limits": None},
        {"lr": 10, "preset": "paper"},
        {"lr": 1, "preset": "paper", "lr_decay": 1, "sigma_r": 1e-3},
    ],
    ids=str,
)
def test_a_fit_that_diverges_names_the_config(client, image, settings):
    answer = post_upsample(
        client, image, npy(numbers(1)), method="upsample_anything", settings={"iterations": 60, **settings}
    )
    if answer.status_code != 200:
        assert fields(answer) <= {"config", "config.settings.lr"}


def test_many_labels_can_be_cancelled(client, monkeypatch):
    render, parts, begun, cancelled = PreparedImage._render_one_hot, [], threading.Event(), threading.Event()

    def render_a_part(*arguments, **named):
        if parts:  # the second waits for the cancel
            begun.set()
            assert cancelled.wait(30)
        parts.append(render(*arguments, **named))
        return parts[-1]

    monkeypatch.setattr(PreparedImage, "_render_one_hot", render_a_part)
    # as many labels as cells: a few are rendered at a time
    labels, run_id, answers = np.arange(48 * 48).reshape(48, 48), uuid4(), []
    config = {"run_id": str(run_id), "labels": True, "method": "joint_bilateral"}
    big = encoded(noise(400, 600))
    asking = threading.Thread(target=lambda: answers.append(post_upsample(client, big, npy(labels), **config)))
    asking.start()
    assert begun.wait(30)
    client.delete(f"/api/runs/{run_id}")
    cancelled.set()
    asking.join()
    assert len(parts) == 1  # of dozens: the second ends between two tiles
    assert answers[0].status_code == 409


def test_an_answer_s_files_go_with_the_run(client, image):
    answer = upsample(client, image, npy(numbers(1)), method="nearest")
    pairs = {f"{name}.{suffix}" for name in ("result", "confidence") for suffix in ("npy", "png")}
    assert set(answer["files"]) == pairs | {"result_16bit.png", "result.tif"}
    assert client.delete(f"/api/runs/{answer['run_id']}").status_code == 204
    assert {client.get(url).status_code for url in answer["files"].values()} == {404}


def test_a_missing_file_is_named(client, image):
    assert fields(client.post("/api/upsample", files={"image": image})) == {"signal"}
    assert fields(client.post("/api/upsample", files={"signal": npy(numbers(1))})) == {"image"}
    assert fields(post_upsample(client, b"text", npy(numbers(1)), method="nearest")) == {"image"}
