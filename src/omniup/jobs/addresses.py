"""Open what a job reads: local paths, addresses of fsspec, members of tar archives; and keep paths below their root.

Lists and archives may come from anybody. What they name is read below the root that the job declares and nowhere else,
and the names that they give to results stay below the folder of the results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from omniup.errors import InputError, optional_import
from omniup.files import Source
from omniup.files.refusals import Subject, printable

MOST_BYTES = 2**31
"""Bytes of a file that is not on this machine, or of a member of an archive, at most."""

_LONGEST = 200
"""Bytes of a name in a path: file systems take 255, and suffixes follow."""

OWN_FOLDER = "_job"
"""The folder in the output for what is no result; readers of parquet skip names that begin so."""


@dataclass(frozen=True)
class Member:
    """A file within a tar archive.

    Attributes:
        tar: the address of the archive.
        name: of the member.
        offset: where its bytes begin.
        size: how many they are.
    """

    tar: str
    name: str
    offset: int
    size: int


Address: TypeAlias = str | Member


def is_remote(address: str) -> bool:
    """Return whether an address is fsspec's, such as `s3://bucket/folder`, and no local path."""
    return "://" in address or "::" in address


def file_system(address: str, storage: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the file system of fsspec that an address names, and the path in it.

    Raises:
        InputError: there is no such file system, or its package is not installed.
    """
    fsspec = optional_import("fsspec", extra="batch")
    subject = Subject(printable(address), "a local path, or an address of fsspec whose package is installed")
    with subject.attempt("read"):
        system, path = fsspec.core.url_to_fs(address, **storage)
    return system, path


def fetch(address: Address, storage: Mapping[str, Any], *, most: int = MOST_BYTES) -> Source:
    """Return what the readers of `omniup.files` take: the path of a local file, or the bytes of any other.

    Raises:
        InputError: it cannot be read, or is larger than `most` bytes.
    """
    if isinstance(address, str) and not is_remote(address):
        return Path(address)
    name = printable(address if isinstance(address, str) else f"{address.tar}: {address.name}")
    subject = Subject(name, "a file of at most {most} bytes", most=most)
    with subject.attempt("read"):
        if isinstance(address, str):
            system, path = file_system(address, storage)
            size = int(system.size(path) or 0)
            if size > most:
                raise subject.refusal("has {size} bytes", size=size)
            held = BytesIO(system.cat_file(path))
        else:
            if address.size > most:
                raise subject.refusal("has {size} bytes", size=address.size)
            with open_binary(address.tar, storage) as archive:
                archive.seek(address.offset)
                held = BytesIO(archive.read(address.size))
    held.name = name  # which refusals quote
    return held


def open_binary(address: str, storage: Mapping[str, Any]) -> Any:
    """Open a local file or one of fsspec as a binary stream that can seek."""
    if not is_remote(address):
        return Path(address).open("rb")
    system, path = file_system(address, storage)
    return system.open(path, "rb")


def below(root: str, path: str) -> str:
    """Return the address of a path below a root, to which relative paths are added.

    Raises:
        InputError: it leaves the root.
    """
    folder = root.rstrip("/") + "/"
    is_absolute = is_remote(path) or Path(path).is_absolute()
    if ".." in re.split(r"[/\\]", path) or (is_absolute and not path.startswith(folder)):
        raise InputError(printable(path), "leads out of {root}", "paths below it; `root` names another", root=root)
    return path if is_absolute else folder + path


def check_key(key: str) -> str:
    """Check the name of a picture's results, which becomes a path below the output.

    Raises:
        InputError: it would leave that folder or hide in it, or is no name of files.
    """
    parts = key.split("/")
    is_name = key.isprintable() and "\\" not in key and not PurePosixPath(key).is_absolute()
    if (
        not is_name
        or parts[0] == OWN_FOLDER
        or any(not part or part.startswith(".") or len(part.encode()) > _LONGEST for part in parts)
    ):
        accepted = "relative paths whose parts begin with no dot and have at most {most} bytes"
        raise InputError(repr(key)[:99], "cannot be the name of results", accepted, most=_LONGEST)
    return key
