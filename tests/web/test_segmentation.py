import io
import json
import logging
import time

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from starlette.testclient import TestClient

from omniup.encoders import Encoding, Mask2Former
from omniup.files import sample_probabilities
from omniup.upsamplers import Bilinear, JointBilateral, PyramidBilateral, UpsampleAnything
from omniup.web import Settings, create_app, segmentation
from omniup.web.segmentation import Segmenter, upsample_probabilities
from support.demo import SMALL, encoded, fields, noise, picture, run, values
from support.kernels import SPEC, cast, random_kernels
from support.mask2former import CLASSES, small_network

WAYS = ("bilinear", "gsjbu", "pyramid")
PICTURES = {"photo", "seg_lr", "boundaries_lr", *(f"{part}_{way}" for part in ("seg", "boundaries") for way in WAYS)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Mask2Former's, as `save_pretrained` writes it."""
    path = tmp_path_factory.mktemp("mask2former")
    small_network().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def client(folder):
    """A server in this process that has weights."""
    with TestClient(create_app(Settings(hosts=(), offline=True, mask2former=str(folder)))) as client:
        yield client


@pytest.fixture(scope="module")
def poor(tmp_path_factory):
    """A server in this process that has none."""
    missing = "nobody/no-such-network"
    with TestClient(create_app(Settings(hosts=(), offline=True, mask2former=missing))) as client:
        yield client


@pytest.fixture
def kernels():
    image = values(np.array(noise(48, 64)))
    return JointBilateral().prepare(image, (6, 8))


def probabilities(classes, grid, *, seed=0):
    drawn = torch.rand(1, classes, *grid, generator=torch.Generator().manual_seed(seed))
    return drawn**4 / (drawn**4).sum(1, keepdim=True)


def test_a_run_segments_where_that_is_asked_for(client, photo):
    answer = run(client, photo, size=96, iters=2, stride=8, segmentation=True, seg_resolution=64)
    assert answer["seg_status"]["state"] == "done"
    found = answer["segmentation"]
    assert found["images"].keys() == PICTURES
    assert all(picture(url).shape == (96, 96, 3) for url in found["images"].values())
    assert (found["H"], found["W"], found["grid"]) == (96, 96, [12, 12])
    assert {each["name"] for each in found["classes"]} <= set(CLASSES)
    shares = [each["share"] for each in found["classes"]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert "64 pixels" in answer["seg_status"]["message"]


def test_pictures_have_the_colours_of_their_classes_and_no_others(client, photo):
    found = run(client, photo, size=96, iters=2, stride=8, segmentation=True, seg_resolution=128)["segmentation"]
    colours = {tuple(bytes.fromhex(each["colour"][1:])): each["share"] for each in found["classes"]}
    assert len(colours) == len(found["classes"])
    for name in ("seg_lr", *(f"seg_{way}" for way in WAYS)):
        assert set(map(tuple, picture(found["images"][name]).reshape(-1, 3).tolist())) <= colours.keys()
    pixels = picture(found["images"]["seg_gsjbu"]).reshape(-1, 3)
    for colour, share in colours.items():
        assert (pixels == colour).all(1).mean() == pytest.approx(share, abs=1e-4)


def test_segmenting_changes_nothing_else(client, photo):
    without, beside = (run(client, photo, **SMALL, segmentation=asked) for asked in (False, True))
    assert (without["seg_status"]["state"], without["segmentation"]) == ("off", None)
    for part in ("images", "metrics", "losses", "parameters"):
        assert without[part] == beside[part]


def test_resolutions_do_not_stick(client, photo):
    coarse, fine, again = (
        run(client, photo, **SMALL, segmentation=True, seg_resolution=resolution)["segmentation"]
        for resolution in (64, 256, 64)
    )
    assert coarse == again
    assert coarse["images"]["seg_lr"] != fine["images"]["seg_lr"] or coarse["classes"] != fine["classes"]


def test_without_weights_the_rest_of_the_run_is_unharmed(poor, photo):
    answer = run(poor, photo, **SMALL, segmentation=True)
    status = answer["seg_status"]
    assert status["state"] == "unavailable"
    assert "nobody/no-such-network" in status["message"]
    assert "\n" not in status["message"]
    assert answer["segmentation"] is None
    expected = run(poor, photo, **SMALL)
    for part in ("images", "metrics", "losses", "parameters"):
        assert answer[part] == expected[part]
    assert poor.get("/api/options").json()["segmentation"] == status


def test_weights_that_were_not_to_be_had_are_not_looked_for_again_at_once(kernels, monkeypatch):
    tries = []

    def missing(model, offline):
        tries.append(model)
        time.sleep(0.3)
        raise segmentation.InputError("network", "does not exist", "one of a hub")

    monkeypatch.setattr(segmentation, "Mask2Former", missing)
    segmenter = Segmenter("somebody/network", offline=False)
    for _ in range(3):
        began = time.monotonic()
        status, segments = segmenter.segment(kernels.guidance, kernels, 64)
        assert (status.state, status.message, segments) == (
            "unavailable",
            "network does not exist; accepted: one of a hub",
            None,
        )
        assert segmenter.status == status
    assert time.monotonic() - began < 0.2
    assert len(tries) == 1


def test_weights_are_looked_for_again_later(kernels, monkeypatch, folder):
    def missing(model, offline):
        raise segmentation.InputError("network", "is not there yet")

    segmenter = Segmenter(str(folder), offline=True)
    with monkeypatch.context() as patch:
        patch.setattr(segmentation, "Mask2Former", missing)
        assert segmenter.segment(kernels.guidance, kernels, 64)[0].state == "unavailable"
    monkeypatch.setattr(segmentation, "AGAIN", 0.0)
    segmenter._refused = time.monotonic() - 1, segmenter._refused[1]
    assert segmenter.segment(kernels.guidance, kernels, 64)[0].state == "done"
    assert segmenter.status.state == "off"
    assert "loaded" in segmenter.status.message


def test_the_network_is_loaded_once(kernels, monkeypatch, folder):
    loaded = []
    monkeypatch.setattr(
        segmentation, "Mask2Former", lambda *args, **named: loaded.append(1) or Mask2Former(*args, **named)
    )
    segmenter = Segmenter(str(folder), offline=True)
    for resolution in (64, 96):
        assert segmenter.segment(kernels.guidance, kernels, resolution)[0].state == "done"
    assert len(loaded) == 1


class Elsewhere:
    """An image that says it lies on another device."""

    def __init__(self, image, kind="cuda"):
        self.image, self.device = image, torch.device(kind)
        self.shape = image.shape

    def cpu(self):
        return self.image


def failing_off_the_cpu(error):
    def network(image, grid):
        if isinstance(image, Elsewhere):
            raise error
        return Encoding(probabilities(5, grid), "mask2former", "random")

    return network


@pytest.mark.parametrize(
    "error", [RuntimeError("no such operation"), torch.OutOfMemoryError("out of memory"), NotImplementedError("on mps")]
)
def test_a_network_that_fails_on_a_device_runs_on_the_cpu(kernels, caplog, error):
    segmenter = Segmenter("any", offline=True)
    with caplog.at_level(logging.WARNING):
        encoding, where = segmenter._encode(failing_off_the_cpu(error), Elsewhere(kernels.guidance), (6, 8))
    assert where == "cpu"
    assert encoding.features.shape == (1, 5, 6, 8)
    assert str(error) in caplog.text


def test_a_network_that_fails_on_the_cpu_fails(kernels):
    def network(image, grid):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        Segmenter("any", offline=True)._encode(network, kernels.guidance, (6, 8))


def test_a_network_that_fails_everywhere_leaves_the_run_unharmed(client, photo, monkeypatch):
    def broken(self, image, grid=None):
        raise RuntimeError("broken")

    monkeypatch.setattr(Mask2Former, "__call__", broken)
    answer = run(client, photo, **SMALL, segmentation=True)
    assert answer["seg_status"]["state"] == "unavailable"
    assert "broken" in answer["seg_status"]["message"]
    assert answer["segmentation"] is None


@pytest.mark.parametrize("classes", [1, 2, 7, 150])
def test_probabilities_are_mixed_and_then_the_likeliest_class_wins(classes):
    kernels = cast(random_kernels((20, 30), (4, 6), SPEC, seed=1), torch.float32)
    low = probabilities(classes, (4, 6))
    names = tuple(f"class {index}" for index in range(classes))
    segments = upsample_probabilities(low, names, kernels, "drawn")
    signal_type = "probabilities" if classes > 1 else "values"
    ways = {
        "bilinear": Bilinear().prepare(kernels.guidance, (4, 6)).render(low),
        "gsjbu": kernels.render(low),
        "pyramid": PyramidBilateral().prepare(kernels.guidance, (4, 6)).render(low, signal_type),
    }
    assert segments.high.keys() == ways.keys()
    for way, mixed in ways.items():
        assert_array_equal(segments.high[way], mixed.argmax(1, keepdim=True))
    assert_array_equal(segments.low, low.argmax(1, keepdim=True))
    assert (segments.classes, segments.source) == (names, "drawn")


@pytest.mark.parametrize("seed", range(5))
def test_no_class_is_likeliest_that_was_not_there(seed):
    kernels = cast(random_kernels((24, 24), (5, 5), SPEC, seed=seed), torch.float32)
    low = probabilities(8, (5, 5), seed=seed)
    low[:, [1, 4, 7]] = 0  # nobody sees these anywhere
    segments = upsample_probabilities(low / low.sum(1, keepdim=True), tuple("abcdefgh"), kernels, "drawn")
    drawn = segmentation.segmentation(segments)
    for labels in segments.high.values():
        assert not set(labels.unique().tolist()) & {1, 4, 7}
    assert not {each.name for each in drawn.classes} & {"b", "e", "h"}


def test_a_class_that_is_the_likeliest_nowhere_is_not_told_of():
    kernels = cast(random_kernels((24, 24), (5, 5), SPEC), torch.float32)
    low = torch.tensor([0.5, 0.3, 0.2]).view(1, 3, 1, 1).expand(1, 3, 5, 5)
    drawn = segmentation.segmentation(upsample_probabilities(low, ("a", "b", "c"), kernels, "drawn"))
    assert [(each.name, each.share) for each in drawn.classes] == [("a", 1.0)]


def test_boundaries_are_drawn_over_the_photograph():
    image = torch.full((1, 3, 16, 16), 0.5)
    low = torch.zeros(1, 2, 4, 4)
    low[:, 0, :, :2] = low[:, 1, :, 2:] = 1
    kernels = UpsampleAnything(iterations=0).prepare(image, (4, 4))
    drawn = segmentation.segmentation(upsample_probabilities(low, ("left", "right"), kernels, "drawn"))
    pixels = picture(drawn.images["boundaries_bilinear"])
    assert_array_equal(picture(drawn.images["photo"]), np.full((16, 16, 3), 128))
    changed = (pixels != 128).any(2)
    assert changed.any(1).all()  # from top to bottom
    assert not changed[:, :5].any()
    assert not changed[:, 11:].any()


def test_the_bundled_example_can_always_be_seen(poor):
    first, second = (poor.get("/api/segmentation/example") for _ in range(2))
    assert first.status_code == 200
    assert first.content == second.content
    found, sample = first.json(), sample_probabilities()
    assert found["images"].keys() == PICTURES
    assert (found["H"], found["W"]) == sample.image.shape[2:]
    assert all(picture(url).shape == (found["H"], found["W"], 3) for url in found["images"].values())
    assert found["source"] == sample.source
    names = [each["name"] for each in found["classes"]]
    assert set(names) <= set(sample.classes)
    assert len(names) > 2
    assert_array_equal(picture(found["images"]["photo"]), np.asarray(values_of(sample.image)))


def post_mask(client, image, mask, **config):
    files = {"image": image, "mask": mask}
    return client.post("/api/mask", files=files, data={"config": json.dumps(config)})


@pytest.fixture(scope="module")
def disc():
    """A photograph of a dark disc, and a mask that is drawn over it roughly."""
    y, x = np.mgrid[:96, :128]
    inside = np.hypot(y - 48, x - 64) < 34
    photo = np.where(inside, 40, 200).astype(np.uint8)
    rough = np.where(np.maximum(abs(y - 48), abs(x - 64)) < 30, 255, 0).astype(np.uint8)
    return encoded(Image.fromarray(photo).convert("RGB")), encoded(Image.fromarray(rough)), inside


def test_a_drawn_mask_is_upsampled_from_its_cells(client, disc):
    photo, mask, inside = disc
    found = post_mask(client, photo, mask, size=128, stride=8, shape="keep").json()
    assert found["images"].keys() == PICTURES
    assert (found["H"], found["W"], found["grid"]) == (96, 128, [12, 16])
    assert {each["name"] for each in found["classes"]} == {"background", "drawn"}
    colour = next(each["colour"] for each in found["classes"] if each["name"] == "drawn")
    drawn = {way: (picture(found["images"][f"seg_{way}"]) == rgb(colour)).all(2) for way in WAYS}
    overlap = {way: (mask & inside).sum() / (mask | inside).sum() for way, mask in drawn.items()}
    assert overlap["pyramid"] > overlap["bilinear"]
    assert overlap["pyramid"] > 0.85


def rgb(colour):
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def test_masks_of_any_size_cover_the_whole_photograph(client, disc):
    photo, mask, _ = disc
    small = encoded(Image.open(io.BytesIO(mask)).resize((32, 24), Image.Resampling.BOX))
    answers = [post_mask(client, photo, each, size=128, stride=16, shape="keep").json() for each in (mask, small)]
    assert answers[0]["images"]["seg_lr"] == answers[1]["images"]["seg_lr"]


def test_masks_that_are_no_pictures_are_refused(client, disc):
    assert fields(post_mask(client, disc[0], b"no picture")) == {"mask"}
    assert fields(post_mask(client, b"no picture", disc[1])) == {"image"}


def values_of(image):
    return (255 * image[0].permute(1, 2, 0)).round().byte()


def test_the_example_s_boundaries_follow_the_photograph_better_by_gsjbu(poor):
    from omniup.evaluation import edge_spread

    images = {name: picture(url) for name, url in poor.get("/api/segmentation/example").json()["images"].items()}
    photo = values(images["photo"])
    spread = {way: edge_spread(values(images[f"seg_{way}"]), photo) for way in WAYS}
    assert spread["pyramid"] < spread["bilinear"]
    assert spread["gsjbu"] < spread["bilinear"]
