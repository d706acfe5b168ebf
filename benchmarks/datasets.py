"""Measure what a job on a data set costs beside its encoder and its method, here and on Ray; prints a table.

    python benchmarks/datasets.py --pictures 300

Seconds a picture, of those from the first fifth on, one thread each: by the clock, and of the processor, which depends
less on what else the machine does. The columns beside them compare with the row before; the last is the machine's load.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from omniup.encoders import encode_image, encoder
from omniup.files import read_image
from omniup.jobs import ray_engine
from omniup.jobs.configuration import Job, read_job
from omniup.jobs.manifest import Finished, open_manifest
from omniup.jobs.sinks import cut_into_parts
from omniup.jobs.sources import list_items
from omniup.jobs.work import Worker
from omniup.upsamplers import upsampler

NETWORK = "timm:tf_efficientnet_lite0"
SETTINGS = {"layer": 2, "pretrained": False}
AHEAD = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--size", type=int, default=192, help="longer side of the pictures and the results")
    parser.add_argument("--workers", type=int, default=2, help="workers of Ray, at most; 0 for none")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), arguments.pictures, arguments.size)
        bare = bare_loop(Path(folder), arguments.size)
        bare_times, job_times = paired(bare, work(job(folder, "paired", arguments.size), ahead=1), arguments.pictures)
        report("read, encode, upsample, numpy.savez", bare_times)
        report("a picture of a job, in turn with it", job_times, bare_times)
        plain = rate(work(job(folder, "plain", arguments.size), AHEAD), arguments.pictures)
        report("the plain loop", (plain, None))
        single = plain
        for workers in range(1, arguments.workers + 1):
            found = rate(on_ray(job(folder, f"ray{workers}", arguments.size), workers), arguments.pictures)
            report(f"Ray, {workers} worker{'s' if workers > 1 else ''}", (found, None), (single, None))
            single = found if workers == 1 else single


def draw(folder: Path, count: int, side: int) -> None:
    """Write photograph-like pictures: noise at several scales."""
    random = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for number in range(count):
        pixels = np.zeros((side * 3 // 4, side, 3))
        for scale in (4, 16, 64):
            small = random.integers(0, 85, (max(1, side * 3 // 4 // scale), side // scale, 3), dtype=np.uint8)
            pixels += np.asarray(Image.fromarray(small).resize((side, side * 3 // 4), Image.Resampling.BICUBIC))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / f"{number:04d}.jpg")


def job(folder: str, name: str, side: int) -> Job:
    return read_job(
        {
            "source": {"kind": "folder", "path": f"{folder}/photos"},
            "signals": {"net": {"kind": "encoder", "name": NETWORK, "settings": SETTINGS}},
            "keep": {"map": {"kind": "map", "of": "net"}},
            "output": {"kind": "npz", "path": f"{folder}/{name}"},
            "size": side,
        }
    )


def bare_loop(folder: Path, side: int) -> Iterator[object]:
    """Do what every program would have to do."""
    network, method = encoder(NETWORK, **SETTINGS), upsampler("pyramid_bilateral")
    for path in sorted((folder / "photos").iterdir()):
        made = encode_image(read_image(path), network, size=side).upsample(method=method)[0].half().numpy()
        np.savez(folder / path.stem, map=made)
        yield made


def work(wanted: Job, ahead: int) -> Iterator[Finished]:
    """Run a job in this process, with its manifest."""
    items = list_items(wanted.source, wanted.output.path)
    parts = cut_into_parts(items, wanted.output)
    with open_manifest(wanted, items, (1, 1)) as manifest:
        for finished in Worker(wanted, "cpu", ahead).work(parts):
            manifest.record(finished)
            assert not finished.broken
            yield finished


def on_ray(wanted: Job, workers: int) -> Iterator[Finished]:
    parts = cut_into_parts(list_items(wanted.source, wanted.output.path), wanted.output)
    return ray_engine.run(wanted, parts, device="cpu", workers=workers, address=None, ahead=AHEAD)


def paired(first: Iterator[object], second: Iterator[object], count: int) -> list[tuple[float, float]]:
    """Return seconds a picture of two loops that take turns, so that both see the same machine: medians.

    Of each, the seconds of the clock and of the processor, in this process.
    """
    times = np.zeros((count, 2, 2))
    for number in range(count):
        for loop, pictures in enumerate((first, second)):
            before = time.perf_counter(), time.process_time()
            next(pictures)
            times[number, loop] = np.subtract((time.perf_counter(), time.process_time()), before)
    return [(float(clock), float(processor)) for clock, processor in np.median(times[count // 5 :], axis=0)]


def rate(finished: Iterator[object], count: int) -> float:
    """Return seconds a picture by the clock, from the first fifth on."""
    times = [time.perf_counter() for _ in finished]
    assert len(times) == count
    first = count // 5
    return (times[-1] - times[first - 1]) / (count - first)


def report(name: str, found: tuple[float, float | None], beside: tuple[float, float | None] | None = None) -> None:
    """Print a row: the times, and how many times those beside they are."""
    cells = [name]
    for seconds, other in zip(found, beside or (None, None), strict=True):
        cells.append("" if seconds is None else f"{1000 * seconds:.1f} ms")
        cells.append("" if seconds is None or other is None else f"{seconds / other:.3f} ×")
    print(f"| {' | '.join(cells)} | load {os.getloadavg()[0]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
