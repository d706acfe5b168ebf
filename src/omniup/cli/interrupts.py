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

_SOURCES = ("<frozen importlib", *(str(_FILES / name) for name in ("atomic.py", "lines.py", "outputs.py")))

_WITH = {
    contextlib._GeneratorContextManager.__enter__.__code__,
    contextlib._GeneratorContextManager.__exit__.__code__,
    contextlib.ExitStack.__exit__.__code__,
    contextlib.ExitStack.enter_context.__code__,
}


@contextlib.contextmanager
def patient_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C, SIGTERM and SIGHUP within, but never where `must_wait` says so.

    One that has to wait until the end is raised there.
    """
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
        if any(again.is_alive() for again in waiting):
            raise KeyboardInterrupt
    finally:
        for number, default in ours.items():
            signal.signal(number, default)
        for again in waiting:
            again.cancel()


def must_wait(frame: FrameType | None) -> bool:
    """Return whether what runs must not be interrupted; it is short.

    That is imports; what writes files; the beginnings and ends of `with` blocks, not the blocks, or what begins would
    not be ended; and finalisers, where Python drops exceptions.
    """
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_SOURCES) or code in _WITH or code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
