"""Measure speed: a method's preparation, its rendering, and both, at one size after another, in fresh processes.

A process of its own separates a method's memory from that of others, and can be ended when it takes too long.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omniup.errors import is_out_of_memory
from omniup.evaluation.measuring import Limits, Run, cost, limits, processor, seconds, versions
from omniup.files import image_tensor, sample_image
from omniup.mixing import DEFAULT_MEMORY
from omniup.upsamplers import Upsampler
from omniup_bench.methods import Entry, upsample, warm_up
from omniup_bench.records import MeasuredType, Results, Speed

STRIDE = 16
TURNS = 5
SIDES = (256, 512, 1024, 2048, 4096)
CHANNELS = 32

START_SECONDS = 60
"""Maximum time for a process to import what it needs, on a busy machine."""

_KILLED = -9
"""Exit status of a process that the system ended for its memory."""


@dataclass(frozen=True)
class Case:
    """A method at a size.

    Attributes:
        method: its name, as `Entry` has it.
        side: of the square image, in pixels.
        channels: of the signal, whose cells are `STRIDE` pixels.
        signal_type: of the signal.
        device: where to compute.
        limit: seconds for all stages.
        memory: bytes that the method may work in.
        weights: as in `Entry.build`.
    """

    method: str
    side: int
    channels: int
    signal_type: MeasuredType = "features"
    device: str = "cpu"
    limit: float = 60.0
    memory: int = DEFAULT_MEMORY
    weights: str | None = None


def measure(cases: Sequence[Case], results: Results, *, progress: Callable[[Case], None] | None = None) -> None:
    """Measure what the results do not have yet, and add it to them, case by case.

    Once a method has failed at a size, for time or memory, larger ones of as many channels are left out.

    Args:
        cases: in the order of their sizes.
        results: the file that the measurements are added to.
        progress: called before each case; what it raises ends the run.

    Raises:
        InputError: a method cannot be built.
    """
    measured: dict[str, Limits] = {}  # by device
    for case in cases:
        if progress:
            progress(case)
        device = torch.device(case.device)
        entry = Entry.parse(case.method)
        facts = _facts(case, entry, device)
        known = Speed.key(facts | {"stage": "whole"}) in results
        if known or _hopeless(facts, results.speed):
            continue
        if case.device not in measured:
            measured[case.device] = limits(device)
        shared = {
            "limit_seconds": case.limit,
            "result_bytes": 4 * case.channels * case.side**2,
            "copy_rate": measured[case.device].copy,
            "matmul_rate": measured[case.device].matmul,
        }
        stages = _run_in_process(case)
        for found in sorted(stages, key=lambda stage: stage["stage"] == "whole"):  # last: by it a case is known
            record = Speed(**facts, **shared, **found)
            if Speed.key(vars(record)) not in results:  # from a run that was killed before its last
                results.add(record)


def _facts(case: Case, entry: Entry, device: torch.device) -> dict[str, Any]:
    return {
        "method": entry.name,
        "settings": entry.settings(),
        "signal_type": case.signal_type,
        "size": (case.side, case.side),
        "grid": (_cells(case), _cells(case)),
        "channels": case.channels,
        "device": case.device,
        "processor": processor(device),
        "versions": versions(),
    }


def _hopeless(facts: dict[str, Any], known: Sequence[Speed]) -> bool:
    """Return whether the method has failed with a smaller image already."""
    same = ("method", "settings", "signal_type", "channels", "device", "processor")
    return any(
        record.failure and record.size < facts["size"] and all(getattr(record, name) == facts[name] for name in same)
        for record in known
    )


def _run_in_process(case: Case) -> list[dict[str, Any]]:
    """Run a case in a process of its own: what it found for each stage, or that the whole failed."""
    command = [sys.executable, "-m", __name__, json.dumps(dataclasses.asdict(case))]
    failure = {"stage": "whole", "seconds": (), "peak_bytes": None}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS + case.limit)
        output, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as expired:
        output, status = _text(expired.stdout), 0
    stages: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]
    if any(stage["stage"] == "whole" for stage in stages):
        return stages
    if status == _KILLED:
        return [failure | {"failure": "memory"}]
    if status:
        raise RuntimeError(f"{case}: {done.stderr.strip()}")
    return [failure | {"failure": "time"}]


def _text(output: bytes | str | None) -> str:
    """Decode what a process that was ended had written: bytes, even where text was asked for."""
    return output.decode() if isinstance(output, bytes) else output or ""


def _run(case: Case) -> Iterator[dict[str, Any]]:
    """Measure a case, in this process: the whole first, which matters most."""
    device = torch.device(case.device)
    method = Entry.parse(case.method).build(Path(case.weights) if case.weights else None)
    image = image_tensor(sample_image("coffee").resize((case.side, case.side))).to(device)
    signal = torch.rand(1, case.channels, _cells(case), _cells(case)).to(device)
    if case.signal_type == "probabilities":
        signal = signal / signal.sum(1, keepdim=True)
    warm_up(method, case.signal_type, device)
    stages = _stages(method, image, signal, case.signal_type, case.memory)
    for name, run in stages:
        ends = time.perf_counter() + case.limit / 3  # of three stages
        try:
            with cost(device) as first:
                run()
            times: list[float] = []
            while len(times) < TURNS and time.perf_counter() + first.seconds < ends:
                times.append(seconds(run, device))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            yield {"stage": name, "seconds": (), "peak_bytes": None, "failure": "memory"}
            return
        peak = first.peak_bytes
        yield {"stage": name, "seconds": times or [first.seconds], "peak_bytes": peak, "failure": None}


def _stages(
    method: Upsampler, image: Tensor, signal: Tensor, signal_type: str, memory: int
) -> Iterator[tuple[str, Run]]:
    """Yield what is timed of a method, by name; each is made ready when the one before has been timed."""
    grid = signal.shape[2], signal.shape[3]
    yield "whole", lambda: upsample(method, image, signal, signal_type, memory=memory)
    yield "prepare", lambda: method.prepare(image, grid, memory=memory)
    prepared = method.prepare(image, grid, memory=memory)
    yield "render", lambda: prepared.render(signal, signal_type, memory=memory)


def _cells(case: Case) -> int:
    return max(1, case.side // STRIDE)


if __name__ == "__main__":
    for stage in _run(Case(**json.loads(sys.argv[1]))):
        print(json.dumps(stage), flush=True)
