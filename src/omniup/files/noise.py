"""Keep what C libraries print about damaged files off the terminal and out of pipes: refusals say it in one line."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

logger = logging.getLogger(__name__)

_OUTPUTS = (1, 2)  # standard output and standard error

_MOST = 2**12
"""Letters that are logged: some decoders print a line for each line of pixels."""

_redirecting = threading.RLock()
"""Held while the outputs lead elsewhere, which they do for the whole process: no other thread may put them back."""


@contextmanager
def logged_noise(name: str) -> Iterator[None]:
    """Log, at the level INFO, what is printed within, on standard output or error, of a file of this name.

    libtiff and OpenEXR print warnings and errors from C, before or instead of raising, and nothing turns that off. The
    latter prints from Python too, whose outputs need not be those of the process, as in a notebook.
    """
    with _redirecting, tempfile.TemporaryFile("a+", encoding="utf-8", errors="replace") as captured:
        _flush()
        saved = {number: os.dup(number) for number in _OUTPUTS if _is_open(number)}
        for number in saved:
            os.dup2(captured.fileno(), number)
        try:
            with redirect_stdout(captured), redirect_stderr(captured):
                yield
        finally:
            captured.flush()
            _flush()
            for number, copy in saved.items():
                os.dup2(copy, number)
                os.close(copy)
            captured.seek(0)
            if text := captured.read(_MOST).strip():
                logger.info("%s: its decoder prints %r", name, text)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:  # a process may have been started without
        return False
    return True


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
