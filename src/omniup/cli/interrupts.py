"""Handle Ctrl-C at any moment, also during imports.

Python raises KeyboardInterrupt wherever it happens to be. In the middle of an import that is no good: NumPy and torch
take seconds to import, and parts of them swallow the exception, or are left half-imported and fail later in odd ways.
"""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

RETRY = 0.05
"""The delay of an interrupt while something is being imported, in seconds."""


@contextmanager
def patient_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C within, but during imports only once they are through."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # it is ignored, as for a job in the background, or the caller's
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _is_importing(frame):
        raise KeyboardInterrupt
    again = threading.Timer(RETRY, _thread.interrupt_main)
    again.daemon = True
    again.start()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
