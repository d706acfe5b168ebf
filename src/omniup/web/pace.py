"""Measure the speed of this machine, to estimate the time of a run before it is started."""

from __future__ import annotations

import dataclasses
import threading
import time
from contextlib import nullcontext

from omniup.encoders import Projection
from omniup.files import image_tensor, sample_image
from omniup.reconstruction import panels, reconstruct, working_image
from omniup.upsamplers import UpsampleAnything
from omniup.web.pictures import data_url, drawn

PATIENT = 3.0
"""Seconds that a first run may take; on a machine that needs more for the usual settings, gentler ones are offered."""

FASTER = 10
"""Factor on the measured speed that no upsampling exceeds: the machine was busy, or a mix is cheaper than a fit."""

STRIDE = 16
"""Pixels per cell of the run that is measured."""


class Pace:
    """Measured speed of the machine, corrected by every run.

    Attributes:
        pairs_per_second: pixels × window cells × steps that a fit does in a second.
        overhead_seconds: what a run of 256 × 256 pixels takes beside the fit.
    """

    def __init__(self) -> None:
        self.pairs_per_second = 2e8
        self.overhead_seconds = 1.0
        self._lock = threading.Lock()

    def measure(self, device: str) -> None:
        """Do a small run, which also imports and sets up what the first user would have to wait for."""
        image = working_image(image_tensor(sample_image()), STRIDE, 256, square=True).to(device)
        method = UpsampleAnything(iterations=10)
        for _ in range(2):  # the first warms up
            began = time.perf_counter()
            made = reconstruct(image, method, stride=STRIDE, encode=Projection(), stage=lambda _: nullcontext())
            for picture in drawn(panels(made), made.kernels.size).values():
                data_url(picture)
            taken = time.perf_counter() - began
        fit = made.kernels.history.seconds["fit"]
        self.pairs_per_second = method.cost(made.kernels.size, made.kernels.grid) / fit
        self.overhead_seconds = taken - fit

    def learn(self, pixels: int, pairs: int, iterations: int, fit: float, rest: float) -> None:
        """Update the speed by a run: its size, its cost, its steps, and its seconds in the fit and beside it."""
        with self._lock:
            if iterations >= 10 and fit > 0:
                self.pairs_per_second += 0.3 * (pairs / fit - self.pairs_per_second)
            self.overhead_seconds += 0.3 * (rest * 65536 / pixels - self.overhead_seconds)

    def seconds(self, size: int, method: UpsampleAnything) -> float:
        """Estimate a run of size × size pixels."""
        pairs = method.cost((size, size), (size // STRIDE, size // STRIDE))
        return self.overhead_seconds * size * size / 65536 + pairs / self.pairs_per_second

    def most_pairs(self, seconds: float) -> float:
        """Estimate how many pairs of pixel and cell may be visited in some time, by a machine much faster than this."""
        return FASTER * self.pairs_per_second * seconds

    def gentle(self) -> dict[str, int]:
        """Return the settings to begin with: none but the usual where those are quick enough here."""
        usual = UpsampleAnything.preset("spec")
        if self.seconds(256, usual) <= PATIENT:
            return {}
        fewer = {"iters": 30}
        return (
            fewer if self.seconds(256, dataclasses.replace(usual, iterations=30)) <= PATIENT else {**fewer, "size": 224}
        )
