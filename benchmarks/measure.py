"""What the scripts of this folder share: fair timing, peak memory, tables, the sample photograph.

Times are medians of several runs after one that is not counted. Machines are noisy, so whatever is compared is timed in
turns within one process, and the ratio is the median of the ratios of the turns.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

Run = Callable[[], object]


def device_argument(description: str | None) -> torch.device:
    """Parse the one argument that every script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    return torch.device(parser.parse_args().device)


def photograph(height: int, width: int, device: torch.device) -> Tensor:
    """The sample photograph at some size, [1, 3, H, W] in 0..1."""
    from omniup.files import image_tensor, sample_image

    return image_tensor(sample_image("coffee").resize((width, height))).to(device)


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(run: Run, device: torch.device) -> float:
    """Time one run."""
    synchronise(device)
    began = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - began


def in_turns(runs: Sequence[Run], device: torch.device, *, turns: int = 7) -> list[list[float]]:
    """Times of several things, measured in turns: one list for each, of `turns` times."""
    for run in runs:
        seconds(run, device)
    return [list(times) for times in zip(*([seconds(run, device) for run in runs] for _ in range(turns)), strict=True)]


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """Median of the ratios of the turns."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def resident(field: str) -> float:
    """This process's memory in MB: `VmRSS`, what it holds now, or `VmHWM`, the most it ever held (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def machine(device: torch.device) -> str:
    """One line about where the numbers come from."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else _processor()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], device: torch.device) -> None:
    """Print a table."""
    table = Table(*header, title=title, caption=machine(device), title_justify="left", caption_justify="left")
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
    return names[0] if names else platform.machine()
