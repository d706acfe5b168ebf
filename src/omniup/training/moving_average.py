"""Average trained weights over the steps of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """Exponential moving average of trained weights.

    Args:
        weights: by name, on their device.
        decay: how much of the average is kept at a step. Less at first, as diffusers does it: what has been learned
            counts more than what was drawn.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self._weights = dict(weights)
        self._averages = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the averages towards the weights after the step of this number, from 1 on."""
        decay = min(self.decay, step / (9 + step))
        torch._foreach_lerp_(list(self._averages.values()), list(self._weights.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Replace the weights by the averages within."""
        own = {name: weight.data for name, weight in self._weights.items()}
        try:
            for name, weight in self._weights.items():
                weight.data = self._averages[name]
            yield
        finally:
            for name, weight in self._weights.items():
                weight.data = own[name]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages."""
        return dict(self._averages)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Set the averages."""
        for name, average in self._averages.items():
            average.copy_(state[name])
