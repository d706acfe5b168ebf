"""Pictures larger than memory: one call's result, block by block, in a job that goes on when it was killed."""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import omniup
from omniup.jobs import large_pictures
from omniup.upsamplers.bands import scale_bands
from support.forks import Fork
from support.thorough import tries

rasterio = pytest.importorskip("rasterio", reason="GeoTIFF need rasterio")
zarr = pytest.importorskip("zarr", reason="results are zarr while a job runs")

SIZE, GRID = (240, 200), (48, 40)

MOST_PIXELS = large_pictures._most_pixels

TRANSFORM = (0.5, 0.0, 500000.0, 0.0, -0.5, 4600000.0)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch, tmp_path):
    """Chunks of 64 pixels, and parts of few, so that small pictures have several."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("omniup.jobs.large_pictures._most_pixels", lambda *_: 24_000)
    monkeypatch.setattr("omniup.jobs.blocks.CHUNK_SIDES", (64,))
    monkeypatch.setattr("omniup.jobs.pictures.WINDOW", 2**14)


def pixels(channels=3, dtype=np.uint8, most=255, size=SIZE):
    """Surfaces of one colour with texture: [channels, H, W]."""
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.random((channels, -(-size[0] // 20), -(-size[1] // 20))), np.ones((1, 20, 20)))[
        :, : size[0], : size[1]
    ]
    return ((0.8 * coarse + 0.1 * rng.random((channels, *size))) * most).astype(dtype)


def raster(path, numbers, **profile):
    """Write a GeoTIFF [C, H, W]."""
    profile = {"photometric": "rgb" if len(numbers) == 3 else "minisblack", "compress": "lzw", "tiled": True} | profile
    profile |= {"count": len(numbers), "height": numbers.shape[1], "width": numbers.shape[2], "dtype": numbers.dtype}
    affine = rasterio.Affine(*TRANSFORM)
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32633", transform=affine, **profile) as dataset:
        dataset.write(numbers)
    return path


def features(channels=4, grid=GRID):
    return torch.randn(1, channels, *grid, generator=torch.Generator().manual_seed(1))


def large(image, signal, output="out.zarr", **options):
    return omniup.upsample_large(image, signal, output, **options)


def read(path):
    return zarr.open_array(str(path), mode="r")[:]


def left():
    """Names of what lies in the folder."""
    return sorted(each.name for each in Path().iterdir())


def close(found, expected, atol=3e-5):
    np.testing.assert_allclose(found, expected.numpy() if isinstance(expected, torch.Tensor) else expected, atol=atol)


def test_result_is_that_of_one_call():
    numbers, low = pixels(), features()
    made = large(raster("scene.tif", numbers, BIGTIFF="YES"), low.numpy())
    assert made.blocks == made.computed > 3
    assert made.shape == (4, *SIZE) and made.signal_type == "features" and made.nodata is None
    close(read("out.zarr"), omniup.upsample(torch.from_numpy(numbers)[None], low)[0])
    assert left() == ["out.zarr", "scene.tif"]


@pytest.mark.parametrize("signal_type", ["probabilities", "labels", "measurement"])
def test_types(signal_type, monkeypatch):
    numbers, low = pixels(), features(grid=(120, 100) if signal_type == "measurement" else GRID)
    low = {"probabilities": (3 * low).softmax(1), "labels": low.argmax(1, keepdim=True), "measurement": low[:, :1]}
    expected = omniup.upsample(torch.from_numpy(numbers)[None], low[signal_type], signal_type=signal_type)[0]
    monkeypatch.setattr("omniup.jobs.large_pictures._most_pixels", lambda *_: 45_000)  # of 48,000
    made = large(numbers, low[signal_type], signal_type=signal_type)
    assert made.signal_type == signal_type and made.blocks > 1
    close(read("out.zarr"), expected)


def test_bands_are_scaled_as_of_a_whole_picture():
    numbers, low = pixels(5, np.uint16, 3000), features()
    large(raster("scene.tif", numbers), low)
    close(read("out.zarr"), omniup.upsample(scale_bands(numbers.astype(np.float32)), low)[0])


@pytest.mark.parametrize("signal_name", ["low.npy", "low.zarr"])
def test_zarr_in_and_out(signal_name):
    numbers, low = pixels(), features()
    picture = zarr.open_array("scene.zarr", mode="w", shape=numbers.shape, chunks=(3, 100, 100), dtype=numbers.dtype)
    picture[:] = numbers
    if signal_name == "low.npy":
        np.save(signal_name, low.numpy())
    else:
        zarr.open_array(signal_name, mode="w", shape=low.shape, chunks=low.shape, dtype="f4")[:] = low.numpy()
    made = large("scene.zarr", signal_name, "out.npy")
    assert made.blocks > 1
    close(np.load("out.npy"), omniup.upsample(torch.from_numpy(numbers)[None], low))


def test_geotiff_keeps_the_place():
    numbers, low = pixels(), features()
    large(raster("scene.tif", numbers), low, "whole.tif")
    large("scene.tif", low, "part.tif", region=(40, 20, 192, 160))
    with rasterio.open("whole.tif") as whole, rasterio.open("part.tif") as part:
        assert whole.crs.to_epsg() == part.crs.to_epsg() == 32633
        assert tuple(whole.transform)[:6] == TRANSFORM
        assert tuple(part.transform)[:6] == (0.5, 0.0, 500010.0, 0.0, -0.5, 4599980.0)
        assert whole.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and whole.profile["tiled"]
        assert whole.shape == SIZE and part.shape == (192, 160) and whole.nodata is None
        close(whole.read(), omniup.upsample(torch.from_numpy(numbers)[None], low)[0])
        close(part.read(), omniup.upsample(torch.from_numpy(numbers)[None], low, region=(40, 20, 192, 160))[0])


def test_pixels_without_a_value_have_none_in_the_result():
    numbers = pixels(4, np.uint16, 3000) + 1
    numbers[:, :100, :140] = 0  # the collar of a scene, some blocks whole
    low = features()
    assert np.isnan(large(raster("scene.tif", numbers, nodata=0), low, "out.tif").nodata)
    with rasterio.open("out.tif") as dataset:
        found, mask = dataset.read(), dataset.read_masks(1) > 0
        assert np.isnan(dataset.nodata)
    assert np.isnan(found[:, :100, :140]).all() and np.isfinite(found[:, 100:]).all()
    assert not mask[:100, :140].any() and mask[100:].all()
    known = numbers.astype(np.float32)[:, (numbers != 0).any(0)][None]  # percentiles of these alone
    black, white = np.percentile(known, (1, 99), axis=2)[:, 0]
    guidance = ((numbers - black[:, None, None]) / (white - black)[:, None, None]).clip(0, 1).astype(np.float32)
    guidance[:, :100, :140] = 0
    expected = omniup.upsample(torch.from_numpy(guidance)[None], low)[0].numpy()
    expected[:, :100, :140] = np.nan
    close(found, expected)


@pytest.mark.parametrize(
    ("dtype", "nodata", "channels"),
    [
        (np.uint16, 0, 4),
        (np.uint16, 65535, 4),
        (np.uint8, 255, 3),
        (np.int16, -32768, 2),
        (np.float32, -9999.0, 4),
        (np.float32, np.nan, 4),
    ],
)
def test_one_call_leaves_them_out_as_well(dtype, nodata, channels):
    numbers = pixels(channels, dtype, 200) + dtype(1)
    numbers[:, :100, :140] = nodata
    low = features()
    large(raster("scene.tif", numbers, nodata=nodata), low)
    found = read("out.zarr")
    assert np.isnan(found[:, :100, :140]).all()
    close(found[:, 100:], omniup.upsample("scene.tif", low)[0][:, 100:])


def test_one_call_takes_a_picture_of_no_data_alone_as_one_colour():
    raster("scene.tif", np.zeros((3, *SIZE), np.uint8), nodata=0)
    assert torch.equal(omniup.upsample("scene.tif", features()), omniup.upsample(torch.zeros(1, 3, *SIZE), features()))


def test_the_memory_that_a_refusal_names_suffices(monkeypatch):
    monkeypatch.setattr(large_pictures, "_most_pixels", MOST_PIXELS)
    image, low = pixels(size=(1280, 1280)), features(9, (80, 80))
    with pytest.raises(omniup.errors.InputError) as refused:
        large(image, low, memory="1MB")
    needed = int(re.search(r"takes (\d+)", str(refused.value))[1])
    with pytest.raises(omniup.errors.InputError) as refused:
        large(image, low, memory=needed)
    needed = int(re.search(r"(\d+) bytes or more", str(refused.value))[1])
    assert large(image, low, memory=needed).blocks > 1


def test_labels_of_pixels_without_a_value():
    numbers = pixels()
    numbers[:, :70] = 0
    labels = features().argmax(1, keepdim=True).byte()
    made = large(raster("scene.tif", numbers, nodata=0), labels, "out.tif", signal_type="labels", invalid=[255])
    assert made.nodata == 255
    with rasterio.open("out.tif") as dataset:
        found = dataset.read(1)
        assert dataset.nodata == 255 and dataset.dtypes == ("uint8",)
    assert (found[:70] == 255).all() and (found[70:] < 4).all()


def test_alpha_is_no_guidance():
    numbers = np.concatenate([pixels(), np.full((1, *SIZE), 255, np.uint8)])
    numbers[3, :, :90] = 0
    large(raster("scene.tif", numbers, photometric="rgb", alpha="yes"), features())
    assert np.isnan(read("out.zarr")[:, :, :90]).all() and np.isfinite(read("out.zarr")[:, :, 90:]).all()


def test_holes_of_the_signal():
    numbers, low = pixels(), features(1)
    valid = torch.rand(GRID, generator=torch.Generator().manual_seed(3)) > 0.2
    image = torch.from_numpy(numbers)[None]
    broken = low.masked_fill(~valid, -9)
    large(numbers, broken, invalid=[-9], signal_type="values")
    close(read("out.zarr"), omniup.upsample(image, low, valid=valid, signal_type="values")[0])
    valid[:20] = False
    large(numbers, low, valid=valid, holes="keep", signal_type="values", overwrite=True)
    close(read("out.zarr"), omniup.upsample(image, low, valid=valid, holes="keep", signal_type="values")[0])
    assert np.isnan(read("out.zarr")).any()


class StopError(Exception):
    """What a test's callback raises."""


def test_interrupted_job_goes_on():
    low = features()
    raster("scene.tif", pixels())
    whole = large("scene.tif", low, "whole.zarr")

    def stop(progress):
        if progress.iteration == 2:
            raise StopError

    with pytest.raises(StopError):
        large("scene.tif", low, progress=stop)
    assert not Path("out.zarr").exists()
    Path(".omniup-out.zarr.job/result.zarr/0.0.1.8b2f.partial").write_bytes(b"half a chunk")  # zarr, killed
    seen = []
    made = large("scene.tif", low, progress=seen.append)
    assert made.computed == whole.blocks - 2
    assert (seen[0].iteration, seen[-1].iteration) == (2, whole.blocks)
    assert seen[-1].seconds_left == 0 and seen[-1].megapixels == pytest.approx(SIZE[0] * SIZE[1] / 1e6)
    assert folder_bytes("out.zarr") == folder_bytes("whole.zarr")


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"holes": "keep"}, "holes"), ({"method": "guided_filter"}, "method"), ({"radius": 1}, "settings")],
)
def test_job_with_other_settings_is_refused(changed, named):
    low, options = features(), {"progress": _stop_at_once}
    raster("scene.tif", pixels())
    with pytest.raises(StopError):
        large("scene.tif", low, **options)
    with pytest.raises(omniup.InputError, match=rf"out.zarr was begun with other .*\({named}\).*--overwrite"):
        large("scene.tif", low, **changed)
    assert large("scene.tif", low, **changed, overwrite=True).computed > 3


def test_job_with_other_inputs_is_refused():
    raster("scene.tif", pixels())
    with pytest.raises(StopError):
        large("scene.tif", features(), progress=_stop_at_once)
    with pytest.raises(omniup.InputError, match=r"\(signal\)"):
        large("scene.tif", 2 * features())
    os.utime("scene.tif", (1, 1))
    with pytest.raises(omniup.InputError, match=r"\(picture\)"):
        large("scene.tif", features())


def test_what_a_finished_job_left_is_removed():
    raster("scene.tif", pixels())
    with pytest.raises(StopError):
        large("scene.tif", features(), progress=_stop_at_once)
    Path("out.zarr").mkdir()  # as if it were killed after that
    with pytest.raises(omniup.InputError, match="exists already"):
        large("scene.tif", features())
    assert left() == ["out.zarr", "scene.tif"]
    with pytest.raises(StopError):
        large("scene.tif", features(), overwrite=True, progress=_stop_at_once)
    with pytest.raises(omniup.InputError, match="exists already"):
        large("scene.tif", features())
    made = large("scene.tif", features(), overwrite=True)  # which was not finished
    assert made.computed == made.blocks - 1 and left() == ["out.zarr", "scene.tif"]


def _stop_at_once(_):
    raise StopError


def test_nothing_is_left_of_a_job_that_could_not_begin():
    with pytest.raises(
        omniup.InputError, match=r"memory is enough for 24000 pixels .* has 239 × \d+; accepted: \d+ bytes or more"
    ):
        large(pixels(size=(239, 200)), features(grid=(48, 40)))
    with pytest.raises(omniup.InputError, match="larger than the image"):
        large(pixels(), features(grid=(400, 60)))
    assert left() == []


def test_refusals():
    numbers, low = pixels(), features()
    for options, problem in [
        ({"output": "out.png"}, r"out.png has another suffix; accepted: .zarr, .npy, .tif, .tiff"),
        ({"method": "upsample_anything"}, "method fits or attends to the whole picture"),
        ({"region": (0, 0, 300, 200)}, "region reaches beyond the picture"),
        ({"holes": "no"}, "holes is 'no'"),
        ({"holes": "keep", "signal_type": "labels"}, "holes is 'keep'"),
    ]:
        given = low.argmax(1, keepdim=True) if "signal_type" in options else low
        with pytest.raises(omniup.InputError, match=problem):
            large(numbers, given, **options)
    with pytest.raises(omniup.InputError, match="two axes may be that of the channels"):
        large(np.zeros((64, 64, 64), np.uint8), low)
    with pytest.raises(omniup.InputError, match="signal is a batch of 2"):
        large(numbers, torch.cat([low, low]))
    Path("out.zarr").mkdir()
    with pytest.raises(omniup.InputError, match=r"out.zarr exists already"):
        large(numbers, low)
    with pytest.raises(omniup.InputError, match=r"gone.zarr does not exist"):
        large("gone.zarr", low, "other.zarr")
    with pytest.raises(omniup.InputError, match=r"gone.tif cannot be read"):
        large("gone.tif", low, "other.zarr")


def test_damaged_chunk_is_refused_in_one_line():
    low = features()
    zarr.open_array("low.zarr", mode="w", shape=low.shape, chunks=(1, 4, 32, 30), dtype="f4")[:] = low.numpy()
    chunk = max((each for each in Path("low.zarr").rglob("*") if each.is_file()), key=lambda each: each.stat().st_size)
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(omniup.InputError, match=r"low.zarr cannot be read \("):
        large(pixels(), "low.zarr")


def test_truncated_tiff_is_refused_in_one_line():
    raster("scene.tif", pixels(), compress=None)
    whole = Path("scene.tif").read_bytes()
    Path("scene.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(omniup.InputError, match=r"scene.tif cannot be read \("):
        large("scene.tif", features())


def test_missing_packages_are_named(monkeypatch):
    raster("scene.tif", pixels())
    for name in ("rasterio", "zarr"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(omniup.MissingPackageError, match=r"omniup\[geo\]"):
                large("scene.tif", features())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_killed_at_random_it_gives_the_same_bytes():
    raster("scene.tif", pixels())
    np.save("low.npy", features().numpy())
    expected = {"out.zarr": "whole.zarr", "out.tif": "whole.tif"}
    for whole in expected.values():
        large("scene.tif", "low.npy", whole)
    chance, kills = random.Random(0), 0
    for output, whole in expected.items():
        for _ in range(tries(4, 20)):
            if Path(output).exists():  # it was done before it was killed: from the beginning
                shutil.rmtree(output) if Path(output).is_dir() else Path(output).unlink()
            job = Fork(lambda output=output: large("scene.tif", "low.npy", output) and 0)
            listed = Path(f".omniup-{output}.job/blocks.txt")
            before = listed.stat().st_size if listed.exists() else 0
            while job.is_running() and (not listed.exists() or listed.stat().st_size <= before):
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.1))
            kills += job.is_killed()
        if not Path(output).exists():
            large("scene.tif", "low.npy", output)
        assert folder_bytes(output) == folder_bytes(whole)
        assert not Path(f".omniup-{output}.job").exists()
    assert kills > 3


def folder_bytes(path):
    """All bytes of a file, or of the files of a folder by their names."""
    path = Path(path)
    if path.is_file():
        return path.read_bytes()
    return {each.relative_to(path).as_posix(): each.read_bytes() for each in path.rglob("*") if each.is_file()}


PEAK = """
import resource, sys, numpy as np, omniup, torch, zarr
omniup.upsample(torch.rand(1, 3, 64, 64), torch.rand(1, 4, 8, 8))
low, image = np.load("low.npy"), np.load("scene.npy", mmap_mode="r")
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
made = omniup.upsample_large(image, low, "out.zarr", memory="64MB")
print(peak() - before, made.blocks)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read as Linux counts them")
def test_memory_is_bounded():
    """Of a call in memory the picture alone takes 38 MB in floating point, and the result 51."""
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (3, 28, 28), np.uint8), np.ones((1, 64, 64), np.uint8))
    np.save("scene.npy", image)
    np.save("low.npy", rng.normal(size=(4, 112, 112)).astype(np.float32))
    made = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True).stdout.split()
    assert int(made[1]) > 1
    assert int(made[0]) < 1.3 * 64 * 2**20


def test_signal_larger_than_memory_is_refused(monkeypatch, tmp_path):
    monkeypatch.undo()
    with pytest.raises(omniup.InputError, match=r"memory is 131072 bytes, and the signal .* takes \d+; accepted: more"):
        large(pixels(), features(), tmp_path / "out.zarr", memory=2**17)
