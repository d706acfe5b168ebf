"""Take memory for large results in huge pages, where Linux has them: of small ones, half of a quick mix is page faults.

Fresh memory costs the system an interrupt and zeros for each page. That was measured as 0.5 ms for a megabyte in pages
of 4 KB, and as 0.1 ms in pages of 2 MB (AMD EPYC, virtual machine).
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
    if result.device.type == "cpu" and result.nbytes >= FRESH_BYTES and (advise := _madvise()) is not None:
        begin, end = -(-result.data_ptr() // PAGE) * PAGE, (result.data_ptr() + result.nbytes) // PAGE * PAGE
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
