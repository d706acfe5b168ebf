"""Time the stages of a job, send their progress to those who follow it, and end it where it is cancelled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from omniup import Progress as FitProgress
from omniup.web.jobs import Job
from omniup.web.schemas import Progress

REPORTED = {
    "encode": "features",
    "prepare": "prepare",
    "render image": "render",
    "confidence": "confidence",
    "segment": "segment",
    "load": "load",
    "restore": "restore",
    "draw": "draw",
}
"""Stages that are reported, by name; the steps of a fit report themselves, the others are over in no time."""


class Stages:
    """Stages of a job: timed, and sent as events.

    Args:
        job: whose they are.

    Attributes:
        seconds: how long each took.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.seconds: dict[str, float] = {}
        self._began = 0.0
        self._reported = ""
        self._ticked = 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Run a stage within."""
        if reported := REPORTED.get(name):
            self._reported = reported
            self.job.add_event(Progress.model_validate({"stage": reported}))
        began = self._began = time.perf_counter()
        yield
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.seconds[name] = time.perf_counter() - began

    def tick(self, elapsed: float) -> None:
        """Send how many seconds the job has taken, about once a second, from the second on."""
        if self._reported and elapsed - self._ticked >= 1:
            self._ticked = elapsed
            self.job.add_event(Progress.model_validate({"stage": self._reported, "elapsed": elapsed}))

    def fitting(self, step: FitProgress) -> None:
        """Send the progress of a step of the fit."""
        fields = {name: getattr(step, name) for name in ("iteration", "iterations", "loss", "seconds_left")}
        self.job.add_event(Progress(stage="fit", **fields))

    def tiling(self, done: int, tiles: int) -> None:
        """Send the progress of a tile, within the stage."""
        left = (time.perf_counter() - self._began) / done * (tiles - done)
        self.job.add_event(Progress(stage="restore", tile=done, tiles=tiles, seconds_left=left))
