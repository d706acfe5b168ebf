"""Measure what a job on a data set costs beside its encoder and its method, here and on Ray; prints a table.

    python benchmarks/datasets.py --pictures 300

Rates are those after the start: of the pictures from the first fifth on. One thread each. Of what runs in this process
the processor's time is given as well, which does not depend on what else the machine does.
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
        bare = rate(bare_loop(Path(folder), arguments.size), arguments.pictures)
        report("read, encode and upsample alone", bare)
        plain = rate(work(job(folder, "plain", arguments.size)), arguments.pictures)
        report("the plain loop, which writes and records", plain, bare)
        single = plain
        for workers in range(1, arguments.workers + 1):
            found = rate(on_ray(job(folder, f"ray{workers}", arguments.size), workers), arguments.pictures)
            report(f"Ray, {workers} worker{'s' if workers > 1 else ''}", (found[0], None), single)
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
        yield encode_image(read_image(path), network, size=side).upsample(method=method)[0].half().numpy()


def work(wanted: Job) -> Iterator[Finished]:
    """Run a job in this process, with its manifest."""
    items = list_items(wanted.source, wanted.output.path)
    parts = cut_into_parts(items, wanted.output)
    with open_manifest(wanted, items, (1, 1)) as manifest:
        for finished in Worker(wanted, "cpu", AHEAD).work(parts):
            manifest.record(finished)
            assert not finished.broken
            yield finished


def on_ray(wanted: Job, workers: int) -> Iterator[Finished]:
    parts = cut_into_parts(list_items(wanted.source, wanted.output.path), wanted.output)
    return ray_engine.run(wanted, parts, device="cpu", workers=workers, address=None, ahead=AHEAD)


def rate(finished: Iterator[object], count: int) -> tuple[float, float]:
    """Return seconds a picture from the first fifth on: of the clock, and of the processor in this process."""
    clock, processor = [], []
    for _ in finished:
        clock.append(time.perf_counter())
        processor.append(time.process_time())
    assert len(clock) == count
    first = count // 5
    return tuple((times[-1] - times[first - 1]) / (count - first) for times in (clock, processor))  # type: ignore[return-value]


def report(name: str, found: tuple[float, float | None], beside: tuple[float, float] | None = None) -> None:
    cells = [name]
    for seconds, other in zip(found, beside or (None, None), strict=True):
        cells.append("" if seconds is None else f"{1000 * seconds:.1f} ms")
        cells.append("" if seconds is None or other is None else f"{seconds / other:.3f} ×")
    print(f"| {' | '.join(cells)} | load {os.getloadavg()[0]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
