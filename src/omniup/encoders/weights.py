"""Draw random initial weights from a fixed seed, where there are no trained ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SEED = 0


@contextmanager
def seeded() -> Iterator[None]:
    """Draw initial weights from `SEED` and leave the caller's random state untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)  # torch.manual_seed would reseed the GPUs as well
        yield
