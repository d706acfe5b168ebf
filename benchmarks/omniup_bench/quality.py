"""Quality: every method on every image of every task, what is known already left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omniup.errors import InputError
from omniup.evaluation.measuring import cost, processor, versions
from omniup.mixing import DEFAULT_MEMORY
from omniup.upsamplers import Upsampler
from omniup.upsamplers.base import ImageLike, Size
from omniup_bench.methods import Entry
from omniup_bench.records import Quality, Results
from omniup_bench.task import Learner, Read, Sample, Statistics, Task


@dataclass(frozen=True)
class Progress:
    """How far a run has come, told after each image and method.

    Attributes:
        done: cells of the plan that are measured, those that were known counted too.
        expected: how many there will be, estimated until every task's images have been counted.
        task: what is being measured.
        factor: what is being measured.
        method: what is being measured.
    """

    done: int
    expected: int
    task: str
    factor: int
    method: str


def measure(
    tasks: Sequence[Task],
    methods: Sequence[Entry],
    data: Path,
    results: Results,
    *,
    factors: Sequence[int] | None = None,
    images: int | None = None,
    device: torch.device | None = None,
    memory: int = DEFAULT_MEMORY,
    weights: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Measure what the results do not have yet, and add it to them, image by image.

    Args:
        tasks: what to measure on.
        methods: what to measure.
        data: the folder that the tasks read.
        results: where it goes.
        factors: those of a task's own that are wanted; all if None.
        images: so many of each task, the first ones; all if None.
        device: where to compute; the CPU if None.
        memory: bytes that the methods may work in.
        weights: as in `Entry.build`.
        progress: called after each image and method; what it raises ends the run.

    Raises:
        InputError: a task has none of the factors, the data is not laid out as a task says, or a method cannot be built
            or refuses its input.
    """
    device = device or torch.device("cpu")
    plan = [(task, factor) for task in tasks for factor in _factors(task, factors)]
    known: dict[str, int] = {}  # how many images a task has
    done = 0
    for task, factor in plan:
        runs = [_Run(entry, task, factor, data, device, memory, weights) for entry in methods]
        for count, sample in enumerate(task.samples(data, factor, images), start=1):
            known[task.name] = max(known.get(task.name, 0), count)
            for run in runs:
                facts = run.facts(sample)
                if Quality.key(facts) not in results:
                    results.add(Quality(**facts, **run.measure(sample)))
                done += 1
                if progress:
                    expected = sum(known.get(each.name, images or 1) for each, _ in plan) * len(methods)
                    progress(Progress(done, expected, task.name, factor, run.entry.name))


def judge(
    task: Task, method: Upsampler, data: Path, factor: int, count: int | None = None
) -> Iterator[tuple[str, Statistics]]:
    """Try a method on a task, without results: names of the images and what the task's judge found."""
    read = _reader(task, method, data, factor)
    for sample in task.samples(data, factor, count):
        yield sample.name, sample.judge(read(sample.name, method(sample.image, sample.signal, sample.size)))


def total(statistics: Iterable[Statistics]) -> Statistics:
    """Add up the statistics of some images."""
    sums: dict[str, NDArray[Any]] = {}
    for each in statistics:
        sums = {name: np.asarray(value, dtype=np.float64) + sums.get(name, 0) for name, value in each.items()}
    return sums


class _Run:
    """One method on one task, built when it is first needed: weights may be large."""

    def __init__(
        self,
        entry: Entry,
        task: Task,
        factor: int,
        data: Path,
        device: torch.device,
        memory: int,
        weights: Path | None,
    ) -> None:
        self.entry, self.task, self.factor, self.data = entry, task, factor, data
        self.device, self.memory, self.weights = device, memory, weights
        self.settings = entry.settings(task.signal)
        self.where = {"device": device.type, "processor": processor(device), "versions": versions()}

    @cached_property
    def method(self) -> Upsampler:
        method = self.entry.build(self.task.signal, self.weights)
        method(torch.rand(1, 3, 64, 64), torch.rand(1, 1, 4, 4).to(self.device))  # what is loaded at first use, is now
        return method

    @cached_property
    def read(self) -> Read:
        """What is judged in place of a result."""

        def upsample(
            image: ImageLike, signal: Tensor, size: Size | None = None, *, memory: int = self.memory
        ) -> Tensor:
            return self.method(image, signal.to(self.device), size, memory=memory).cpu()

        return _reader(self.task, upsample, self.data, self.factor)

    def facts(self, sample: Sample) -> dict[str, Any]:
        """What is known before the measurement."""
        height, width = sample.size or (sample.image.shape[2], sample.image.shape[3])
        return {
            "method": self.entry.name,
            "settings": self.settings,
            "task": self.task.name,
            "factor": self.factor,
            "image": sample.name,
            "views": len(sample.image),
            "size": (height, width),
            "grid": (sample.signal.shape[2], sample.signal.shape[3]),
            "channels": sample.signal.shape[1],
            **self.where,
        }

    def measure(self, sample: Sample) -> dict[str, Any]:
        """Upsample and judge."""
        image, signal, method = sample.image.to(self.device), sample.signal.to(self.device), self.method
        try:
            with cost(self.device) as taken:
                result = method(image, signal, sample.size, memory=self.memory)
        except InputError as error:
            raise InputError(f"{self.entry.name} on {self.task.name}, {sample.name}: {error}") from error
        found = {
            name: np.asarray(value).tolist()
            for name, value in sample.judge(self.read(sample.name, result.cpu())).items()
        }
        return {"statistics": found, "seconds": taken.seconds, "peak_bytes": taken.peak_bytes}


def _reader(task: Task, method: Upsampler, data: Path, factor: int) -> Read:
    """What a task judges in place of a method's results: most of them these themselves."""
    return task.learn(method, data, factor) if isinstance(task, Learner) else lambda _, result: result


def _factors(task: Task, wanted: Sequence[int] | None) -> list[int]:
    factors = [factor for factor in task.factors if wanted is None or factor in wanted]
    if not factors:
        raise InputError(f"factors: {task.name} has none of those; accepted are {', '.join(map(str, task.factors))}")
    return factors
