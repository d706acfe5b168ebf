"""Handle Ctrl-C at any moment, also during imports; and the signals by which a system ends a process in the same way.

Python raises KeyboardInterrupt wherever it happens to be. In the middle of an import that is no good: NumPy and torch
take seconds to import, and parts of them swallow the exception, or are left half-imported and fail later in odd ways.
Nor is it while files get their names or are tidied away, some having theirs and others not.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

SIGNALS = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
"""The signals that interrupt, with what they do by default."""

if sys.platform != "win32":
    SIGNALS[signal.SIGHUP] = signal.SIG_DFL

RETRY = 0.05
"""The delay of an interrupt that has to wait, in seconds."""

_FILES = Path(__file__).parents[1] / "files"

WAITED_FOR = (
    "<frozen importlib",
    contextlib.__file__,
    *(str(_FILES / name) for name in ("atomic.py", "lines.py", "outputs.py")),
)
"""The beginnings of the names of sources that interrupts wait for, since what they do is short.

The `with` block of a context manager is not its own source's doing, and so is interrupted.
"""


@contextlib.contextmanager
def patient_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C, SIGTERM and SIGHUP within, but never in the middle of `WAITED_FOR`."""
    waiting: list[threading.Timer] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not must_wait(frame):
            raise KeyboardInterrupt
        again = threading.Timer(RETRY, _thread.interrupt_main, [number])
        again.daemon = True
        again.start()
        waiting.append(again)

    # others are ignored, as SIGINT for a job in the background and SIGHUP under nohup, or the caller's
    ours = {number: default for number, default in SIGNALS.items() if signal.getsignal(number) is default}
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, default in ours.items():
            signal.signal(number, default)
        for again in waiting:  # of an interrupt that has waited until the end
            again.cancel()


def must_wait(frame: FrameType | None) -> bool:
    """Return whether what runs must not be interrupted."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(WAITED_FOR):
            return True
        frame = frame.f_back
    return False
