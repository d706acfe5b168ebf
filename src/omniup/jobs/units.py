"""Bring the numbers of a picture to 0..1, as `omniup.upsample` and the command do of a whole one.

Bytes are divided by 255 and 16-bit colours by 65535; floating-point numbers within 0..1 stay; the bands of a sensor are
scaled from the 1st to the 99th percentile of their values. Percentiles are those of all values, to the last digit, and
take two passes over the picture and no more memory than counts: the first finds out which values share the upper half
of their bits with a percentile, the second which it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omniup.errors import InputError
from omniup.jobs.pictures import Picture
from omniup.upsamplers.bands import PERCENTILES
from omniup.upsamplers.checks import OVERSHOOT

#: The bits of a number that one pass counts.
BITS = 16


@dataclasses.dataclass(frozen=True)
class Units:
    """The units of a picture's numbers.

    Attributes:
        divisor: that they are divided by; None where bands are scaled one by one.
        limits: of each band, the values that become 0 and 1; empty where there is a divisor.
        equal_channels: how many equal channels are made of each, 3 of grey pictures.
    """

    divisor: float | None
    limits: tuple[tuple[float, float], ...] = ()
    equal_channels: int = 1

    def guidance(self, numbers: NDArray[Any], valid: NDArray[np.bool_]) -> Tensor:
        """Convert numbers [G, rows, columns] to guidance [1, G', rows, columns], 0 where `valid` is not.

        The same arithmetic as of `as_guidance` and `scale_bands`, so that it has the same digits.
        """
        if self.divisor is not None:
            out = torch.from_numpy(np.ascontiguousarray(numbers, dtype=np.float32))
            out = out.div_(self.divisor) if self.divisor != 1 else out.clamp_(0, 1)
        else:
            out = torch.zeros(numbers.shape)
            for band, (black, white), scaled in zip(numbers, self.limits, out, strict=True):
                if white > black:
                    values = (band.astype(np.float64) - black) / (white - black)
                    scaled.copy_(torch.from_numpy(values).clamp_(0, 1))
        if not valid.all():
            out.masked_fill_(torch.from_numpy(~valid), 0)
        return out[None] if self.equal_channels == 1 else out.expand(self.equal_channels, -1, -1)[None].contiguous()


def find_units(picture: Picture, check: Callable[[], None]) -> Units:
    """Find the units of a picture's numbers, in passes over it where its type does not say.

    Args:
        picture: open.
        check: called after each window; what it raises ends the work.

    Raises:
        InputError: it cannot be read, or has no pixel with a value.
    """
    grey = 3 if picture.channels == 1 and (picture.dtype == np.uint8 or picture.is_colour) else 1
    if picture.dtype == np.uint8:
        return Units(255.0, (), grey)
    if picture.is_colour and picture.dtype == np.uint16:
        return Units(65535.0, (), grey)
    counts = _Counts(picture)
    counts.count_first(check)
    if counts.least >= -OVERSHOOT and counts.most <= 1 + OVERSHOOT:
        return Units(1.0)
    counts.count_second(check)
    return Units(None, counts.limits)


class _Counts:
    """Counts of a picture's values, from which order statistics are read.

    Values are numbered in their order: float32 by its bits, of which those of negative numbers are turned round.

    Attributes:
        least: of all values.
        most: likewise.
    """

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._upper = np.zeros((picture.channels, 2**BITS), np.int64)
        self._lower: list[dict[int, NDArray[np.int64]]] = [{} for _ in range(picture.channels)]
        self.least, self.most = math.inf, -math.inf

    def count_first(self, check: Callable[[], None]) -> None:
        """Count the upper halves of all values."""
        for rows, columns in self._picture.windows():
            numbers, valid = self._picture.read(rows, columns)
            for band, counts in zip(numbers, self._upper, strict=True):
                values = band[valid].astype(np.float32)
                if len(values):
                    self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))
                    counts += np.bincount(_keys(values) >> BITS, minlength=2**BITS)
            check()
        if self._upper[0].sum() == 0:
            raise InputError(self._picture.name, "has no pixel with a value", "pictures with some")

    def count_second(self, check: Callable[[], None]) -> None:
        """Count the lower halves of values that share the upper one with a percentile's neighbours."""
        for counts, lower in zip(self._upper, self._lower, strict=True):
            ends = np.cumsum(counts)
            ranks = {rank for percentile in PERCENTILES for rank in _neighbours(percentile, int(ends[-1]))[:2]}
            lower.update(
                {int(np.searchsorted(ends, rank, side="right")): np.zeros(2**BITS, np.int64) for rank in ranks}
            )
        for rows, columns in self._picture.windows():
            numbers, valid = self._picture.read(rows, columns)
            for band, lower in zip(numbers, self._lower, strict=True):
                keys = _keys(band[valid].astype(np.float32))
                for upper, counts in lower.items():
                    near = keys[keys >> BITS == upper] & (2**BITS - 1)
                    counts += np.bincount(near, minlength=2**BITS)
            check()

    @property
    def limits(self) -> tuple[tuple[float, float], ...]:
        """Percentiles of each band, as `np.percentile` has them."""
        limits = []
        for counts, lower in zip(self._upper, self._lower, strict=True):
            ends, found = np.cumsum(counts), []
            for percentile in PERCENTILES:
                first, second, part = _neighbours(percentile, int(ends[-1]))
                pair = [_value(ends, counts, lower, rank) for rank in (first, second)]
                found.append(float(np.percentile(np.array(pair), 100 * part)))
            limits.append((found[0], found[1]))
        return tuple(limits)


def _neighbours(percentile: float, count: int) -> tuple[int, int, float]:
    """Return the ranks of the values around a percentile of so many, and where between them it lies, 0..1."""
    place = (count - 1) * percentile / 100
    first = math.floor(place)
    return first, min(first + 1, count - 1), place - first


def _value(ends: NDArray[np.int64], counts: NDArray[np.int64], lower: dict[int, NDArray[np.int64]], rank: int) -> float:
    """Return the value of a rank."""
    upper = int(np.searchsorted(ends, rank, side="right"))
    within = rank - int(ends[upper] - counts[upper])
    key = (upper << BITS) + int(np.searchsorted(np.cumsum(lower[upper]), within, side="right"))
    bits = key ^ (0x80000000 if key & 0x80000000 else 0xFFFFFFFF)
    return float(np.array(bits, np.uint32).view(np.float32))


def _keys(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Number float32 values in their order."""
    bits = values.view(np.uint32)
    return bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
