"""Hold what the checks of a GPU have found: rows of one table, and of a file."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias


@dataclasses.dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        what: was checked or measured.
        found: with its unit.
        wanted: what it should be, or what others have published.
        passed: whether it is as wanted; None where nothing is.
    """

    what: str
    found: str
    wanted: str = ""
    passed: bool | None = None


Check: TypeAlias = tuple[str, Callable[[], Iterable[Row]]]
"""A name, and what finds the rows of it."""


def within(what: str, difference: float, most: float) -> Row:
    """Make the row of a difference that may be `most`; a NaN never passes."""
    return Row(what, f"{difference:.1e}", f"≤ {most:.0e}", difference <= most)


def rows_of(checks: Iterable[Check]) -> Iterator[Row]:
    """Yield the rows of all checks; of one that raises, one that has not passed, while the others go on."""
    for what, check in checks:
        try:
            yield from check()
        except Exception as error:
            traceback.print_exc()
            lines = str(error).splitlines() or [""]
            yield Row(what, f"{type(error).__name__}: {lines[0]}", "no error", passed=False)
