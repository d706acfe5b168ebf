"""Measure memory and time of a picture larger than memory, against 2048 × 2048 pixels: a table.

    python benchmarks/large_pictures.py 20000 --memory 1GB

A scene of fields is made on the spot as a tiled BigTIFF, with eight features a cell of 16 × 16 pixels. The small one is
upsampled by the same job, from file to file, and by one call in memory, which reads and writes nothing. Each runs in a
process of its own, the small ones three times before and three times after the large one; peaks are of resident
memory, above what Python and its libraries take.
Where other processes share the processor, its seconds (of all cores together) say more than those of the clock.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CELL, CHANNELS, BLOCK = 16, 8, 1024
SMALL, RUNS = 2048, 3


def scene(top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
    """Draw a window of an endless scene [3, height, width]: fields of many shapes, with rows of plants and noise."""
    y, x = np.mgrid[top : top + height, left : left + width].astype(np.float32)
    across = np.floor((x + 90 * np.sin(y / 310)) / 173).astype(np.int64)
    down = np.floor((y + 70 * np.sin(x / 270) + 37 * (across % 5)) / 131).astype(np.int64)
    colours = np.random.default_rng(1).uniform(40, 210, (3, 1024)).astype(np.float32)
    field = (across * 7919 + down * 104729) % 1024
    rows = 12 * np.sin((x + (field % 9) * y) / 2.5)
    noise = np.random.default_rng([top, left]).normal(0, 4, (3, height, width))
    return np.clip(colours[:, field] + rows + noise, 0, 255).astype(np.uint8)


def make(folder: Path, side: int) -> tuple[Path, Path]:
    """Write the scene and its features, and return their files."""
    import rasterio
    from rasterio.windows import Window

    picture, signal = folder / f"scene_{side}.tif", folder / f"features_{side}.npy"
    cells = side // CELL
    features = np.zeros((CHANNELS, cells, cells), np.float32)
    mixing = np.random.default_rng(2).normal(size=(CHANNELS, 3)).astype(np.float32)
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "photometric": "rgb"}
    profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256, "BIGTIFF": "YES", "crs": "EPSG:32633"}
    profile["transform"] = rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 4.6e6)
    with rasterio.open(picture, "w", **profile) as dataset:
        for top in range(0, side, BLOCK):
            for left in range(0, side, BLOCK):
                height, width = min(BLOCK, side - top), min(BLOCK, side - left)
                pixels = scene(top, left, height, width)
                dataset.write(pixels, window=Window(left, top, width, height))
                rows, columns = height // CELL, width // CELL
                means = pixels[:, : rows * CELL, : columns * CELL].reshape(3, rows, CELL, columns, CELL).mean((2, 4))
                place = slice(top // CELL, top // CELL + rows), slice(left // CELL, left // CELL + columns)
                features[:, place[0], place[1]] = np.einsum("cg,gyx->cyx", mixing, means / 255 - 0.5)
    features += np.random.default_rng(3).normal(0, 0.05, features.shape).astype(np.float32)
    np.save(signal, features)
    return picture, signal


def measure(picture: Path, signal: Path, output: str, memory: str) -> dict[str, float]:
    """Run a job, or without an output one call in memory: its seconds and its peak above imports, in this process."""
    import rasterio
    import torch
    import zarr  # noqa: F401

    import omniup

    omniup.upsample(torch.rand(1, 3, 64, 64), torch.rand(1, CHANNELS, 4, 4))  # imports what is imported late
    if not output:
        with rasterio.open(picture) as dataset:
            pixels = torch.from_numpy(dataset.read())[None]
        values = torch.from_numpy(np.load(signal))[None]
    before, began, busy = _peak(), time.perf_counter(), time.process_time()
    if output:
        omniup.upsample_large(picture, signal, output, memory=memory)
    else:
        omniup.upsample(pixels, values)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    return {"seconds": seconds, "busy": busy, "peak": _peak() - before}


def _peak() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", type=int, nargs="?", default=6000, help="of the scene, in pixels; a multiple of 16")
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--folder", type=Path, help="for the scene and the result; a temporary one by default")
    parser.add_argument("--suffix", default=".zarr", help="of the result: .zarr, .tif or .npy")
    parser.add_argument("--run", nargs=3, metavar=("PICTURE", "SIGNAL", "OUTPUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        picture, signal, output = arguments.run
        print(json.dumps(measure(Path(picture), Path(signal), output, arguments.memory)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        small, large = make(folder, SMALL), make(folder, arguments.side)
        calls, jobs = [], []
        for run in range(2 * RUNS):
            if run == RUNS:
                result = _run(*large, str(folder / f"large{arguments.suffix}"), arguments.memory)
            calls.append(_run(*small, "", arguments.memory))
            jobs.append(_run(*small, str(folder / f"small{run}{arguments.suffix}"), arguments.memory))
    rows = [
        (SMALL, "in memory", _mean(calls)),
        (SMALL, "from file to file", _mean(jobs)),
        (arguments.side, "", result),
    ]
    against = [f"against {SMALL}², {how}" for _, how, _ in rows[:2]]
    print("|", " | ".join(["pixels", "peak above imports, GB", "seconds", *against, "of the processor", *against]), "|")
    print("|---" * 8 + "|")
    for side, how, found in rows:
        cells = [f"{side} × {side}" + (f", {how}" if how else ""), f"{found['peak'] / 2**30:.2f}"]
        for name in ("seconds", "busy"):
            cells.append(f"{found[name]:.1f}")
            cells += [f"{found[name] / ((side / SMALL) ** 2 * base[name]):.2f} ×" for *_, base in rows[:2]]
        print("|", " | ".join(cells), "|")


def _mean(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(run[name] for run in runs) / len(runs) for name in runs[0]}


def _run(picture: Path, signal: Path, output: str, memory: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--memory", memory, "--run", str(picture), str(signal), output]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return found


if __name__ == "__main__":
    main()
