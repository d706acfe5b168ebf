"""Handle Ctrl-C at any moment, also during imports; and the signals by which a system ends a process in the same way.

Python raises KeyboardInterrupt wherever it happens to be. In the middle of an import that is no good: NumPy and torch
take seconds to import, and parts of them swallow the exception, or are left half-imported and fail later in odd ways.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
"""The signals that interrupt, with what they do by default."""

if sys.platform != "win32":
    SIGNALS[signal.SIGHUP] = signal.SIG_DFL

RETRY = 0.05
"""The delay of an interrupt while something is being imported, in seconds."""


@contextmanager
def patient_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C, SIGTERM and SIGHUP within, but during imports only once they are through."""
    # others are ignored, as SIGINT for a job in the background and SIGHUP under nohup, or the caller's
    ours = {number: default for number, default in SIGNALS.items() if signal.getsignal(number) is default}
    for number in ours:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, default in ours.items():
            signal.signal(number, default)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _is_importing(frame):
        raise KeyboardInterrupt
    again = threading.Timer(RETRY, _thread.interrupt_main, [number])
    again.daemon = True
    again.start()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
