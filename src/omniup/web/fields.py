"""Refusals that name the field of the request which cannot be accepted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from omniup.errors import InputError


class FieldError(InputError):
    """A field of a request cannot be accepted.

    Attributes:
        field: its name; a part of it as `config.device`.
    """

    def __init__(self, field: str, problem: Exception | str) -> None:
        super().__init__(str(problem))
        self.field = field


@contextmanager
def field(name: str) -> Iterator[None]:
    """Say of what the library refuses within which field it was.

    Raises:
        FieldError: in place of an `InputError`.
    """
    try:
        yield
    except FieldError:
        raise
    except InputError as error:
        raise FieldError(name, error) from error
