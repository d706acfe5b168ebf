"""Keep the record of degraded pictures: a line of JSON a picture, added as soon as its pair is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omniup.files import atomic_write
from omniup.files.lines import append_line
from omniup.files.refusals import Subject, printable

_ACCEPTED = "the record that `omniup degrade` wrote"


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
        self._lines: dict[str, str] = {}
        self._is_open = False
        if is_own and path.exists():
            with Subject(printable(path), _ACCEPTED).attempt("read"):
                whole = path.read_text("utf-8").split("\n")[:-1]
                self._lines = {json.loads(line)["name"]: line for line in whole}

    @contextmanager
    def adding(self, facts: Mapping[str, Any]) -> Iterator[None]:
        """Add the line of a picture, whose pair is written within; it is on the disk afterwards.

        While a pair replaces another, its line has the name alone.

        Raises:
            InputError: it cannot be written.
        """
        if not self._is_open:
            self._write()
        if facts["name"] in self._lines:
            self._append({"name": facts["name"]})
        yield
        self._append(facts)

    def close(self) -> None:
        """Write a single line for each picture, the newest, where any was added.

        Raises:
            InputError: it cannot be written.
        """
        if self._is_open:
            self._write()

    def _append(self, facts: Mapping[str, Any]) -> None:
        line = json.dumps(facts)
        append_line(self.path, line.encode(), accepted=_ACCEPTED)
        self._lines[facts["name"]] = line

    def _write(self) -> None:
        with atomic_write(self.path) as file:
            file.write("".join(line + "\n" for line in self._lines.values()).encode())
        self._is_open = True
