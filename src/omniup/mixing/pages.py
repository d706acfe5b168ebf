"""Take memory for large results in huge pages, where Linux has them, and give back what was freed.

Of small pages, half of a quick mix is page faults: fresh memory costs the system an interrupt and zeros for each page.
That was measured as 0.5 ms for a megabyte in pages of 4 KB, and as 0.1 ms in pages of 2 MB (AMD EPYC, virtual machine).
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence

from torch import Tensor

#: From so many bytes on, the C library asks the system for fresh memory every time, and keeps none that was freed.
FRESH_BYTES = 2**25

PAGE = 4096
MADV_HUGEPAGE = 14  # of Linux


def new_empty(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a tensor with any contents, as `like.new_empty` does: for results of which everything gets written."""
    result = like.new_empty(tuple(shape))
    size = result.numel() * result.itemsize  # not `nbytes`, which torch.compile of PyTorch 2.5 to 2.8 cannot trace
    if result.device.type == "cpu" and size >= FRESH_BYTES and (advise := _madvise()) is not None:
        begin, end = -(-result.data_ptr() // PAGE) * PAGE, (result.data_ptr() + size) // PAGE * PAGE
        advise(begin, end - begin, MADV_HUGEPAGE)  # no more than advice: it fails where the system has no such pages
    return result


@functools.cache
def _madvise() -> Callable[[int, int, int], int] | None:
    """Return the system's function; None on other systems than Linux."""
    if not sys.platform.startswith("linux"):
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return advise


def give_back() -> None:
    """Return memory that was freed to the system, where the C library is GNU's, which keeps all but large blocks.

    Between the blocks of a picture larger than memory, what is kept comes to as much as what is used, as each block
    leaves gaps that the next does not fit into.
    """
    if (trim := _malloc_trim()) is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Return the C library's function; None on other systems than Linux, and where it has none, as musl."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
