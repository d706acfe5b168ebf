"""Time and memory of AnyUp, against the same network with dense attention.

The dense implementation is what one writes with `torch.nn.functional.scaled_dot_product_attention`: plain layers in
torch's default memory format, every pixel against every cell under the same mask, a few thousand queries at a time.
Weights are random, as times do not depend on them.

The limit is what all of the network's matrix products would take as one: of the image's pixels with 128 × 128 numbers,
timed in the same turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from measure import photograph, show
from omniup import AnyUp
from omniup.evaluation.measuring import Clock, Run, in_turns, ratio, resident, synchronise
from omniup.upsamplers.anyup.network import HEADS, WIDTH

CHANNELS = 384
CASES = {224: 16, 448: 28}
PRECISIONS = ("float32", "bfloat16")
LARGE, LARGE_GRID, LARGE_MEMORY = 2048, 128, "1GB"
CHUNK = 4096

#: The authors' code on two CPU cores of this kind, in seconds and MB (facts of the issue); None where it was not run.
AUTHORS = {224: (1.2, 1400), 448: (7.9, 1900)}


def main() -> None:
    """Print the tables; or, given a case, run that once in this process and print its peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--case", nargs=2, metavar=("SIDE", "WAY"), help="run one case, print its numbers as JSON")
    parser.add_argument("--sides", type=int, nargs="+", default=[*CASES, LARGE], help="of the image, in pixels")
    parser.add_argument(
        "--processor-time", action="store_true", help="instead of the clock's: for a machine that others use as well"
    )
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if arguments.case:
        print(json.dumps(measure(int(arguments.case[0]), arguments.case[1], device)))
        return
    clock = time.process_time if arguments.processor_time else time.perf_counter
    rows = [row for side in arguments.sides if side in CASES for row in compare(side, device, clock)]
    header = [
        "what",
        "median",
        "range",
        "faster than dense",
        "than the authors' code",
        "limits",
        "peak above import torch",
    ]
    show(f"AnyUp, {CHANNELS} channels, grids 16×16 and 28×28", header, rows, device)
    if device.type != "cpu" or LARGE not in arguments.sides:
        return  # the mapped file is in the processor's memory, and so must be what is written to it
    large = peak_of(LARGE, "float32", device)
    show(
        f"AnyUp, {LARGE}×{LARGE}, {LARGE_GRID}×{LARGE_GRID} grid, {CHANNELS} channels, memory {LARGE_MEMORY}",
        ["time", "memory of its own"],
        [[f"{large['seconds']:.0f} s", f"{large['peak']:.0f} MB"]],
        device,
    )


def compare(side: int, device: torch.device, clock: Clock) -> list[list[str]]:
    """Time the ways of one size in turns: rows of the table."""
    ways = ("dense", *PRECISIONS)
    numbers = 2 * side**2 * WIDTH**2  # multiplications and additions of the one product
    times = in_turns([run(side, way, device) for way in ways] + [product(side, device)], device, turns=5, clock=clock)
    limit = [seconds * operations(side, device) / numbers for seconds in times.pop()]
    rows = []
    for way, taken in zip(ways, times, strict=True):
        median, peak = statistics.median(taken), peak_of(side, way, device)["peak"]
        spread = f"{min(taken):.2f} to {max(taken):.2f}"
        authors = f"{AUTHORS[side][0] / median:.1f} ×" if device.type == "cpu" else ""
        faster, distance = f"{ratio(times[0], taken):.1f} ×", f"{ratio(taken, limit):.2f} ×"
        rows.append([f"{side}×{side}, {way}", f"{median:.2f} s", spread, faster, authors, distance, f"{peak:.0f} MB"])
    half = f"{ratio(times[2], times[1]):.2f} × float32"
    return [*rows, [f"{side}×{side}, limit", f"{statistics.median(limit):.2f} s", "", "", "", half, ""]]


def product(side: int, device: torch.device) -> Run:
    """One matrix product of as many rows as the image has pixels, into memory that is there."""
    pixels, weight = torch.randn(side**2, WIDTH, device=device), torch.randn(WIDTH, WIDTH, device=device)
    out = torch.empty_like(pixels)
    return lambda: torch.mm(pixels, weight, out=out)


def operations(side: int, device: torch.device) -> int:
    """Count the multiplications and additions of all of the network's matrix products."""
    with FlopCounterMode(display=False) as counter:
        run(side, "float32", device)()
    return counter.get_total_flops()


def inputs(side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The photograph and random features."""
    cells = CASES.get(side, LARGE_GRID)
    return photograph(side, side, device), torch.randn(1, CHANNELS, cells, cells, device=device)


def run(side: int, way: str, device: torch.device) -> Run:
    """What is timed: `"dense"`, or AnyUp in a precision."""
    image, features = inputs(side, device)
    if way == "dense":
        network = AnyUp().eval().to(device)
        return lambda: dense(network, image, features)
    network = AnyUp(precision="bfloat16" if way == "bfloat16" else "float32").eval()
    return lambda: network(image, features)


@torch.no_grad()
def dense(network: AnyUp, image: Tensor, features: Tensor) -> Tensor:
    """The same result with attention to all cells under a mask."""
    size, grid = (image.shape[2], image.shape[3]), (features.shape[2], features.shape[3])
    encoded = network.rope(network.image_encoder(image))
    query, key = (
        maps.flatten(2).unflatten(1, (HEADS, -1)).mT.contiguous()  # [1, heads, places, D / heads]
        for maps in (network.queries(encoded, size), network.keys(encoded, features))
    )
    value = features.flatten(2).mT.unsqueeze(1).expand(-1, HEADS, -1, -1)  # [1, heads, cells, C]
    allowed = mask(size, grid, image.device)
    mixed = [
        F.scaled_dot_product_attention(query[:, :, n : n + CHUNK], key, value, allowed[n : n + CHUNK], scale=1).mean(1)
        for n in range(0, query.shape[2], CHUNK)
    ]
    return torch.cat(mixed, dim=1).mT.unflatten(2, size)


def mask(size: tuple[int, int], grid: tuple[int, int], device: torch.device) -> Tensor:
    """Which cells each pixel may draw from: [pixels, cells]."""
    axes = []
    for pixels, cells in zip(size, grid, strict=True):
        place = (torch.arange(pixels, device=device) + 0.5) / pixels
        low, high = ((place - 0.1).clamp(0, 1) * cells).floor(), ((place + 0.1).clamp(0, 1) * cells).ceil()
        cell = torch.arange(cells, device=device)
        axes.append((cell >= low[:, None]) & (cell < high[:, None]))
    rows, columns = axes
    return (rows[:, None, :, None] & columns[None, :, None, :]).flatten(2, 3).flatten(0, 1)


def peak_of(side: int, way: str, device: torch.device) -> dict[str, float]:
    """Measure a case in a process of its own."""
    command = [sys.executable, __file__, "--case", str(side), way, "--device", str(device)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure(side: int, way: str, device: torch.device) -> dict[str, float]:
    """Run a case once, cold: seconds, and the peak of memory in MB. The large case writes to a mapped file."""
    before = resident("RssAnon")
    compute = run_large(device) if side == LARGE else run(side, way, device)
    with Peak(device) as peak:
        began = time.perf_counter()
        compute()
        synchronise(device)
        return {"seconds": time.perf_counter() - began, "peak": peak.megabytes() - before * (device.type == "cpu")}


def run_large(device: torch.device) -> Run:
    """AnyUp with a result larger than the memory, which goes to a file."""
    image, features = inputs(LARGE, device)
    shape = (1, CHANNELS, LARGE, LARGE)

    def compute() -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder, "result"))
            out = torch.from_file(file, shared=True, size=torch.Size(shape).numel()).view(shape)
            AnyUp().eval()(image, features, memory=LARGE_MEMORY, out=out)

    return compute


class Peak:
    """The most memory that was in use, without what belongs to mapped files; on a CPU looked up every few ms."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu, self._most, self._done = device.type == "cuda", 0.0, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Peak:
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watch.join()

    def megabytes(self) -> float:
        """The peak so far."""
        return torch.cuda.max_memory_allocated() / 2**20 if self._on_gpu else self._most

    def _look(self) -> None:
        while not self._on_gpu and not self._done.wait(0.005):
            self._most = max(self._most, resident("RssAnon"))


if __name__ == "__main__":
    main()
