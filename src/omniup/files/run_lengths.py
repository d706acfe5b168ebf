"""Read masks as COCO keeps them: JSON with a size and the lengths of runs of 0 and 1, by columns.

    {"size": [h, w], "counts": [5, 3, 2, ...]}    or compressed, "counts": "5321..."

The runs begin with one of 0, which may be empty. Compressed, a count is written in groups of five bits, the lowest
first, each in a character from 48 (`0`) on, with bit 5 set in all but the last; from the fourth count on it is the
difference from the count two before. A list of masks of one size, and annotations with a mask as `segmentation`, as
SAM gives them, are read as well.

Oracle: tests/oracles/run_lengths.py.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omniup.files.arrays import CheckShape
from omniup.files.refusals import Subject
from omniup.files.sources import check_memory, stream_size

MAX_JSON = 2**24
"""Bytes of JSON that are parsed: parsed, they take many times as much."""

_FIRST, _BITS, _MORE, _SIGN = 48, 5, 0x20, 0x10
_MOST_GROUPS = 8
"""Groups of a count: 40 bits."""


def holds_run_lengths(stream: BinaryIO) -> bool:
    """Return whether a stream begins as a JSON object or list does; its position is left at the beginning."""
    start = stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    stream.seek(0)
    return start.startswith((b"{", b"["))


def read_run_lengths(
    stream: BinaryIO, subject: Subject, *, max_bytes: int, check_shape: CheckShape | None = None
) -> Tensor:
    """Read one mask or several of one size.

    Args:
        stream: a seekable stream at its beginning.
        subject: what refusals speak of.
        max_bytes: the largest array of masks to accept, a byte for each value.
        check_shape: called with the shape that the sizes declare, [n, h, w], before anything is allocated.

    Returns:
        Boolean [n, h, w].

    Raises:
        InputError: no such JSON, sizes that differ, or runs that do not fill the mask.
    """
    if (size := stream_size(stream)) > MAX_JSON:
        raise subject.refusal("has {size} bytes of JSON, more than the limit of {most}", size=size, most=MAX_JSON)
    with subject.attempt("read"):
        found = json.loads(stream.read())
    masks = [_mask(each, subject) for each in (found if isinstance(found, list) else [found])]
    sizes = {size for size, _ in masks}
    if len(sizes) != 1:
        raise subject.refusal("holds masks of several sizes" if sizes else "holds no masks")
    (height, width) = sizes.pop()
    if check_shape is not None:
        check_shape((len(masks), height, width))
    if (size := len(masks) * height * width) > max_bytes:
        raise subject.refusal("declares {size} bytes, more than the limit of {most}", size=size, most=max_bytes)
    check_memory(size + height * width, stream_size(stream), subject)  # a mask is made by columns, and then copied
    result = torch.empty(len(masks), height, width, dtype=torch.bool)
    for mask, (_, counts) in zip(result, masks, strict=True):
        runs = _counts(counts, subject)
        if min(runs, default=0) < 0 or runs.sum(dtype=np.float64) != height * width:
            problem = "has runs of {total:.0f} values for a mask of {h} × {w}"
            raise subject.refusal(problem, total=runs.sum(dtype=np.float64), h=height, w=width)
        ones = np.arange(len(runs)) % 2 == 1
        mask.copy_(torch.from_numpy(np.repeat(ones, runs).reshape(width, height).T))
    return result


def _mask(found: Any, subject: Subject) -> tuple[tuple[int, int], Any]:
    """Return the size and the counts of a mask, which may be the segmentation of an annotation."""
    if isinstance(found, dict):
        found = found.get("segmentation", found)
    size, counts = (found.get(name) if isinstance(found, dict) else None for name in ("size", "counts"))
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise subject.refusal("is JSON without a mask's size and counts")
    return (size[0], size[1]), counts


def _counts(counts: Any, subject: Subject) -> NDArray[np.int64]:
    """Return the lengths of runs, decompressed where they are a text."""
    if isinstance(counts, str):
        return _decompress(counts, subject)
    if isinstance(counts, list) and all(type(count) is int and 0 <= count < 2**40 for count in counts):
        return np.array(counts, np.int64)
    raise subject.refusal("holds counts that are neither a list of whole numbers nor a text")


def _decompress(text: str, subject: Subject) -> NDArray[np.int64]:
    groups = np.frombuffer(text.encode(errors="replace"), np.uint8).astype(np.int64) - _FIRST
    lasts = np.flatnonzero(groups & _MORE == 0)
    lengths = np.diff(lasts, prepend=-1)
    is_complete = len(groups) == (lasts[-1] + 1 if len(lasts) else 0)
    if (
        not is_complete
        or not (groups >= 0).all()
        or not (groups < 2 * _MORE).all()
        or max(lengths, default=0) > _MOST_GROUPS
    ):
        raise subject.refusal("holds counts in a text that is not COCO's")
    places = np.arange(len(groups)) - np.repeat(lasts - lengths + 1, lengths)  # of each group in its count
    values = np.add.reduceat((groups & (_MORE - 1)) << (_BITS * places), lasts - lengths + 1) if len(lasts) else groups
    values -= np.where(groups[lasts] & _SIGN, np.int64(1) << (_BITS * lengths), 0)
    for first in (1, 2):  # differences, from the fourth count on
        values[first::2] = values[first::2].cumsum()
    return values
