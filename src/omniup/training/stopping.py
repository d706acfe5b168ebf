"""Stop a training between two steps on Ctrl-C and on the signal by which job schedulers end a process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """A record of whether somebody has asked to stop."""

    def __init__(self) -> None:
        self.made = False


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Record signals within, instead of being interrupted; a second one of the same number does what it always did.

    Outside the main thread, which alone gets signals, nothing is ever noted.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before: dict[int, Any] = {each: signal.getsignal(each) for each in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        request.made = True
        signal.signal(number, before[number])

    for each in SIGNALS:
        signal.signal(each, note)
    try:
        yield request
    finally:
        for each in SIGNALS:
            signal.signal(each, before[each])
