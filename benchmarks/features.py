"""Features by the default method against torch's interpolation, halves against float32, and growth with the size.

Times are those of this process's threads on a CPU, so that other processes count little: `OMP_NUM_THREADS=1` for one
thread. The limit of each row is timed in the same turns: the result's memory taken and filled once, the products of one
pass without anything around them, and an exponential for each pixel and candidate.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from measure import device_argument, photograph, show
from omniup import PyramidBilateral
from omniup.evaluation.measuring import Run, in_turns, ratio

GROWTH = (512, 1024, 2048, 4096)

#: Cells that a pixel draws from: of the mix, a disc of radius 2; of the cubic spline.
CANDIDATES, TAPS = 13, 16


def main() -> None:
    """Print both tables."""
    device = device_argument(__doc__)
    compare(device)
    grow(device)


def compare(device: torch.device) -> None:
    """Print the table against torch's interpolation and between types."""
    rows = []
    bilinear, bicubic = (partial(F.interpolate, size=(512, 512), mode=mode) for mode in ("bilinear", "bicubic"))
    for channels, cells, name, other, reach in (
        (384, 32, "bilinear", bilinear, "≤ 1.5 ×"),
        (32, 32, "bicubic", bicubic, "≤ 1.5 ×"),
        (384, 37, "bilinear", bilinear, ""),
    ):
        signal, render = prepare(512, cells, channels, device)
        runs: list[Run] = [partial(render, signal), partial(other, signal), partial(bound, signal, 512)]
        rows.append(row(f"{channels} channels, {cells}×{cells} to 512²", f"{name}, torch", runs, reach, device))
    signal, render = prepare(512, 37, 384, device)
    for dtype in (torch.float16, torch.bfloat16):
        half = signal.to(dtype)
        runs = [partial(render, half), partial(render, signal), partial(bound, half, 512)]
        name = str(dtype).removeprefix("torch.")
        rows.append(row(f"the same in {name}", "float32, ours", runs, "≤ 1 ×", device))
    header = ["what", "time", "against", "its time", "ratio", "to reach", "limit", "distance"]
    show("Features by pyramid_bilateral", header, rows, device)


def grow(device: torch.device) -> None:
    """Print the table of the time per pixel."""
    prepared = {side: prepare(side, side // 16, 32, device) for side in GROWTH}
    runs: list[Run] = [partial(often, side, *prepared[side]) for side in GROWTH]
    runs += [partial(often, side, prepared[side][0], partial(bound, side=side)) for side in GROWTH]
    times = in_turns(runs, device, turns=3, clock=clock(device))
    per_pixel = [
        [each / (repeats(side) * side**2) for each in run] for side, run in zip(2 * GROWTH, times, strict=True)
    ]
    rows = [
        [
            f"{side}×{side}",
            f"{statistics.median(own) * 1e9:.0f} ns",
            f"{ratio(own, per_pixel[0]):.2f} ×",
            "≤ 1.15 ×" if side == GROWTH[-1] else "",
            f"{statistics.median(least) * 1e9:.0f} ns",
        ]
        for side, own, least in zip(GROWTH, per_pixel[: len(GROWTH)], per_pixel[len(GROWTH) :], strict=True)
    ]
    header = ["size, 32 channels, stride 16", "per pixel", "growth since 512²", "to reach", "limit"]
    show("Features by pyramid_bilateral, time per pixel", header, rows, device)


def prepare(side: int, cells: int, channels: int, device: torch.device) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Make features, and what renders them."""
    prepared = PyramidBilateral().prepare(photograph(side, side, device), (cells, cells))
    return torch.randn(1, channels, cells, cells, device=device), partial(prepared.render, signal_type="features")


def row(what: str, other: str, runs: list[Run], reach: str, device: torch.device) -> list[str]:
    """Time ours, what it is compared with, and the limit."""
    times = in_turns(runs, device, turns=5, clock=clock(device))
    own, others, least = (f"{statistics.median(run):.3f} s" for run in times)
    return [
        what,
        own,
        other,
        others,
        f"{ratio(times[0], times[1]):.2f} ×",
        reach,
        least,
        f"{ratio(times[0], times[2]):.1f} ×",
    ]


def bound(signal: Tensor, side: int) -> None:
    """Do what no mix with a spline can do without: write the result once, multiply, take exponentials."""
    channels, pixels = signal.shape[1], side**2
    signal.new_empty(1, channels, side, side).fill_(1)
    inner = CANDIDATES + TAPS
    width = min(pixels, max(1024, 2**26 // channels))  # in parts that are products of large matrices
    weights = torch.empty(inner, width, device=signal.device).fill_(0.5)
    values = torch.empty(channels, inner, device=signal.device).fill_(0.5)
    out = torch.empty(channels, min(width, 2048), device=signal.device)
    for _ in range(math.ceil(pixels / out.shape[1])):
        torch.mm(values, weights[:, : out.shape[1]], out=out)
    logits = torch.empty(2**17, device=signal.device).fill_(-1)
    weights = torch.empty_like(logits)
    for _ in range(math.ceil(pixels * CANDIDATES / len(logits))):
        torch.exp(logits, out=weights)


def often(side: int, signal: Tensor, run: Callable[[Tensor], object]) -> None:
    """Run small sizes several times, or they would be lost in noise; all results are kept until the last."""
    _ = [run(signal) for _ in range(repeats(side))]


def repeats(side: int) -> int:
    """Return how often a size is run."""
    return max(1, (2048 // side) ** 2)


def clock(device: torch.device) -> Callable[[], float]:
    """Return the clock: of this process's threads on a CPU, on the wall elsewhere."""
    return time.process_time if device.type == "cpu" else time.perf_counter


if __name__ == "__main__":
    main()
