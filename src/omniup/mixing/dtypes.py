"""Choose floating-point types, and compute matrix products that are not rounded to less than float32."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator

import torch
from torch import Tensor


def compute_dtype(*inputs: Tensor) -> torch.dtype:
    """Return the type to compute in: float64 where an input is, else float32."""
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in inputs), torch.float32)


def widest(device: torch.device) -> torch.dtype:
    """Return the widest floating-point type of a device: float64; on Apple's GPUs float32."""
    return torch.float32 if device.type == "mps" else torch.float64


def signed_bits(values: Tensor) -> Tensor:
    """View whole numbers that PyTorch 2.5 to 2.8 cannot select from as signed ones with the same bits; others stay."""
    signed = _SIGNED.get(values.dtype)
    return values if signed is None else values.view(signed)


_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}


def least_weight(dtype: torch.dtype) -> float:
    """Return the least sum of weights that values are divided by: with smaller ones products lose digits.

    It is far more than the 2⁻¹¹⁰ that candidates of a group outside a pixel's window may have.
    """
    return max(torch.finfo(dtype).tiny * 2**24, 2.0**-70)


class _ExactProducts:
    """Count those who need exact products: the setting belongs to the process, and its threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = ""

    def enter(self) -> None:
        """Ask for exact products; the first user remembers what the caller had set."""
        with self._lock:
            if self._users == 0:
                self._before = torch.get_float32_matmul_precision()
                torch.set_float32_matmul_precision("highest")
            self._users += 1

    def leave(self) -> None:
        """Restore what the caller had set, after the last user."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                torch.set_float32_matmul_precision(self._before)


_EXACT_PRODUCTS = _ExactProducts()


@contextlib.contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Compute matrix products in full float32 within, whatever autocast and matmul precision the caller has set."""
    _EXACT_PRODUCTS.enter()
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        _EXACT_PRODUCTS.leave()
