"""Measure time and peak memory fairly, and describe the machine.

Machines are noisy: times are medians of several runs after one that is not counted, and what is compared is timed in
turns within one process, where the ratio is the median of the ratios of the turns.
"""

from __future__ import annotations

import contextlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from omniup._version import __version__
from omniup.mixing import pages

Run = Callable[[], object]
Clock = Callable[[], float]


@dataclass
class Cost:
    """Time and memory of a computation.

    Attributes:
        seconds: of the clock on the wall.
        peak_bytes: the most memory it held at a time beyond what was there before, its result included: of the
            process on a CPU (Linux), of torch's tensors on a GPU; None where the system does not tell.
    """

    seconds: float = 0.0
    peak_bytes: int | None = None


@contextlib.contextmanager
def cost(device: torch.device) -> Iterator[Cost]:
    """Measure time and peak memory of the body of this context; known once it has ended."""
    found = Cost()
    synchronise(device)
    before = _begin_peak(device)
    began = time.perf_counter()
    yield found
    synchronise(device)
    found.seconds = time.perf_counter() - began
    if before is not None:
        found.peak_bytes = max(0, _peak(device) - before)


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(run: Run, device: torch.device, clock: Clock = time.perf_counter) -> float:
    """Time one run."""
    synchronise(device)
    began = clock()
    run()
    synchronise(device)
    return clock() - began


def in_turns(
    runs: Sequence[Run], device: torch.device, *, turns: int = 7, clock: Clock = time.perf_counter
) -> list[list[float]]:
    """Time several things in turns: one list for each, of `turns` times.

    Args:
        runs: what is timed, after a run of each that is not counted.
        device: where it runs.
        turns: how often.
        clock: `time.process_time` for the time of this process's threads alone, where others share the cores.
    """
    for run in runs:
        seconds(run, device)
    times = ([seconds(run, device, clock) for run in runs] for _ in range(turns))
    return [list(each) for each in zip(*times, strict=True)]


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the ratios of the turns."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def resident(field: str) -> float:
    """Return this process's memory in MB: `VmRSS`, held now, or `VmHWM`, the most it ever held (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def processor(device: torch.device) -> str:
    """Name the processor: a GPU's name, or the CPU's with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Return the versions that numbers may depend on."""
    return {"omniup": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}


@dataclass(frozen=True)
class Limits:
    """Measured limits of a machine.

    Attributes:
        copy: bytes a second that are read and written in copying 256 MB: twice the bytes copied.
        matmul: floating-point operations a second in the product of two matrices [1024, 1024] of float32.
    """

    copy: float
    matmul: float


def limits(device: torch.device, *, turns: int = 5) -> Limits:
    """Measure a machine's own limits: the best of a few turns."""
    source = torch.ones(2**26, device=device)  # 256 MB
    target = torch.empty_like(source)
    left = torch.randn(1024, 1024, device=device)
    out = torch.empty_like(left)
    copying, products = in_turns(
        [lambda: target.copy_(source), lambda: torch.mm(left, left, out=out)], device, turns=turns
    )
    return Limits(copy=2 * source.nbytes / min(copying), matmul=2 * 1024**3 / min(products))


def _begin_peak(device: torch.device) -> int | None:
    """Reset the peak memory to what is held now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if device.type != "cpu" or not sys.platform.startswith("linux"):
        return None
    pages.give_back()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # since Linux 4.0: VmHWM starts again from VmRSS
    except OSError:
        return None
    return int(resident("VmRSS") * 2**20)


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else int(resident("VmHWM") * 2**20)
