"""Write a file whole or not at all: readers see the old content or the new one, never half of it.

The bytes go to a hidden file in the same folder, reach the disk, and take the target's name in one step. A process
that is killed leaves that hidden file behind and the target as it was; everything milder removes it. The hidden file is
locked while it is written, so that `sweep` can distinguish what a killed process has left from what is being written.
Files that belong together take their names when all are whole; see `together`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from omniup.files.refusals import Subject, printable, reason

if sys.platform != "win32":
    import fcntl

_HIDDEN, _LOCKS = ".omniup-*.part", ".omniup*.lock"

_ACCEPTED = "a file name in a folder that exists and can be written to"


@dataclass(frozen=True, eq=False)
class _Waiting:
    """Hidden files that are whole and wait for others before they take their names.

    Attributes:
        files: the hidden file, its target, and its stream, which holds its lock.
        held: closes the streams, and removes what is still hidden.
    """

    files: list[tuple[Path, Path, BinaryIO]] = field(default_factory=list)
    held: ExitStack = field(default_factory=ExitStack)


_WAITING: ContextVar[_Waiting | None] = ContextVar("waiting", default=None)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name only once the `with` block has ended well.

    The mode is what an ordinary `open` would leave: a new file's follows the umask, a replaced file's stays. A
    symbolic link is followed, so that it is still a link afterwards.

    Args:
        path: the file to write. Its folder must exist.

    Yields:
        A binary file to write to; it can seek.

    Raises:
        InputError: the folder is missing or not writable, the path is a directory or a device, or the disk is full.
            An OSError from the `with` block counts as a failure to write, so the block should do nothing else.
    """
    subject = Subject(printable(path), _ACCEPTED)
    with subject.attempt("written"):
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise subject.refusal("is a directory")
        if target.exists() and not target.is_file():  # or /dev/null would become an ordinary file
            raise subject.refusal("is a device or a pipe")
        if not target.parent.exists():
            raise subject.refusal("is in the folder {folder}, which does not exist", folder=printable(target.parent))
        hidden = hidden_path(target.parent)
    try:
        with ExitStack() as stack:
            stack.callback(_remove, hidden)  # first, since an interrupt may come as soon as the file is there
            stream = stack.enter_context(_created(hidden))
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            if target.exists():
                shutil.copymode(target, hidden)
            if waiting := _WAITING.get():
                waiting.files.append((hidden, target, stream))
                waiting.held.push(stack.pop_all())
            else:
                _take_name(hidden, target, stream)
    except OSError as error:
        raise subject.refusal("cannot be written ({reason})", reason=reason(error)) from error


@contextmanager
def together() -> Iterator[None]:
    """Let files take their names only when all that `atomic_write` writes within are whole, in that order.

    They are never mixed with the files that they replace: of these, all but the first are removed before the first new
    one appears. So where the last file is, all of its run are.

    Raises:
        InputError: one cannot be renamed.
    """
    waiting = _Waiting()
    with waiting.held:
        token = _WAITING.set(waiting)
        try:
            yield
        finally:
            _WAITING.reset(token)
        for _, target, _ in reversed(waiting.files[1:]):
            with Subject(printable(target), _ACCEPTED).attempt("written"):
                target.unlink(missing_ok=True)
        for hidden, target, stream in waiting.files:
            with Subject(printable(target), _ACCEPTED).attempt("written"):
                _take_name(hidden, target, stream)


def hidden_path(folder: Path) -> Path:
    """Return a new name for something in a folder that is not whole yet."""
    return folder / f".omniup-{secrets.token_hex(8)}.part"


def sweep(folder: str | Path) -> None:
    """Remove the hidden files and locks that killed processes have left in a folder; those that are in use stay."""
    for left in (*Path(folder).glob(_HIDDEN), *Path(folder).glob(_LOCKS)):
        with suppress(OSError):  # it is a folder, another's, or has gone
            if sys.platform == "win32":  # where what is open cannot be removed
                left.unlink()
            else:
                with left.open("r+b") as stream:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    left.unlink()


def sweep_folders(folder: Path) -> None:
    """Remove hidden folders, too; for who holds the lock of the folder."""
    for left in folder.glob(_HIDDEN):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; what was made and stays empty is removed if the `with` block fails.

    Raises:
        InputError: it cannot be made.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    with Subject(printable(folder), "a folder that can be made or written to").attempt("written"):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # it is not empty
            for each in made:
                each.rmdir()
        raise


def remove_folder(place: Path) -> None:
    """Remove a folder, which loses its name at once, so that whatever bears it is whole.

    Raises:
        OSError: it cannot be removed.
    """
    finish_removal(place)
    place.rename(_removed(place))
    finish_removal(place)


def finish_removal(place: Path) -> None:
    """Remove what a killed `remove_folder` has left; for who holds the lock of what the folder belongs to.

    Raises:
        OSError: it cannot be removed.
    """
    if _removed(place).exists():
        shutil.rmtree(_removed(place))


def replace_folder(new: Path, place: Path) -> None:
    """Give a folder its name in place of an old one, which is removed once the new one stands.

    Raises:
        OSError: it cannot be renamed.
    """
    recover_folder(place)
    if place.exists():
        place.rename(_old(place))
    new.replace(place)
    recover_folder(place)


def recover_folder(place: Path) -> None:
    """Finish what a killed `replace_folder` has left: the old folder comes back where there is no new one."""
    old = _old(place)
    if not old.exists():
        return
    if place.exists():
        shutil.rmtree(old)
    else:
        old.rename(place)


def _removed(place: Path) -> Path:
    return place.with_name(f".omniup-{place.name}.part")  # which `sweep_folders` knows


def _old(place: Path) -> Path:
    return place.with_name(f".omniup-{place.name}.old")


def _take_name(hidden: Path, target: Path, stream: BinaryIO) -> None:
    if sys.platform == "win32":
        stream.close()  # where what is open cannot be renamed
    hidden.replace(target)  # while it is locked


def _remove(hidden: Path) -> None:
    with suppress(OSError):  # it has its name by now, or never came to be
        hidden.unlink()


def _created(hidden: Path) -> BinaryIO:
    """Create a hidden file and lock it."""
    while True:
        stream = hidden.open("xb")
        if sys.platform == "win32":
            return stream
        with suppress(OSError):  # the file system has no locks: then nothing is ever swept there
            fcntl.flock(stream, fcntl.LOCK_EX)
        if os.fstat(stream.fileno()).st_nlink:
            return stream
        stream.close()  # another process has swept it away before it was locked
