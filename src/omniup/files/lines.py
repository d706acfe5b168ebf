"""Append lines to a file that is a list of what was done, such as degraded pictures or measurements.

A process that is killed leaves at most an unfinished last line, which the next line that is appended replaces.
"""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path

from omniup.files.refusals import Subject, printable

_CHUNK = 2**16


def append_line(path: Path, line: bytes, *, accepted: str) -> None:
    """Append a line to a file, which is made if need be, whole or not at all; it is on the disk when this returns.

    Args:
        path: the file.
        line: without a line break.
        accepted: what is accepted in place of a file that cannot be written.

    Raises:
        InputError: it cannot be written.
    """
    with Subject(printable(path), accepted).attempt("written"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        with FileIO(descriptor, "r+") as file:
            end = _end_of_lines(file)
            try:
                file.truncate(end)
                file.seek(end)
                rest = memoryview(line + b"\n")
                while rest:  # a disk that is nearly full takes a part
                    rest = rest[file.write(rest) :]
                os.fsync(descriptor)
            except BaseException:
                file.truncate(end)
                raise


def _end_of_lines(file: FileIO) -> int:
    """Return the position after the last line break."""
    position = file.seek(0, os.SEEK_END)
    while position:
        start = max(0, position - _CHUNK)
        file.seek(start)
        found = file.read(position - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0
