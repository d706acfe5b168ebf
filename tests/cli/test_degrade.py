import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from omniup.files import read_image
from omniup.restoration.degradation import Degradation


@pytest.fixture
def photos(folder):
    """A folder with three pictures, one of them below, a label map of one, and a text."""
    random = np.random.default_rng(0)
    sizes = {"a.png": (40, 50), "b.jpg": (30, 20), "b.segments.png": (30, 20), "below/deep/c.webp": (24, 24)}
    for name, size in sizes.items():
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)
    Path("photos/notes.txt").write_text("not a picture")
    return Path("photos")


def files(folder):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def contents(folder):
    return {name: Path(folder, name).read_bytes() for name in files(folder)}


def records(folder):
    return [json.loads(line) for line in Path(folder, "record.jsonl").read_text().splitlines()]


PAIRS = {f"{kind}/{name}.png" for kind in ("gt", "lq") for name in ("a", "b", "below/deep/c")}


def test_pairs_in_folders_like_those_they_come_from(omniup, photos):
    outcome = omniup("degrade", "photos", "deep/out", "--seed", 3, "--json")
    assert outcome.status == 0, outcome
    assert files("deep/out") == PAIRS | {"record.jsonl", "degradation.yaml", "sheet.png", "omniup.json"}
    facts = json.loads(outcome.stdout)
    assert facts.pop("seconds").keys() == {"degrade"}
    assert facts == {"output": "deep/out", "seed": 3, "pairs": 3, "failures": {}, "device": "cpu"}
    for name in ("a", "b", "below/deep/c"):
        original = read_image(next(photos.glob(f"{name}.[!s]*")))  # and not the label map
        target, lq = (read_image(f"deep/out/{kind}/{name}.png") for kind in ("gt", "lq"))
        assert target.shape == lq.shape == original.shape
        assert (target - original).abs().mean() < (lq - target).abs().mean()
    assert yaml.safe_load(Path("deep/out/degradation.yaml").read_text()) == Degradation().model_dump(mode="json")
    said = omniup("degrade", "photos", "out").stderr
    assert said.startswith("out: 3 of 3 pictures (degrade ")


def test_the_record_says_what_happened(omniup, photos):
    omniup("degrade", "photos", "out")
    found = records("out")
    assert [record["name"] for record in found] == ["a.png", "b.png", "below/deep/c.png"]
    assert found[1]["picture"] == str(Path("photos/b.jpg"))
    assert found[1]["size"] == [30, 20]
    assert 30 <= found[0]["image"]["first"]["quality"] <= 95
    assert found[0]["batch"] != found[1]["batch"]  # each picture is a batch of its own


def test_one_seed_is_one_result(omniup, photos):
    for output, seed in (("one", 1), ("two", 1), ("three", 2)):
        assert omniup("degrade", "photos", output, "--seed", seed).status == 0
    one, two, three = contents("one"), contents("two"), contents("three")
    assert one.pop("sheet.png") != two.pop("sheet.png")  # by its title
    assert one == two
    assert all(one[name] != three[name] for name in one if name.startswith("lq/"))
    assert all(one[name] == three[name] for name in one if name.startswith("gt/"))


def test_a_picture_comes_out_the_same_whatever_else_there_is(omniup, photos):
    omniup("degrade", "photos", "all")
    omniup("degrade", "photos/b.jpg", "alone")
    assert Path("all/lq/b.png").read_bytes() == Path("alone/lq/b.png").read_bytes()
    assert records("alone")[0] == records("all")[1]


def test_results_among_the_pictures_are_not_degraded_again(omniup, photos):
    for _ in range(2):
        assert omniup("degrade", "photos", "photos/out").status == 0
        assert files("photos/out/lq") == {"a.png", "b.png", "below/deep/c.png"}


def test_samples_and_a_size(omniup, folder):
    outcome = omniup("degrade", "sample:coffee", "sample:chelsea", "out", "--size", 96)
    assert outcome.status == 0, outcome
    assert read_image("out/lq/coffee.png").shape == (1, 3, 64, 96)
    assert read_image("out/gt/chelsea.png").shape == (1, 3, 64, 96)
    assert read_image("out/sheet.png").shape[3] > 4 * 256


def test_smaller_pictures_keep_their_size(omniup, photos):
    omniup("degrade", "photos/b.jpg", "out", "--size", 96)
    assert read_image("out/lq/b.png").shape == (1, 3, 30, 20)


def test_other_numbers(omniup, photos):
    Path("mild.yaml").write_text("first: {quality: [95, 95]}\nsecond: {noise: {gaussian: 1.0}}\n")
    omniup("degrade", "photos", "out", "--config", "mild.yaml")
    assert {record["image"]["first"]["quality"] for record in records("out")} == {95}
    assert {record["image"]["second"]["noise"]["kind"] for record in records("out")} == {"gaussian"}
    again = omniup("degrade", "photos", "again", "--config", "out/degradation.yaml")
    assert again.status == 0
    assert contents("again/lq") == contents("out/lq")


def test_broken_pictures_are_listed_and_stop_nothing(omniup, photos):
    Path("photos/aa.png").write_bytes(b"no picture")
    Path("photos/below/cut.jpg").write_bytes(Path("photos/b.jpg").read_bytes()[:200])
    outcome = omniup("degrade", "photos", "missing.png", "out", "--json")
    assert outcome.status == 2
    facts = json.loads(outcome.stdout)
    broken = [str(Path(name)) for name in ("photos/aa.png", "photos/below/cut.jpg", "missing.png")]
    assert list(facts["failures"]) == broken
    assert files("out") == PAIRS | {"record.jsonl", "degradation.yaml", "sheet.png", "omniup.json"}
    *listed, last = outcome.stderr.splitlines()[-4:]
    assert [re.split(" is not | cannot ", line)[0] for line in listed] == broken
    assert last == "omniup: 3 of 6 pictures could not be read: those above"


def test_an_interrupt_leaves_whole_pairs_and_their_record(omniup, photos, monkeypatch):
    from omniup.restoration import degradation

    degrade, calls = degradation.degrade, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return degrade(*arguments)

    monkeypatch.setattr(degradation, "degrade", interrupted)
    outcome = omniup("degrade", "photos", "out")
    assert (outcome.status, outcome.stderr) == (130, "omniup: interrupted\n")
    assert [record["name"] for record in records("out")] == ["a.png", "b.png"]
    assert files("out") == {f"{kind}/{name}.png" for kind in ("gt", "lq") for name in "ab"} | {
        "record.jsonl",
        "degradation.yaml",
        "omniup.json",
    }


def test_refusals(omniup, refusal, photos):
    Path("empty").mkdir()
    Path("bad.yaml").write_text("first: {nose: 1}")
    Path("photos/a.bmp").write_bytes(Path("photos/a.png").read_bytes())
    assert "empty holds no pictures; accepted: an image (PNG" in refusal("degrade", "empty", "out")
    assert "bad.yaml: first.nose is no field; accepted: " in refusal("degrade", "photos", "out", "--config", "bad.yaml")
    assert "none.yaml cannot be read" in refusal("degrade", "photos", "out", "--config", "none.yaml")
    twice = refusal("degrade", "photos", "out")
    assert "a.png would become a.png, and so would " in twice and "a.bmp" in twice
    assert "notes.txt cannot be written (File exists)" in refusal("degrade", "photos/b.jpg", "photos/notes.txt")
    assert "'--seed'" in refusal("degrade", "photos", "out", "--seed", -1)
    assert "'--size'" in refusal("degrade", "photos", "out", "--size", 0)
    assert "'--device'" in refusal("degrade", "photos", "out", "--device", "abacus")
    assert "1 of 1 pictures could not be read" in omniup("degrade", "sample:", "out").stderr
    assert "Missing argument" in refusal("degrade", "photos")
    assert not Path("out").exists()


def test_real_photos(omniup, shared, folder):
    photos = sorted((shared / "data" / "bsds500" / "val").glob("*.jpg"))[:3]
    outcome = omniup("degrade", *photos, "out", "--seed", 1, "--size", 200, "--json")
    assert json.loads(outcome.stdout)["pairs"] == 3
    for photo in photos:
        lq, target = (read_image(f"out/{kind}/{photo.stem}.png") for kind in ("lq", "gt"))
        assert max(lq.shape) == 200
        error = (lq - target).square().mean()
        assert 1e-4 < error < 0.1  # 40 to 10 dB


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take UTF-8 only")
def test_a_name_that_is_not_utf_8(omniup, photos):
    (photos / "a.png").rename(os.fsdecode(b"photos/a\xff.png"))
    outcome = omniup("degrade", "photos", os.fsdecode(b"out\xff"), "--json")
    assert outcome.status == 0, outcome
    assert json.loads(outcome.stdout)["pairs"] == 3
    assert os.fsdecode(b"lq/a\xff.png") in files(os.fsdecode(b"out\xff"))
