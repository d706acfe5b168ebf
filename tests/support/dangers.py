"""What commands do with files, so that something can happen at each moment: a kill, an interrupt, a full disk."""

import errno
import inspect
import os
import re
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from omniup.cli.interrupts import must_wait
from support.forks import Fork

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}
FILLS = {"open", "os.mkdir", "fsync"}
"""Moments that a full disk lets fail; `fsync` stands for the writing before it."""

_watching = []


def _audit(event, arguments):
    if not _watching:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, (str, bytes)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            _watching[-1](event, os.fsdecode(path))
    elif event in CHANGES:
        _watching[-1](event, os.fsdecode(arguments[0]))


sys.addaudithook(_audit)  # for good: Python removes none


@contextmanager
def moments(happens):
    """Call `happens(number, event)` before whatever is done to files below the current folder within.

    The event is `open`, for writing, `fsync`, or one of `CHANGES`.
    """
    folder, fsync, count = os.path.realpath(".") + os.sep, os.fsync, 0

    def see(event, path):
        nonlocal count
        if os.path.realpath(path).startswith(folder):
            number, count = count, count + 1
            _watching.append(lambda *_: None)  # of what it does itself, nothing
            try:
                happens(number, event)
            finally:
                _watching.pop()

    def synced(descriptor):
        see("fsync", f"/proc/self/fd/{descriptor}")
        fsync(descriptor)

    os.fsync = synced
    _watching.append(see)
    try:
        yield
    finally:
        sys.setprofile(None)
        _watching.remove(see)
        os.fsync = fsync


def full_from(first):
    """A disk that is full from a moment on."""

    def happens(number, event):
        if number >= first and event in FILLS:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return happens


def signal_at(chosen, number):
    """A signal to this process at a moment; where it has to wait, again as soon as it need not."""

    def again(frame, event, _):
        is_closing = frame.f_code.co_flags & inspect.CO_GENERATOR  # perhaps, where Python drops what is raised
        if event in ("call", "c_call") and not is_closing and not must_wait(frame):
            sys.setprofile(None)
            signal.raise_signal(number)

    def happens(moment, _):
        if moment == chosen:
            handler = signal.getsignal(number)
            signal.raise_signal(number)
            if signal.getsignal(number) is handler:  # it waits; a training's has noted it, and gives way to another
                sys.setprofile(again)

    return happens


class States:
    """The distinct states of the current folder at all moments: what a process leaves that is killed there.

    What a process has not given to the system is lost with it, and what it has given is not, as here.
    """

    def __init__(self):
        self._found, self._read = {}, {}

    def __call__(self, *_):
        state = contents(read=self._content)
        key = {re.sub(r"omniup-[0-9a-f]{16}", "omniup", name): content for name, content in state.items()}
        self._found.setdefault(repr(sorted(key.items())), state)

    def _content(self, path):
        """Read a file, once as long as it does not change."""
        found = path.stat()
        key = found.st_ino, found.st_size, found.st_mtime_ns
        if key not in self._read:
            self._read[key] = path.read_bytes()
        return self._read[key]

    def some(self, count):
        """At most that many of them, the last included, and not the first, in which nothing has been done."""
        _, *found = self._found.values()
        step = max(1, len(found) / count)
        return [found[-1 - round(place * step)] for place in range(min(count, len(found)))]


def contents(folder=".", read=Path.read_bytes):
    """The files of a folder with their contents, and None for empty folders."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(Path(folder).rglob("*"))}
    return {
        name: read(path) if path.is_file() else None
        for name, path in paths.items()
        if path.is_file() or not any(path.iterdir())
    }


def restore(state):
    """Make the current folder hold just that."""
    for name in contents().keys() - state.keys():
        Path(name).rmdir() if Path(name).is_dir() else Path(name).unlink()
        for parent in Path(name).parents[:-1]:
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()
    for name, content in state.items():
        if content is None:
            Path(name).mkdir(parents=True, exist_ok=True)
        else:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(content)


class Held(Fork):
    """A command in a fork of this process, which waits at a moment until it is let go or killed."""

    def __init__(self, run, moment):
        (wait, self._go), (told, tell) = os.pipe(), os.pipe()

        def happens(number, _):
            if number == moment:
                os.write(tell, b".")
                os.read(wait, 1)

        def held():
            with moments(happens):
                return run()

        super().__init__(held)
        os.close(wait)
        os.close(tell)
        assert os.read(told, 1) == b".", "it ended before that moment"
        os.close(told)

    def let_go(self):
        """Let it go on, and return its exit status."""
        os.write(self._go, b".")
        return self.wait()

    def wait(self):
        """Wait for its end, and return its exit status."""
        os.close(self._go)
        return super().wait()
