"""Check between tiles whether anybody still wants the result: by raising, a check ends the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_CHECK: ContextVar[Callable[[], None] | None] = ContextVar("check", default=None)


@contextmanager
def interruptible(check: Callable[[], None]) -> Iterator[None]:
    """Call `check` between the tiles of whatever is mixed within; what it raises ends the work."""
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


def check_interruption() -> None:
    """Call the check of the surrounding `interruptible`, if there is one."""
    if check := _CHECK.get():
        check()
