"""Measure quality: every method on every image of every task, except what is known already."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omniup.errors import InputError
from omniup.evaluation.measuring import cost, processor, versions
from omniup.mixing import DEFAULT_MEMORY
from omniup.upsamplers import Upsampler
from omniup_bench.data import Folders
from omniup_bench.methods import Entry, upsample, warm_up
from omniup_bench.records import Quality, Results
from omniup_bench.task import FittedTask, Read, Sample, Statistics, Task, Upsample

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """The progress of a run, reported after each image and method.

    Attributes:
        done: number of measurements that exist, those that were known included.
        expected: number of all measurements, estimated until every task's images have been counted.
        task: name of the task being measured.
        factor: pixels to a cell.
        method: name of the method being measured.
    """

    done: int
    expected: int
    task: str
    factor: int
    method: str


def measure(
    tasks: Sequence[Task],
    methods: Sequence[Entry],
    folders: Folders,
    results: Results,
    *,
    factors: Sequence[int] | None = None,
    images: int | None = None,
    device: torch.device | None = None,
    memory: int = DEFAULT_MEMORY,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Measure what the results do not have yet, and add it to them, image by image.

    Args:
        tasks: those to measure on.
        methods: those to measure.
        folders: of data sets, models and weights.
        results: the file that the measurements are added to.
        factors: those of a task's own that are wanted; all if None.
        images: so many of each task, the first ones; all if None.
        device: where to compute; the CPU if None.
        memory: bytes that the methods may work in.
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
        runs = [_Run(entry, task, factor, folders, device, memory) for entry in methods]
        for count, sample in enumerate(task.samples(folders, factor, images), start=1):
            known[task.name] = max(known.get(task.name, 0), count)
            for run in (run for run in runs if run.takes(sample.image.shape[1])):
                facts = run.facts(sample)
                if Quality.key(facts) not in results:
                    results.add(Quality(**facts, **run.measure(sample)))
                done += 1
                if progress:
                    expected = sum(known.get(each.name, images or 1) for each, _ in plan) * len(methods)
                    progress(Progress(done, expected, task.name, factor, run.entry.name))


def evaluate(
    task: Task, method: Upsampler, folders: Folders, factor: int, count: int | None = None
) -> Iterator[tuple[str, Statistics]]:
    """Evaluate a method on a task, without a file of results: names of the images and their statistics."""

    def run(image: Tensor, signal: Tensor, size: tuple[int, int] | None) -> Tensor:
        return upsample(method, image, signal, task.signal_type, size)

    read = _reader(task, run, folders, factor)
    for sample in task.samples(folders, factor, count):
        yield sample.name, sample.evaluate(read(sample.name, run(sample.image, sample.signal, sample.size)))


def total(statistics: Iterable[Statistics]) -> Statistics:
    """Add the statistics of some images."""
    sums: dict[str, NDArray[Any]] = {}
    for each in statistics:
        sums = {name: np.asarray(value, dtype=np.float64) + sums.get(name, 0) for name, value in each.items()}
    return sums


class _Run:
    """One method on one task, built when it is first needed: weights may be large."""

    def __init__(
        self, entry: Entry, task: Task, factor: int, folders: Folders, device: torch.device, memory: int
    ) -> None:
        self.entry, self.task, self.factor, self.folders = entry, task, factor, folders
        self.device, self.memory = device, memory
        self.settings = entry.settings()
        self.where = {"device": device.type, "processor": processor(device), "versions": versions()}
        self._takes = {3: True}  # by the number of the guidance's channels

    @cached_property
    def method(self) -> Upsampler:
        """The upsampler, which has loaded what it loads at first use."""
        method = self.entry.build(self.folders.weights)
        warm_up(method, self.task.signal_type, self.device)
        return method

    def takes(self, channels: int) -> bool:
        """Try whether the method takes guidance of so many channels; all take three. What is left out is logged."""
        if channels not in self._takes:
            try:
                warm_up(self.method, self.task.signal_type, self.device, channels)
            except InputError as error:
                logger.warning("%s is not measured on %s: %s", self.entry.name, self.task.name, error)
                self._takes[channels] = False
            else:
                self._takes[channels] = True
        return self._takes[channels]

    @cached_property
    def read(self) -> Read:
        """The function that returns what is evaluated in place of a result."""
        return _reader(self.task, self.upsample, self.folders, self.factor)

    def upsample(self, image: Tensor, signal: Tensor, size: tuple[int, int] | None) -> Tensor:
        """Upsample on the device; the result is on the CPU."""
        inputs = image.to(self.device), signal.to(self.device)
        return upsample(self.method, *inputs, self.task.signal_type, size, self.memory).cpu()

    def facts(self, sample: Sample) -> dict[str, Any]:
        """Describe the measurement before it is made."""
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
        """Upsample and evaluate."""
        image, signal, method = sample.image.to(self.device), sample.signal.to(self.device), self.method
        try:
            with cost(self.device) as taken:
                result = upsample(method, image, signal, self.task.signal_type, sample.size, self.memory)
        except InputError as error:
            raise error.within(f"{self.entry.name} on {self.task.name}, {sample.name}") from error
        statistics = sample.evaluate(self.read(sample.name, result.cpu()))
        found = {name: np.asarray(value).tolist() for name, value in statistics.items()}
        return {"statistics": found, "seconds": taken.seconds, "peak_bytes": taken.peak_bytes}


def _reader(task: Task, upsample: Upsample, folders: Folders, factor: int) -> Read:
    """Return the function from a result to what the task evaluates: for most tasks the result itself."""
    return task.fit(upsample, folders, factor) if isinstance(task, FittedTask) else lambda _, result: result


def _factors(task: Task, wanted: Sequence[int] | None) -> list[int]:
    factors = [factor for factor in task.factors if wanted is None or factor in wanted]
    if not factors:
        asked, known = (", ".join(map(str, each)) for each in (wanted or (), task.factors))
        raise InputError(
            "factors", "are {asked}, none of which {task} has", "{known}", asked=asked, task=task.name, known=known
        )
    return factors
