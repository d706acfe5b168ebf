"""Keep what C libraries print about damaged files off standard error: refusals of ours say it in one line."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

_STANDARD_ERROR = 2

_MOST = 2**12
"""Bytes that are logged: some decoders print a line for each line of pixels."""

_redirecting = threading.RLock()
"""Held while standard error leads elsewhere, which it does for the whole process: no other thread may put it back."""


@contextmanager
def logged_noise(name: str) -> Iterator[None]:
    """Log, at the level INFO, what is printed on standard error within, of a file of this name.

    libtiff and OpenEXR print warnings and errors from C, before or instead of raising, and nothing turns that off.
    """
    with _redirecting:
        try:
            saved = os.dup(_STANDARD_ERROR)
        except OSError:  # there is none
            yield
            return
        with tempfile.TemporaryFile() as captured:
            _flush()
            os.dup2(captured.fileno(), _STANDARD_ERROR)
            try:
                yield
            finally:
                _flush()
                os.dup2(saved, _STANDARD_ERROR)
                os.close(saved)
                captured.seek(0)
                if text := captured.read(_MOST).decode(errors="replace").strip():
                    logger.info("%s: its decoder prints %r", name, text)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
