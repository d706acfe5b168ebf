"""Guard what lies where results go: inputs, files of others, and what another process is writing.

One rule for all commands. A result never replaces an input. Without `--overwrite` it never replaces a file that was
there before, unless the same command wrote it: a folder's record, `omniup.json`, names what each command has written.
A process has a file or folder for itself while it writes; the system ends the lock of a process that is killed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from omniup.errors import InputError
from omniup.files.atomic import atomic_write, made_folder, remove_folder, sweep, sweep_folders
from omniup.files.refusals import Subject, printable

if TYPE_CHECKING:
    from filelock import BaseFileLock

RECORD = "omniup.json"
LOCK = ".omniup.lock"

_PATIENCE = 0.1  # seconds: another process that sweeps has a lock for an instant


class Inputs:
    """The files that a command reads, which it must not overwrite.

    Args:
        paths: of files and folders; what does not exist, such as `-` or `sample:coffee`, is left out.
    """

    def __init__(self, paths: Iterable[str | Path] = ()) -> None:
        self._paths: set[str] = set()
        self._parents: set[str] = set()
        self._files: set[tuple[int, int]] = set()
        for path in paths:
            with suppress(OSError, ValueError):
                found = os.stat(path)  # noqa: PTH116  # a path of any type
                real = Path(os.path.realpath(path))
                self._files.add((found.st_dev, found.st_ino))
                self._paths.add(str(real))
                self._parents.update(map(str, real.parents))

    def check(self, path: str | Path) -> None:
        """Refuse an output that is an input, under whatever name, or a folder with one.

        Raises:
            InputError: it is.
        """
        real = os.path.realpath(path)
        is_input = real in self._paths or real in self._parents
        with suppress(OSError, ValueError):
            found = os.stat(path)  # noqa: PTH116
            is_input = is_input or (found.st_dev, found.st_ino) in self._files
        if is_input:
            raise InputError(printable(path), "is an input, which the result would overwrite", "another name")


def check_output(path: str | Path, inputs: Inputs, *, overwrite: bool) -> None:
    """Refuse to write over an input, or over what is there already.

    Args:
        path: a file to be written.
        inputs: what is read.
        overwrite: accept a file that is there; never an input.

    Raises:
        InputError: it must not be written.
    """
    inputs.check(path)
    if not overwrite and Path(path).exists():
        raise InputError(printable(path), "exists already", "another name, or --overwrite")


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Have a file or folder that is written to for this process alone.

    Raises:
        InputError: another process has it, or has a folder above it and the file on its record; or its folder cannot be
            written to.
    """
    place, real = _lock_of(path), Path(os.path.realpath(path))
    with Subject(printable(path), "a file or folder that can be written to").attempt("written"):
        place.parent.stat()  # the lock would make it
        lock = _acquired(place)
    if lock is None:
        raise _busy(path)
    try:
        for folder in real.parents:
            if (folder / RECORD).exists() and _is_held(folder / LOCK) and _names(folder, real):
                raise _busy(path)
        yield
    finally:
        with suppress(OSError):
            place.unlink()  # while it is held; who waits for it notices
        lock.release()


class OutputFolder:
    """A folder that a command writes to; see `output_folder`.

    Attributes:
        path: the folder.
        own: what the command has written there by its record, as paths below the folder; with `*` for what others
            choose as they make the file.
    """

    def __init__(self, path: Path, command: str, inputs: Inputs, overwrite: bool) -> None:
        self.path, self._command, self._inputs, self._overwrite = path, command, inputs, overwrite
        self._record = _read_record(path / RECORD)
        self.own = set(self._record.get(command, ()))

    def claim(self, *names: str) -> None:
        """Put files on the record before they are written.

        Raises:
            InputError: one is an input, is there and not the command's own, or is being written by another process; or
                the record cannot be written.
        """
        for name in names:
            check_output(self.path / name, self._inputs, overwrite=self._overwrite or name in self.own)
            if _is_held(_lock_of(self.path / name)):
                raise _busy(self.path / name)
        self.adopt(*names)

    def adopt(self, *names: str) -> None:
        """Put files on the record that are the command's own whether they are there or not.

        Raises:
            InputError: one is an input, or the record cannot be written.
        """
        for name in names:
            self._inputs.check(self.path / name)
        for folder in {(self.path / name).parent for name in (*names, RECORD)}:
            sweep(folder)
        self._write(self.own | set(names))

    def remove(self, *names: str) -> None:
        """Remove files and folders of the command's own.

        Raises:
            InputError: one is an input, or cannot be removed.
        """
        for name in names:
            place = self.path / name
            self._inputs.check(place)
            with Subject(printable(place), "a file or folder that can be removed").attempt("written"):
                remove_folder(place) if place.is_dir() else place.unlink(missing_ok=True)
        self.tidy()

    def tidy(self) -> None:
        """Take off the record what is not there.

        Raises:
            InputError: the record cannot be written.
        """
        self._write({name for name in self.own if (self.path / name).exists() or _matches(self.path, name)})

    def _write(self, own: set[str]) -> None:
        if own == self.own:
            return
        others = {command: sorted(set(names) - own) for command, names in self._record.items()}
        record = {command: names for command, names in (others | {self._command: sorted(own)}).items() if names}
        if record:
            with atomic_write(self.path / RECORD) as file:
                file.write(json.dumps(record, indent=1).encode())
        else:
            (self.path / RECORD).unlink(missing_ok=True)
        self.own, self._record = own, record


@contextmanager
def output_folder(
    path: str | Path, command: str, *, inputs: Iterable[str | Path] = (), overwrite: bool = False
) -> Iterator[OutputFolder]:
    """Have a folder to write to, made if need be, and removed again if the command fails and it stays empty.

    Args:
        path: the folder.
        command: which writes; its record is its own.
        inputs: what it reads, and must not overwrite.
        overwrite: replace files that are there, whoever wrote them.

    Raises:
        InputError: it is a file, cannot be made or written to, or another process writes there.
    """
    folder = Path(path)
    with made_folder(folder), locked(folder):
        sweep(folder)
        sweep_folders(folder)
        output = OutputFolder(folder, command, Inputs(inputs), overwrite)
        try:
            yield output
        finally:
            with suppress(InputError):  # a record that names too much does no harm
                output.tidy()


def _lock_of(path: str | Path) -> Path:
    """Return the place of the lock of a file or folder, the same under whatever name it is given."""
    real = Path(os.path.realpath(path))
    if real.is_dir():
        return real / LOCK
    return real.parent / f".omniup-{hashlib.sha256(os.fsencode(real.name)).hexdigest()[:16]}.lock"


def _acquired(place: Path) -> BaseFileLock | None:
    """Acquire a lock; None where another process holds it."""
    from filelock import FileLock, Timeout

    lock = FileLock(place, thread_local=False)
    try:
        lock.acquire(timeout=_PATIENCE, poll_interval=_PATIENCE / 20)
    except Timeout:
        return None
    return lock


def _is_held(place: Path) -> bool:
    """Return whether a process holds a lock; that of a killed one lies there, and nobody does."""
    if not place.exists():
        return False
    with suppress(OSError):  # it is another user's
        if lock := _acquired(place):
            lock.release()
            return False
    return True


def _busy(path: str | Path) -> InputError:
    return InputError(printable(path), "is being written by another process", "to wait for that, or another name")


def _matches(folder: Path, pattern: str) -> bool:
    """Return whether there is a file whose name, chosen by others, is recorded as a pattern."""
    return "*" in pattern and any(folder.glob(pattern))


def _names(folder: Path, file: Path) -> bool:
    """Return whether a folder's record names a file."""
    return any(file.relative_to(folder).as_posix() in names for names in _read_record(folder / RECORD).values())


def _read_record(path: Path) -> dict[str, list[str]]:
    """Read a folder's record; an empty one where there is none.

    Raises:
        InputError: it is something else.
    """
    subject = Subject(printable(path), "a folder without it, or where a command of omniup wrote it")
    if not path.exists():
        return {}
    with subject.attempt("read"):
        record = json.loads(path.read_text("utf-8"))
        names = [name for own in record.values() for name in own]
        paths = [PurePosixPath(name) for name in names]
    if any(not path.parts or path.is_absolute() or ".." in path.parts for path in paths):
        raise subject.refusal("is no record of files in its folder")
    return record
