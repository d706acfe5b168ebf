"""Read class probabilities from a file and check them, since a file of logits looks much the same."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from omniup.encoders.base import Encoding
from omniup.errors import InputError
from omniup.files import Source, read_signal

_TOLERANCE = 1e-3  # about what float16 leaves of a sum of many classes


def read_probabilities(source: Source, *, name: str | None = None, logits: bool = False) -> Encoding:
    """Read class probabilities.

    Args:
        source: a path, the bytes of a file, or an open binary file, in any format that `omniup.files.read_signal`
            takes, of shape [C, h, w] or [B, C, h, w].
        name: which array of an archive; may be None where there is just one.
        logits: the file holds logits, to which a softmax over the classes is applied.

    Returns:
        Features [B, C, h, w] in 0..1 that sum to 1 over the C classes, within 1e-3.

    Raises:
        InputError: the source cannot be read, or its values are not probabilities.
    """
    values = read_signal(source, name=name)  # [B, C, h, w]
    if logits:
        values = values.softmax(dim=1)
    origin = str(source) if isinstance(source, (str, Path)) else "a stream"
    _check(values, origin)
    return Encoding(values, "probabilities", f"read from {origin}{', softmax applied' if logits else ''}")


def _check(values: Tensor, origin: str) -> None:
    low, high = (bound.item() for bound in values.aminmax())
    least, most = (bound.item() for bound in values.float().sum(dim=1).aminmax())
    if min(low, least - 1) < -_TOLERANCE or max(high, most) > 1 + _TOLERANCE:
        raise InputError(
            origin,
            "has values from {low:g} to {high:g} and sums over the classes from {least:g} to {most:g}",
            "probabilities in 0..1 with sums of 1, or logits with `logits=True`, which applies a softmax",
            low=low,
            high=high,
            least=least,
            most=most,
        )
