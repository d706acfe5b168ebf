"""Kill a picture, a data set and a film at random times, and compare their bytes with those of uninterrupted runs.

    python benchmarks/kills.py --kills 20

Each job is small and has many blocks, parts or states to go on from. It runs in a fork, is killed (SIGKILL) after a
random part of the time that it takes, and is started again, until it has been killed as often as wanted; one that had
ended by then is compared, removed, and begun anew. At last it is left to end, and is compared.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import omniup
import omniup.jobs.blocks
import omniup.jobs.large_pictures
import omniup.sequences.job
from omniup.sequences.films import FilmPart
from omniup.sequences.frames import open_frames
from omniup.sequences.painting import Painter
from omniup.sequences.signals import open_signals
from omniup.sequences.sinks import FilmSink
from omniup.sequences.unfinished import Unfinished

SHARE = 0.3
"""A job is killed within this part of the time that it takes, so that most kills find it at work."""

ITEMS, FRAMES, SIDE = 40, 60, 480
"""Pictures of the data set, frames of the film, and pixels of a side of the picture."""


def picture(output: str) -> None:
    """Upsample the features of a picture, block by block."""
    omniup.upsample_large("scene.npy", "features.npy", f"{output}.zarr", method="bilinear")


def data_set(output: str) -> None:
    """Run a job on a folder of pictures."""
    encoder = {"kind": "encoder", "name": "projection", "settings": {"channels": 6, "stride": 4}}
    components = {"kind": "components", "of": "colours", "count": 3, "sample": 6}
    job: dict[str, Any] = {"source": {"kind": "folder", "path": "photos"}, "signals": {"colours": encoder}}
    job |= {"keep": {"pca": components}, "method": "joint_bilateral"}
    made = omniup.batch(job | {"output": {"kind": "parquet", "path": output, "part": 2}})
    assert not made.broken


def film(output: str) -> None:
    """Upsample the signals of a film to a film of pictures."""
    source, signals = open_frames("film.mp4"), open_signals("probabilities.npy")
    unfinished = Unfinished(f"{output}.mp4", {})
    unfinished.open(overwrite=False)
    cells = omniup.sequences.job.first_cells(source, signals, 4, torch.device("cpu"))
    painter = Painter.fit("labels", 0.7, source, cells, point=None)
    times = {"time_base": source.time_base, "rate": source.rate}
    sink = FilmSink(f"{output}.mp4", unfinished, painter, sound=None, **times)
    step = omniup.sequences.job.UpsampledSignals(signals, omniup.VideoUpsampler(method="bilinear"), torch.device("cpu"))
    omniup.sequences.job.run_video(source, step, sink, unfinished)


def draw() -> None:
    """Write what the jobs read to the current folder, and make their steps small."""
    random_numbers = np.random.default_rng(0)
    Path("photos").mkdir()
    for number in range(ITEMS):
        coarse = Image.fromarray(random_numbers.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((96, 72), Image.Resampling.BICUBIC).save(f"photos/{number:02}.png")
    scene = random_numbers.integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    np.save("scene.npy", scene)
    np.save("features.npy", random_numbers.standard_normal((1, 4, SIDE // 16, SIDE // 16)).astype(np.float32))
    part = FilmPart(Fraction(1, 25), Fraction(25))
    for number in range(FRAMES):
        part.add(np.ascontiguousarray(scene[:96, 2 * number : 2 * number + 128]), number)
    Path("film.mp4").write_bytes(part.close())
    shares = random_numbers.dirichlet(np.ones(4), (FRAMES, 6, 8)).astype(np.float32).transpose(0, 3, 1, 2)
    np.save("probabilities.npy", shares)
    omniup.jobs.blocks.CHUNK_SIDES = (64,) * 4
    omniup.jobs.large_pictures._most_pixels = lambda *_: 40_000
    omniup.sequences.job.PART = 3


def contents(output: str) -> dict[str, bytes]:
    """Return the files of an output but for the list of parts that are done, whose order is that of the runs."""
    found = (path for place in Path().glob(f"{output}*") for path in (place, *place.rglob("*")) if path.is_file())
    return {
        path.as_posix().removeprefix(output): path.read_bytes() for path in found if "_job/manifest" not in str(path)
    }


def run(job: Callable[[str], None], output: str, seconds: float | None = None) -> bool:
    """Run a job in a fork, and kill it after some time; return whether it was killed.

    Raises:
        RuntimeError: it failed.
    """
    child = os.fork()
    if child == 0:
        try:
            job(output)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{job.__name__} ended with status {status}")
    return status != 0


def remove(output: str) -> None:
    """Remove an output."""
    for place in Path().glob(f"{output}*"):
        shutil.rmtree(place) if place.is_dir() else place.unlink()


def kill(job: Callable[[str], None], kills: int, numbers: random.Random) -> tuple[int, int]:
    """Kill a job so often; return how many outputs became whole, and how many of these have other bytes."""
    began = time.perf_counter()
    run(job, "whole")
    lasts, wanted = time.perf_counter() - began, contents("whole")
    whole = differing = killed = 0
    while killed < kills:
        if run(job, "out", numbers.uniform(0, SHARE * lasts)):
            killed += 1
        else:
            whole, differing = whole + 1, differing + (contents("out") != wanted)
            remove("out")
    run(job, "out")
    differing += contents("out") != wanted
    remove("out")
    remove("whole")
    return whole + 1, differing


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="of each job")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    numbers, all_differing = random.Random(asked.seed), 0
    print("| job | killed | became whole | of these with other bytes |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        draw()
        for job in (picture, data_set, film):
            whole, differing = kill(job, asked.kills, numbers)
            print(f"| {job.__name__.replace('_', ' ')} | {asked.kills} | {whole} | {differing} |", flush=True)
            all_differing += differing
        os.chdir("/")
    sys.exit(all_differing > 0)


if __name__ == "__main__":
    main()
