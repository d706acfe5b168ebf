"""The stages of a job: timed, told to those who follow it, and the places where it ends when it is cancelled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from omniup import Progress as FitProgress
from omniup.web.jobs import Job
from omniup.web.schemas import Progress

TOLD = {
    "encode": "features",
    "render image": "render",
    "segment": "segment",
    "load": "load",
    "restore": "restore",
    "draw": "draw",
}
"""What people are told of the stages; the steps of a fit speak for themselves, the others are over in no time."""


class Stages:
    """Times the stages of a job, and tells of them.

    Args:
        job: whose they are.

    Attributes:
        seconds: how long each took.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.seconds: dict[str, float] = {}
        self._began = 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Surround a stage."""
        if told := TOLD.get(name):
            self.job.tell(Progress.model_validate({"stage": told}))
        began = self._began = time.perf_counter()
        yield
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.seconds[name] = time.perf_counter() - began

    def fitting(self, step: FitProgress) -> None:
        """Tell of a step of the fit."""
        told = {name: getattr(step, name) for name in ("iteration", "iterations", "loss", "seconds_left")}
        self.job.tell(Progress(stage="fit", **told))

    def tiling(self, done: int, tiles: int) -> None:
        """Tell of a tile, within the stage."""
        left = (time.perf_counter() - self._began) / done * (tiles - done)
        self.job.tell(Progress(stage="restore", tile=done, tiles=tiles, seconds_left=left))
