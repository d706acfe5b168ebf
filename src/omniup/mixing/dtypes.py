"""Choose floating-point types, and compute matrix products that are not rounded to less than float32."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import torch
from torch import Tensor


def compute_dtype(*inputs: Tensor) -> torch.dtype:
    """Return the type to compute in: float64 where an input is, else float32."""
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in inputs), torch.float32)


def widest(device: torch.device) -> torch.dtype:
    """Return the widest floating-point type of a device: float64; on Apple's GPUs float32."""
    return torch.float32 if device.type == "mps" else torch.float64


def least_weight(dtype: torch.dtype) -> float:
    """Return the least sum of weights that values are divided by: with smaller ones products lose digits."""
    return torch.finfo(dtype).tiny * 2**24


@contextlib.contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Compute matrix products in full float32 within, whatever autocast and matmul precision the caller has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
