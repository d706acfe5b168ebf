"""Describe objects that hold tensors in one line, by shapes and types, where Python would print their numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor, nn


def described(value: Any) -> str:
    """Describe a value: a tensor by its shape, type and device, a network by its class, all else as Python does."""
    if isinstance(value, Tensor):
        place = "" if value.device.type == "cpu" else f" on {value.device}"
        return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}{place}"
    if isinstance(value, nn.Module):
        return type(value).__name__
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {described(each)}' for key, each in value.items())}}}"
    return repr(value)


class ShortRepr:
    """Base of dataclasses that hold tensors, to be declared with `repr=False`."""

    def __repr__(self) -> str:
        own: Any = self  # a dataclass, as its subclasses are
        fields = (f"{field.name}={described(getattr(self, field.name))}" for field in dataclasses.fields(own))
        return f"{type(self).__name__}({', '.join(fields)})"
