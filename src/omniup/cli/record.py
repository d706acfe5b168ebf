"""Keep the record of degraded pictures: a line of JSON a picture, added as soon as its pair is written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omniup.files import atomic_write
from omniup.files.refusals import Subject, printable


class Record:
    """A file of JSON lines, one for each name; another run adds to it.

    Args:
        path: the file.
        is_own: whether a run before wrote it, so that its lines stay; an unfinished last one was cut off by a kill.

    Raises:
        InputError: it cannot be read.
    """

    def __init__(self, path: Path, *, is_own: bool) -> None:
        self.path = path
        self._subject = Subject(printable(path), "the record that `omniup degrade` wrote")
        self._lines: dict[str, str] = {}
        self._is_open = False
        if is_own and path.exists():
            with self._subject.attempt("read"):
                whole = path.read_text("utf-8").split("\n")[:-1]
                self._lines = {json.loads(line)["name"]: line for line in whole}

    def add(self, facts: Mapping[str, Any]) -> None:
        """Add the line of a picture; it is on the disk when this returns.

        Raises:
            InputError: it cannot be written.
        """
        line = json.dumps(facts)
        if not self._is_open:
            self._write()
        with self._subject.attempt("written"), self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._lines[facts["name"]] = line

    def close(self) -> None:
        """Write a single line for each picture, the newest, where any was added.

        Raises:
            InputError: it cannot be written.
        """
        if self._is_open:
            self._write()

    def _write(self) -> None:
        with atomic_write(self.path) as file:
            file.write("".join(line + "\n" for line in self._lines.values()).encode())
        self._is_open = True
