"""Draw random numbers that depend on the seed and on their purpose, and not on what was drawn before.

So there is no random state to carry along: a training that goes on at step 5000 draws what it would have drawn anyway,
in whichever process, however many photographs were decoded ahead.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def draw(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Begin the stream of random numbers for one purpose.

    Args:
        seed: of the training.
        purpose: what they are for, e.g. "crop".
        counters: which crop: of which step, in which process.

    Example:
        >>> bool(draw(0, "crop", 17).random() == draw(0, "crop", 17).random())
        True
    """
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(purpose.encode()), *counters]))


@contextmanager
def seeded(seed: int, purpose: str, *counters: int) -> Iterator[None]:
    """Seed torch's global generator on the CPU for one purpose within, and restore its state."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(draw(seed, purpose, *counters).integers(2**63)))
        yield
