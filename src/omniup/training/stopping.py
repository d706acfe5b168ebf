"""Stop a training between two steps on Ctrl-C and on the signals by which systems and job schedulers end a process."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = [signal.SIGINT, signal.SIGTERM]
if sys.platform != "win32":
    SIGNALS.append(signal.SIGHUP)


class StopRequest:
    """A record of whether somebody has asked to stop."""

    def __init__(self) -> None:
        self.made = False


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Record signals within, instead of being interrupted; a second one of the same number does what it always did.

    What is ignored stays so, as SIGHUP under nohup. Outside the main thread, which alone gets signals, nothing is ever
    noted.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    found: dict[int, Any] = {each: signal.getsignal(each) for each in SIGNALS}
    before = {each: handler for each, handler in found.items() if handler is not signal.SIG_IGN}

    def note(number: int, frame: FrameType | None) -> None:
        request.made = True
        signal.signal(number, before[number])

    for each in before:
        signal.signal(each, note)
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
