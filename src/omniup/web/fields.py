"""Describe requests that are not served as data: the status, and the field of the request if it is a field."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omniup.errors import InputError


class RequestError(InputError):
    """A request cannot be served.

    Attributes:
        status: of the answer, in HTTP.
    """

    def __init__(self, status: int, /, argument: str, problem: str, accepted: str = "", **values: Any) -> None:
        super().__init__(argument, problem, accepted, **values)
        self.status = status


class FieldError(RequestError):
    """A field of a request cannot be accepted.

    Attributes:
        field: its name; a part of it as `config.device`.
    """

    def __init__(self, field: str, /, argument: str, problem: str, accepted: str = "", **values: Any) -> None:
        super().__init__(422, argument, problem, accepted, **values)
        self.field = field


def refused_field(field: str, error: InputError) -> FieldError:
    """Convert a refusal of the library to the refusal of a field."""
    return FieldError(field, error.argument, error.problem, error.accepted, **error.values)


@contextmanager
def field(name: str) -> Iterator[None]:
    """Refuse what the library refuses within as a refusal of a field.

    Raises:
        FieldError: in place of an `InputError`.
    """
    try:
        yield
    except RequestError:
        raise
    except InputError as error:
        raise refused_field(name, error) from error
