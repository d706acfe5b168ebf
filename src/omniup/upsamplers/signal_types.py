"""Resolve the type of a signal, once and for each image by itself: it decides how the signal is upsampled.

| type | what it is | how it is upsampled |
|---|---|---|
| `features` | vectors of a network | as each method does it |
| `probabilities` | class probabilities: two or more channels, not negative, summing to 1 in each cell | likewise |
| `measurement` | area-averages of something that has a value at each pixel: depth, soft masks, an image | likewise |
| `values` | anything else | mixed, and no more |
| `labels` | numbers of classes or segments, boolean masks | each label's 0/1 map is mixed, and the argmax taken |
| `logits` | logarithms of probabilities, up to a constant in each cell | softmax, as probabilities, logarithm |
| `directions` | unit vectors, such as surface normals | as features, then normalised |

`auto` takes boolean signals and integers of two values for labels, several channels that are probabilities for these,
one floating-point channel for a measurement, and all else for features. Integers of more values must be declared: they
may be labels or quantised measurements.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Literal, TypeAlias, cast, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.mixing.dtypes import signed_bits, widest
from omniup.upsamplers.checks import bounds

SignalType: TypeAlias = Literal["features", "probabilities", "labels", "measurement", "values", "logits", "directions"]
SIGNAL_TYPES: tuple[SignalType, ...] = get_args(SignalType)

Render: TypeAlias = Callable[[Tensor, "tuple[SignalType, ...]"], Tensor]
"""Upsamples floating-point signals [B, C, h, w] of given types, one for each image: to [B, C, ...]."""

#: Largest difference from 1 of a cell's sum of probabilities: what 16-bit numbers lose.
TOLERANCE = 0.01

logger = logging.getLogger(__name__)


def signal_types(signal: Tensor, declared: str = "auto") -> tuple[SignalType, ...]:
    """Resolve the type of each image's signal.

    Args:
        signal: [B, C, h, w].
        declared: one of `SIGNAL_TYPES`, for all images, or `"auto"`.

    Returns:
        B types.

    Raises:
        InputError: there is no such type, or the signal is not of the declared one.

    Example:
        >>> signal_types(torch.full((1, 4, 2, 2), 0.25)), signal_types(torch.rand(1, 1, 2, 2))
        (('probabilities',), ('measurement',))
    """
    if declared != "auto" and declared not in SIGNAL_TYPES:
        choices = ", ".join(("auto", *SIGNAL_TYPES))
        raise InputError("signal_type", "is {value!r}", "{choices}", value=declared, choices=choices)
    if declared == "auto":
        types = _detect(signal)
        logger.info("signal_type auto: %s", ", ".join(sorted(set(types))))
        return types
    if signal.dtype == torch.bool and declared != "labels":
        raise InputError("signal_type", "is {value!r}, and the signal is boolean", "labels", value=declared)
    if not signal.is_floating_point() and declared not in ("labels", "measurement", "values"):
        problem, accepted = "is {value!r}, and the signal is of type {dtype}", "labels, measurement and values"
        raise InputError("signal_type", problem, accepted, value=declared, dtype=_name(signal.dtype))
    if declared == "probabilities" and not all(are_probabilities(signal)):
        accepted = "two or more channels, none negative, that sum to 1 in each cell"
        raise InputError("signal", "holds no probabilities", accepted)
    return _same(cast(SignalType, declared), signal)


def are_probabilities(signal: Tensor) -> list[bool]:
    """Return for each image of [B, C, h, w] whether its two or more channels are probabilities."""
    signal = signal.detach()
    if signal.shape[1] < 2 or not signal.is_floating_point():
        return [False] * len(signal)
    sums = signal.sum(1, dtype=torch.promote_types(signal.dtype, torch.float32))  # [B, h, w]
    within = ((sums - 1).abs() <= TOLERANCE).flatten(1).all(1) & (signal.amin((1, 2, 3)) >= 0)
    return within.tolist()


def is_mask(signal: Tensor) -> bool:
    """Return whether a signal is of booleans, or of integers with two values; one channel may have just one."""
    if signal.dtype == torch.bool or signal.is_floating_point():
        return signal.dtype == torch.bool
    low, high = _sortable(signal).aminmax()
    return bool(((signal == low) | (signal == high)).all()) and (signal.shape[1] == 1 or bool(low < high))


def render_type(signal: Tensor, types: tuple[SignalType, ...], render: Render, unit: float | None = None) -> Tensor:
    """Upsample a signal of any type but labels, given how features, probabilities and values are upsampled.

    Args:
        signal: [B, C, h, w].
        types: of each image.
        render: [B, C, h, w] to [B, C, ...].
        unit: of the values; by default that of the signal, see `unit_of`.

    Returns:
        [B, C, ...], in the signal's dtype; integers are rounded.
    """
    if unit is None:
        unit = unit_of(signal) if signal.is_floating_point() and types[0] not in ("logits", "directions") else 1.0
    result = render(*mixed_values(signal, types, unit))
    if types[0] == "logits":
        logs = result.clamp_min(torch.finfo(torch.float32).tiny).log()
        return (logs[:, 1:] - logs[:, :1] if signal.shape[1] == 1 else logs).to(signal.dtype)
    if types[0] == "directions":
        return F.normalize(result, dim=1)
    if signal.is_floating_point():
        if unit == 1:
            return result
        most = torch.finfo(signal.dtype).max
        return (unit * result).clamp(-most, most).to(signal.dtype)
    limits = torch.iinfo(signal.dtype)
    return result.round_().clamp_(limits.min, limits.max).to(signal.dtype)


def mixed_values(signal: Tensor, types: tuple[SignalType, ...], unit: float) -> tuple[Tensor, tuple[SignalType, ...]]:
    """Return the floating-point values that stand for a signal of any type but labels while it is upsampled.

    Args:
        signal: [B, C, h, w].
        types: of each image.
        unit: that they are divided by.

    Returns:
        [B, C, h, w], and the types to upsample them as.
    """
    if types[0] == "logits":
        return softmax(signal.to(torch.promote_types(signal.dtype, torch.float32))), _same("probabilities", signal)
    if types[0] == "directions":
        return signal, _same("features", signal)
    if signal.is_floating_point():
        wide = torch.promote_types(signal.dtype, torch.float32)
        return (signal if unit == 1 else signal.to(wide) / unit), types
    return signal.to(widest(signal.device) if torch.iinfo(signal.dtype).bits > 16 else torch.float32), types


def unit_of(signal: Tensor) -> float:
    """Return the power of two to divide floating-point values by, so that neither products overflow nor results.

    It is 1 but for the largest and the smallest numbers of a dtype.
    """
    largest = max(map(abs, bounds(signal)))
    exponent = max(-126, math.frexp(largest)[1] - 1)  # largest is less than twice 2 to its power
    limit = 14 if signal.dtype == torch.float16 else 400 if signal.dtype == torch.float64 else 60
    return 1.0 if largest == 0 or -limit <= exponent < limit else 2.0**exponent


def softmax(logits: Tensor) -> Tensor:
    """Compute probabilities of logits [B, C, ...]; one channel is that of a binary decision, with 0 for the other."""
    return (torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits).softmax(1)


def render_labels(
    labels: Tensor, render: Callable[[Tensor, Tensor, int], Tensor], chunk: int, check: Callable[[int, int], None]
) -> Tensor:
    """Upsample labels: the label whose 0/1 map is largest at a pixel after mixing, some labels at a time.

    The mean of the labels 3 and 7 is not the label 5, so the numbers themselves are never mixed.

    Args:
        labels: [1, 1, h, w], any numbers.
        render: takes each cell's place among the K labels [1, 1, h, w], some of the places [k], and K; upsamples the
            0/1 maps of these labels, [1, k, ...].
        chunk: how many labels are upsampled at a time.
        check: called after each chunk with how many labels are done, of how many; what it raises ends the work.

    Returns:
        [1, 1, ...], in the dtype of the labels: of equally large ones the smallest.
    """
    known, places = torch.unique(_sortable(labels), return_inverse=True)
    if len(known) == 2:  # what one leaves of 1 is the other's
        first = render(places, torch.zeros(1, dtype=torch.long, device=labels.device), 2)  # [1, 1, ...]
        check(2, 2)
        least, most = signed_bits(known.to(labels.dtype))
        return torch.where(first < 0.5, most, least).view(labels.dtype)
    best = winner = None
    for start in range(0, len(known), chunk):
        part = torch.arange(start, min(start + chunk, len(known)), device=labels.device)
        value, place = render(places, part, len(known)).max(dim=1, keepdim=True)  # [1, 1, ...] each
        place = place + start
        if best is None or winner is None:
            best, winner = value, place
        else:
            winner = torch.where(value > best, place, winner)
            best = torch.maximum(best, value)
        check(start + len(part), len(known))
    assert winner is not None  # labels are not empty
    return known[winner].to(labels.dtype)


def one_hot(places: Tensor, part: Tensor) -> Tensor:
    """Make the 0/1 maps of some labels: places [1, 1, h, w] and part [k] to float32 [1, k, h, w]."""
    return (places == part.view(1, -1, 1, 1)).float()


def _detect(signal: Tensor) -> tuple[SignalType, ...]:
    if is_mask(signal):
        return _same("labels", signal)
    if not signal.is_floating_point():
        problem = "is 'auto', and the signal is of type {dtype}, which may be labels or a measurement"
        raise InputError("signal_type", problem, "labels and measurement", dtype=_name(signal.dtype))
    if signal.shape[1] == 1:
        return _same("measurement", signal)
    return tuple("probabilities" if are else "features" for are in are_probabilities(signal))


def _same(signal_type: SignalType, signal: Tensor) -> tuple[SignalType, ...]:
    return (signal_type,) * len(signal)


def _sortable(labels: Tensor) -> Tensor:
    """Convert types that `torch.unique` does not sort."""
    return labels.long() if labels.dtype in (torch.uint16, torch.uint32, torch.uint64, torch.bool) else labels


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
