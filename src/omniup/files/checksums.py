"""Keep the checksums of files that were downloaded, and refuse files that have changed since.

For files of which nobody states a checksum: a mirror that gives other weights than before is noticed, whoever changed
them. A file is read again only where its size or time has changed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from omniup.errors import InputError
from omniup.files.atomic import atomic_write
from omniup.files.refusals import Subject, printable

logger = logging.getLogger(__name__)

_CHUNK = 2**20


class _Entry(BaseModel):
    """Checksum of a file, and its size and time when it was computed."""

    sha256: str
    size: int
    mtime_ns: int


_ENTRIES = TypeAdapter(dict[str, _Entry])


def check_unchanged(folder: Path, paths: Iterable[Path], record: Path) -> None:
    """Check files against their recorded SHA-256, and record that of new ones.

    Args:
        folder: that the files lie in.
        paths: of the files.
        record: the JSON file with the checksums. Where it cannot be written, as in a cache that is shared read-only, a
            warning says so.

    Raises:
        InputError: a file has changed, or the record cannot be read.
    """
    known = _read(record)
    seen = dict(known)
    for path in paths:
        name, status = path.relative_to(folder).as_posix(), path.stat()
        before = known.get(name)
        if before is not None and (before.size, before.mtime_ns) == (status.st_size, status.st_mtime_ns):
            continue
        found = _sha256(path)
        if before is not None and before.sha256 != found:
            raise InputError(
                printable(path),
                "has the SHA-256 {found}, and had {before} when it was first fetched",
                "the file as it was; to accept the other one, {record} is to be deleted",
                found=found,
                before=before.sha256,
                record=printable(record),
            )
        seen[name] = _Entry(sha256=found, size=status.st_size, mtime_ns=status.st_mtime_ns)
    if seen != known:
        try:
            with atomic_write(record) as file:
                file.write(_ENTRIES.dump_json(seen, indent=1))
        except InputError as error:
            logger.warning("checksums are not kept, so that later changes go unnoticed: %s", error)


def _read(record: Path) -> dict[str, _Entry]:
    if not record.is_file():
        return {}
    with Subject(printable(record), "a record of checksums, or none").attempt("read"):
        return _ENTRIES.validate_json(record.read_bytes())


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
