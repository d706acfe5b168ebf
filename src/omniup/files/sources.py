"""Open a path, the bytes of a file, or an open binary file as one seekable stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from omniup.files.refusals import Subject, printable

Source: TypeAlias = str | Path | bytes | BinaryIO
"""A path, the bytes of a file, or an open binary file, which is read from its beginning and not closed."""

MAX_BYTES = 2**32
"""Bytes that are read from a pipe, and of a signal, at most, by default."""

MEMORY, PACKED = 2**31, 64
"""Bytes that reading a file may take, and how many for each byte of a file that is larger than a 64th of that.

Photographs and measurements stay below the second number in every format. What is beyond is nearly even, and as small a
file could have been made to fill the memory.
"""

_CHUNK = 2**20

_NOISY = (b"II", b"MM", b"v/1\x01")
"""First bytes of TIFF and OpenEXR, whose libraries print about damaged files."""


@contextmanager
def open_source(
    source: Source, *, noun: str, accepted: str, max_bytes: int = MAX_BYTES, **values: Any
) -> Iterator[tuple[BinaryIO, Subject]]:
    """Open a source for the length of a `with` block.

    Args:
        source: what to open.
        noun: what refusals call a source that has no name, e.g. `image`.
        accepted: what refusals say is accepted, as a template.
        max_bytes: the most that is read from a source that cannot seek, such as a pipe, and must be held in memory.
        **values: for the replacement fields of `accepted`.

    Yields:
        The source as a stream at its beginning, and the subject for refusals.

    Raises:
        InputError: the file is missing, a directory, not readable or empty, or a pipe gives more than `max_bytes`.
    """
    subject = Subject(_name(source, noun), accepted, **values)
    with ExitStack() as closing:
        with subject.attempt("read"):
            if isinstance(source, bytes):
                stream: BinaryIO = BytesIO(source)
            elif isinstance(source, (str, Path)):
                stream = _seekable(closing.enter_context(Path(source).open("rb")), subject, max_bytes)
            else:
                stream = _seekable(source, subject, max_bytes)
            start = stream.read(4)
            if not start:
                raise subject.refusal("is empty")
            subject.is_noisy = start.startswith(_NOISY)
            stream.seek(0)
        yield stream, subject


def stream_size(stream: BinaryIO) -> int:
    """Measure a seekable stream in bytes; its position is left at the beginning."""
    stream.seek(0, SEEK_END)
    size = stream.tell()
    stream.seek(0)
    return size


def check_memory(needed: int, size: int, subject: Subject) -> None:
    """Refuse a small file whose contents would take much memory.

    Args:
        needed: bytes that reading it takes, by what its header declares.
        size: of the file, in bytes.
        subject: what refusals speak of.

    Raises:
        InputError: it takes more than `MEMORY` and more than `PACKED` times its size.
    """
    if needed > (most := max(MEMORY, PACKED * size)):
        problem = "has {size} bytes, and reading it would take {needed} bytes of memory, more than the limit of {most}"
        raise subject.refusal(problem, size=size, needed=needed, most=most)


def _name(source: Source, noun: str) -> str:
    if isinstance(source, bytes):
        return noun
    name = source if isinstance(source, (str, Path)) else getattr(source, "name", noun)
    return printable(name) if isinstance(name, (str, Path)) else noun  # a file descriptor's name is its number


def _seekable(stream: BinaryIO, subject: Subject, max_bytes: int) -> BinaryIO:
    try:
        stream.seek(0)
    except OSError:  # a pipe or a terminal
        held = BytesIO()
        while chunk := stream.read(_CHUNK):
            held.write(chunk)
            if held.tell() > max_bytes:
                raise subject.refusal("gives more than {most} bytes", most=max_bytes) from None
        held.seek(0)
        return held
    return stream
