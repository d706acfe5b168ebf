"""A job keeps what single calls give, and the same bytes however it is cut up."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import omniup
from omniup.encoders import encode_image, encoder
from omniup.errors import InputError
from omniup.evaluation.label_probe import LabelProbe
from omniup.files import read_tensors
from omniup.jobs.batch import batch
from support.dangers import contents
from support.jobs import results


def load(name):
    with np.load(f"out/{name}.npz") as file:
        return dict(file)


def test_maps_are_those_of_single_calls(folder, job):
    keep = {"half": {"kind": "map", "of": "colours"}, "full": {"kind": "map", "of": "colours", "dtype": "float32"}}
    keep["byte"] = {"kind": "map", "of": "colours", "dtype": "int8"}
    made = batch(job(keep=keep, size=16, method="joint_bilateral", settings={"radius": 1}))
    assert (made.done, made.skipped, made.broken) == (20, 0, {})
    single = omniup.features(
        "photos/more/03.png", encoder("projection", channels=6, stride=4), size=16, method="joint_bilateral", radius=1
    )[0].numpy()
    found = load("more/03")
    assert np.array_equal(found["full"], single)
    assert np.array_equal(found["half"], single.astype(np.float16))
    assert found["byte"].dtype == np.int8 and found["byte.scales"].shape == (6,)
    error = np.abs(found["byte"] * found["byte.scales"][:, None, None] - single)
    assert (error <= found["byte.scales"][:, None, None] * 0.501).all()


def test_points_labels_and_regions_agree_with_the_map(folder, job):
    network = encoder("projection", channels=6, stride=4)
    images = [encode_image(f"photos/{name}.png", network) for name in ("00", "01")]
    bright = [(image.guidance.mean(1, keepdim=True) > 0.5).long() for image in images]
    LabelProbe.fit(zip(images, bright, strict=True)).save("probe.safetensors")
    for number in range(20):
        name = f"photos/{'more/' if number % 4 == 3 else ''}{number:02d}"
        with Image.open(f"{name}.png") as picture:
            masks = np.zeros(picture.size[::-1], np.uint8)
        masks[:5, :7] = 3
        Image.fromarray(masks).save(f"{name}.regions.png")  # which is no picture of its own
    of = {"of": "colours"}
    keep = {
        "map": {"kind": "map", "dtype": "float32", **of},
        "at": {"kind": "points", "points": [[0, 0], [20, 3]], **of},
        "classes": {"kind": "labels", "probe": "probe.safetensors", **of},
        "means": {"kind": "regions", "masks": "photos/{key}.regions.png", **of},
    }
    assert batch(job(keep=keep)).done == 20
    found = load("more/03")
    assert np.allclose(found["at"], found["map"][:, [0, 3], [0, 20]].T, atol=1e-6)
    image = encode_image("photos/more/03.png", network)
    probe, _ = LabelProbe.load("probe.safetensors")
    assert np.array_equal(found["classes"], probe.predict(image, method="bilinear")[0, 0].numpy())
    assert found["classes"].dtype == np.uint8
    assert found["means.labels"].tolist() == [0, 3] and found["means.pixels"].tolist()[1] == 35
    assert np.allclose(found["means"][1], found["map"][:, :5, :7].mean((1, 2)), atol=1e-5)


def test_components_are_those_of_the_data_set(folder, job):
    keep = {"pca": {"kind": "components", "of": "colours", "count": 3, "sample": 8, "dtype": "float32"}}
    batch(job(keep=keep))
    with pytest.raises(InputError, match=r"count is 9, and the sample has .* 6 channels; accepted: fewer"):
        batch(job(output="other", keep={"pca": keep["pca"] | {"count": 9}}))
    network = encoder("projection", channels=6, stride=4)
    cells = [
        encode_image(path, network).encoding.features[0].flatten(1).T for path in sorted(folder.glob("photos/**/*.png"))
    ]
    tensors, _ = read_tensors("out/_job/pca.safetensors")
    directions, mean = tensors["directions"], tensors["mean"]
    assert torch.allclose(directions.T @ directions, torch.eye(3), atol=1e-5)
    vectors = torch.cat(cells) - torch.cat(cells).mean(0)
    kept = (vectors @ directions).square().sum() / vectors.square().sum()
    best = torch.linalg.svdvals(vectors)[:3].square().sum() / vectors.square().sum()
    assert best * 0.9 < kept <= best * (1 + 1e-5)  # the sample is a part of the pictures
    image = encode_image("photos/00.png", network)
    projected = torch.einsum("bchw,ck->bkhw", image.encoding.features - mean[:, None, None], directions)
    expected = omniup.upsample(image.guidance, projected, method="bilinear", signal_type="features")
    assert np.allclose(load("00")["pca"], expected[0].numpy(), atol=1e-6)


def test_stored_signals_with_holes_and_labels(folder, job):
    (folder / "depth").mkdir()
    depth = np.full((4, 5), 2, np.float32)
    depth[0, 0] = np.nan
    np.save("depth/00.npy", depth)
    np.save("depth/01.npy", np.ones((6, 4), np.float32))
    np.save("depth/04.npy", np.array([{}], dtype=object), allow_pickle=True)
    signals = {"depth": {"kind": "stored", "file": "depth/{key}.npy", "signal_type": "measurement"}}
    made = batch(job(signals=signals, keep={"depth": {"kind": "map", "of": "depth", "dtype": "float32"}}))
    assert made.done == 1 and len(made.broken) == 19
    assert np.allclose(load("01")["depth"], 1)
    assert "holds Python objects, which are never unpickled here" in made.broken["04"]
    assert "cannot be read (No such file or directory)" in made.broken["02"]
    assert "not finite" in made.broken["00"]

    for place in folder.glob("depth/*.npy"):
        place.unlink()
    for path in folder.glob("photos/*.png"):
        np.save(f"depth/{path.stem}.npy", np.arange(20).reshape(4, 5) + 300)
    signals["depth"] |= {"signal_type": "labels"}
    kept = {"labels": {"kind": "map", "of": "depth", "dtype": "uint16"}}
    made = batch(job(output="labels", signals=signals, keep=kept, source={"kind": "glob", "path": "photos/*.png"}))
    with np.load("labels/00.npz") as file:
        assert (file["labels"].dtype, file["labels"].max()) == (np.uint16, 319)
    kept["labels"]["dtype"] = "uint8"
    made = batch(job(output="bytes", signals=signals, keep=kept, source={"kind": "glob", "path": "photos/*.png"}))
    assert made.done == 0
    assert made.broken["00"] == "dtype is uint8, and the values go from 300 to 319; accepted: a type that holds them"


def test_bytes_do_not_depend_on_pictures_ahead_shards_and_threads_of_readers(folder, job):
    signals = {"net": {"kind": "encoder", "name": "timm:test_efficientnet", "settings": {"pretrained": False}}}
    keep = {"map": {"kind": "map", "of": "net"}, "pca": {"kind": "components", "of": "net", "count": 2, "sample": 5}}
    jobs = {"signals": signals, "keep": keep, "method": "pyramid_bilateral", "sink": "parquet"}
    batch(job(output="one", **jobs), ahead=1)
    expected = results("one")
    assert sorted(expected) == ["_job/job.json", "_job/pca.safetensors", *(f"part-00000{n}.parquet" for n in range(7))]
    torch.set_num_threads(2)
    batch(job(output="two", **jobs), ahead=16)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert results("two") == expected
    parts = []
    for shard in ("2/3", "1/3", "3/3"):
        before = results("three") if parts else {}
        made = batch(job(output="three", **jobs), shard=shard)
        parts.append({name for name in results("three").keys() - before.keys() if name.startswith("part")})
        assert made.skipped == 0
    assert [len(part) for part in parts] == [2, 3, 2]
    assert results("three") == expected
    assert batch(job(output="three", **jobs)).skipped == 20


def test_broken_pictures_are_listed_skipped_and_tried_again(folder, job):
    (folder / "photos/00.png").write_bytes(b"no picture")
    (folder / "photos/05.png").write_bytes((folder / "photos/05.png").read_bytes()[:60])
    made = batch(job(sink="webdataset"))
    assert made.done == 18 and sorted(made.broken) == ["00", "05"]
    assert "is not in a format that is read here" in made.broken["00"]
    again = batch(job(sink="webdataset"))
    assert (again.done, again.skipped, again.broken) == (0, 18, made.broken)
    before = results()
    Image.new("RGB", (30, 20), "red").save("photos/00.png")
    third = batch(job(sink="webdataset"), retry=True)
    assert third.done == 5  # two parts of three, without the one that is broken still
    assert sorted(third.broken) == ["05"]
    assert batch(job(sink="webdataset")).skipped == 19
    assert {name for name, content in results().items() if before.get(name) != content} == {"part-000000.tar"}


def test_another_job_or_foreign_files_are_left_alone(folder, job):
    batch(job())
    before = contents()
    with pytest.raises(InputError, match="out holds the results of a job with other size, seed; accepted: an empty"):
        batch(job(size=12, seed=1))
    Image.new("RGB", (8, 8)).save("photos/new.png")
    with pytest.raises(InputError, match="holds the results of 20 pictures, and the source has 21, or others"):
        batch(job())
    (folder / "photos/new.png").unlink()
    for output, said in (
        ("photos", "is an input"),
        (".", "is an input"),
        ("mine", "holds files that are not this job's"),
    ):
        (folder / "mine").mkdir(exist_ok=True)
        (folder / "mine/file.txt").touch()
        with pytest.raises(InputError, match=said):
            batch(job(output=output))
    (folder / "mine/file.txt").unlink()
    (folder / "mine").rmdir()
    assert contents() == before


def test_a_job_that_came_to_nothing_does_not_block_its_folder(folder, job):
    wrong = {"net": {"kind": "encoder", "name": "timm:no_such_network"}}
    with pytest.raises(InputError, match=r"signals.net: name is 'no_such_network', which timm does not have"):
        batch(job(signals=wrong, keep={"map": {"kind": "map", "of": "net"}}))
    assert batch(job()).done == 20


def test_an_output_within_the_source_is_no_part_of_it(folder, job):
    batch(job(output="photos/out", sink="safetensors"))
    Image.new("RGB", (8, 8)).save("photos/out/thumbnail.png")
    assert batch(job(output="photos/out", sink="safetensors")).skipped == 20


def test_progress_counts_pictures(folder, job):
    seen = []
    batch(job(), progress=lambda *counts: seen.append(counts))
    assert seen == [(number, 20) for number in range(1, 21)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"engine": "spark"}, "engine is 'spark'"),
        ({"workers": 2}, "workers is 2, and the engine is local, one process; accepted: engine ray"),
        ({"address": "auto"}, "address is given, and the engine is local"),
        ({"shard": "3/2"}, "shard is '3/2'; accepted: i/n with i from 1 to n, such as 1/16"),
        ({"ahead": 0}, "ahead is 0"),
    ],
)
def test_arguments_are_checked(arguments, said, folder, job):
    with pytest.raises(InputError, match=said):
        batch(job(), **arguments)
    assert not (folder / "out").exists()


def test_missing_packages_come_with_the_command_that_installs_them(folder, job, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(omniup.MissingPackageError, match=r'pip install "omniup\[ray\]"'):
        batch(job(), engine="ray")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(omniup.MissingPackageError, match=r'pyarrow is needed for this and .* "omniup\[batch\]"'):
        batch(job(sink="parquet"))


def test_a_job_may_move_with_its_files(folder, job):
    batch(job(), shard="1/2")
    (folder / "moved").mkdir()
    for name in ("photos", "out"):
        (folder / name).rename(folder / "moved" / name)
    made = batch(job(output="moved/out", source={"kind": "folder", "path": "moved/photos"}))
    assert (made.done, made.skipped) == (10, 10)


def test_the_record_holds_no_secrets(folder, job):
    batch(job(source={"kind": "folder", "path": "photos", "storage": {"key": "secret"}}))
    record = (folder / "out/_job/job.json").read_text()
    assert "secret" not in record and json.loads(record)["pictures"] == 20
