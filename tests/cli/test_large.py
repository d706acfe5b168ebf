"""`omniup upsample` of pictures larger than memory, or into files that are written block by block."""

import json
import re
import signal as signals
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from omniup.cli import main
from omniup.cli.large import is_large
from omniup.jobs import large_pictures
from support.forks import Fork

rasterio = pytest.importorskip("rasterio", reason="GeoTIFF need rasterio")
zarr = pytest.importorskip("zarr", reason="results are zarr while a job runs")


@pytest.fixture(autouse=True)
def scene(monkeypatch, tmp_path):
    """A GeoTIFF of 80 × 120 pixels, and features of 16 × 24 cells."""
    monkeypatch.chdir(tmp_path)
    write_scene(12)


def write_scene(width):
    """Write a scene that is so many tens of pixels wide, and features of a cell each 5 pixels."""
    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "height": 80, "width": 10 * width, "count": 3, "dtype": "uint8", "photometric": "rgb"}
    profile |= {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 4.6e6)}
    with rasterio.open("scene.tif", "w", **profile) as dataset:
        dataset.write(np.kron(rng.integers(0, 255, (3, 8, width), np.uint8), np.ones((1, 10, 10), np.uint8)))
    np.save("low.npy", rng.normal(size=(1, 5, 16, 2 * width)).astype(np.float32))


@pytest.mark.parametrize(
    ("image", "signal", "output", "is_so"),
    [
        ("scene.tif", "low.npy", "out.zarr", True),
        ("scene.tif", "low.npy", "out.tif", True),
        ("scene.tif", "low.zarr", "out.npy", True),
        ("scene.zarr", "low.npy", "out.npy", True),
        ("scene.tif", "low.npy", "out.npy", False),
        ("sample:coffee", "low.npy", "out.png", False),
        ("-", "low.npy", "-", False),
        ("gone.tif", "low.npy", "out.npy", False),
    ],
)
def test_which_are_upsampled_block_by_block(image, signal, output, is_so):
    assert is_large(image, signal, output) == is_so


def test_so_are_pictures_of_more_pixels_than_are_read_at_once(monkeypatch):
    monkeypatch.setattr("omniup.files.MAX_PIXELS", 9000)
    np.save("scene.npy", np.zeros((3, 80, 120), np.uint8))
    assert is_large("scene.tif", "low.npy", "out.npy") and is_large("scene.npy", "low.npy", "out.npy")


def test_blocks_give_what_a_call_gives(omniup):
    assert omniup("upsample", "scene.tif", "low.npy", "-o", "whole.npy").status == 0
    made = omniup("upsample", "scene.tif", "low.npy", "-o", "out.tif", "--memory", "200MB", "--json")
    assert made.status == 0, made.stderr
    facts = json.loads(made.stdout)
    assert facts["shape"] == [5, 80, 120] and facts["blocks"] == facts["computed"] == 1
    assert "out.tif: 5 x 80 x 120 float32, features, 1 of 1 blocks computed" in made.stderr
    with rasterio.open("out.tif") as dataset:
        np.testing.assert_allclose(dataset.read()[None], np.load("whole.npy"), atol=2e-5)
    again = omniup("upsample", "scene.tif", "low.npy", "-o", "out.tif")
    assert again.status == 2 and "out.tif exists already; accepted: another name, or --overwrite" in again.stderr
    assert omniup("upsample", "scene.tif", "low.npy", "-o", "out.tif", "--overwrite").status == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--confidence", "trust.npy"), "--confidence does not go with a picture that is upsampled block by block"),
        (("--size", "100"), "--size does not go with"),
        (("--method", "upsample_anything"), "method fits or attends to the whole picture"),
        (("--region", "0,0,500,500"), "region reaches beyond the picture"),
        (("--memory", "40KB"), "memory is 40960 bytes, and the signal"),
        (("--set", "radius=99"), "radius is 99"),
    ],
)
def test_refusals(omniup, options, said):
    found = omniup("upsample", "scene.tif", "low.npy", "-o", "out.zarr", *options)
    assert found.status == 2 and said in found.stderr and found.stderr.count("\n") == 1
    assert sorted(each.name for each in Path().iterdir()) == ["low.npy", "scene.tif"]


def test_only_some_files_hold_blocks(omniup):
    found = omniup("upsample", "scene.tif", "low.zarr", "-o", "out.png")
    assert found.status == 2 and "accepted: .zarr, .npy, .tif, .tiff" in found.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_ctrl_c_leaves_a_job_that_goes_on(interruptible, omniup, monkeypatch):
    write_scene(36)
    monkeypatch.setattr("omniup.jobs.blocks.CHUNK_SIDES", (16,))
    monkeypatch.setattr("omniup.jobs.large_pictures._most_pixels", lambda *_: 8400)
    command = ["upsample", "scene.tif", "low.npy", "-o", "out.zarr"]
    with monkeypatch.context() as patch:
        render = large_pictures._render
        patch.setattr(large_pictures, "_render", lambda *given: (time.sleep(0.5), render(*given))[1])
        interrupted = Fork(lambda: main(command), "said")
    listed = Path(".omniup-out.zarr.job/blocks.txt")
    while not listed.exists() or len(listed.read_bytes().splitlines()) < 2:  # the first is reported once it is listed
        time.sleep(0.02)
        assert interrupted.is_running()
    interrupted.send(signals.SIGINT)
    assert interrupted.wait() == 130
    assert "blocks are written; the same command goes on\nomniup: interrupted" in Path("said.err").read_text()
    assert not Path("out.zarr").exists()
    done = len(listed.read_bytes().splitlines())
    again = omniup(*command)
    assert again.status == 0
    computed, blocks = map(int, re.search(r"(\d+) of (\d+) blocks computed", again.stderr).groups())
    assert 0 < done < blocks == computed + done
    assert Path("out.zarr").exists()
