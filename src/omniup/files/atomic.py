"""Write a file whole or not at all: readers see the old content or the new one, never half of it.

The bytes go to a hidden file in the same folder, reach the disk, and take the target's name in one step. A process
that is killed leaves that hidden file behind and the target as it was; everything milder removes it.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from omniup.files.refusals import Subject, printable, reason


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
    subject = Subject(printable(path), "a file name in a folder that exists and can be written to")
    with subject.attempt("written"):
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise subject.refusal("is a directory")
        if target.exists() and not target.is_file():  # or /dev/null would become an ordinary file
            raise subject.refusal("is a device or a pipe")
        if not target.parent.exists():
            raise subject.refusal("is in the folder {folder}, which does not exist", folder=printable(target.parent))
        hidden = target.parent / f".omniup-{secrets.token_hex(8)}.part"
    try:
        with hidden.open("xb") as stream:  # in here, since an interrupt may come as soon as the file is there
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            shutil.copymode(target, hidden)
        hidden.replace(target)
    except OSError as error:
        raise subject.refusal("cannot be written ({reason})", reason=reason(error)) from error
    finally:
        with suppress(OSError):  # it has its name by now, or never came to be
            hidden.unlink()
