"""Recognise what a signal's file holds, undeclared, for a user to confirm: its type, and the numbers for holes.

`signal_types` refuses what may be two things, such as integers; here the likelier one is proposed, and nothing is
upsampled before somebody has seen it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.upsamplers.signal_files import SignalFile, are_whole
from omniup.upsamplers.signal_types import SignalType

FEWEST_HOLES = 0.005
"""Part of the cells that holes are, at least: one smallest value is no sign."""

FEWEST_VALUES = 8
"""Distinct values that a measurement has beside its holes, at least: fewer are labels or a mask."""

CLOSEST = 0.02
"""Part of the largest value that lies between holes of 0 and the smallest measurement, at least."""

MOST_LABELS = 256
"""Distinct whole numbers that are proposed as labels, at most."""


class Recognised(NamedTuple):
    """A signal's file as it was recognised.

    Attributes:
        file: as it is read with the type and the numbers that are proposed.
        signal_type: the type that is proposed.
        invalid: numbers that are proposed for holes beside those that were given.
    """

    file: SignalFile
    signal_type: SignalType
    invalid: tuple[float, ...]


def recognise(
    read: Callable[[str, Sequence[float]], SignalFile], signal_type: str = "auto", invalid: Sequence[float] = ()
) -> Recognised:
    """Recognise a signal's type and its holes.

    Args:
        read: reads the file, given a type (or `"auto"`) and the numbers that stand for holes.
        signal_type: as declared; `"auto"` for whatever it is.
        invalid: numbers that are known to stand for holes.

    Raises:
        InputError: the file cannot be read in any way; of several reasons, the first.
    """
    nan = (math.nan,)
    attempts: list[tuple[str, tuple[float, ...]]] = [(signal_type, ()), (signal_type, nan)]
    if signal_type == "auto":
        attempts += [("values", ()), ("values", nan)]  # of integers that may be labels or a measurement
    refusals = []
    for declared, proposed in attempts:
        try:
            file = read(declared, [*invalid, *proposed])
        except InputError as refusal:
            refusals.append(refusal)
            continue
        found = file.types[0] if declared == signal_type != "auto" else _likely_type(file)
        if found == "measurement" and not proposed:
            proposed = tuple(value for value in _sentinels(file) if value not in invalid)
        with suppress(InputError):  # whole numbers in floating point cannot be read as labels, say
            return Recognised(read(found, [*invalid, *proposed]), found, proposed)
        return Recognised(file, file.types[0], ())
    raise refusals[0]


def _likely_type(file: SignalFile) -> SignalType:
    values = file.values
    if file.may_be_labels or (not values.is_floating_point() and values.shape[1] == 1 and _are_few(values)):
        return "labels"
    return file.types[0] if values.is_floating_point() or file.types[0] == "labels" else "measurement"


def _are_few(values: Tensor) -> bool:
    return len(values.double().unique()) <= min(MOST_LABELS, max(2, values[0, 0].numel() // 4))


def _sentinels(file: SignalFile) -> list[float]:
    """Return the smallest or the largest number of a measurement where that stands apart, again and again."""
    values = file.values
    if values.shape[1] > 1:
        return []
    known = (values if file.valid is None else values[file.valid]).flatten().double()
    found = []
    for value in {known.min().item(), known.max().item()}:
        others = known[known != value]
        count = len(known) - len(others)
        if count < max(2, FEWEST_HOLES * len(known)) or len(torch.unique(others)) < FEWEST_VALUES:
            continue
        low, high = others.min().item(), others.max().item()
        gap = max(low - value, value - high)
        apart_from_zero = value == 0 and low >= CLOSEST * high and (high > 1 or are_whole(others))
        if apart_from_zero or gap > high - low:
            found.append(value)
    return found
