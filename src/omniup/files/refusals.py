"""Refuse files: turn exceptions into an `InputError` of one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from omniup.errors import InputError
from omniup.files.noise import logged_noise


def printable(name: str | Path) -> str:
    """Make a file's name fit for a one-line message: quoted and escaped where it would break the line."""
    text = str(name)
    return text if text.isprintable() and text else repr(text)


def reason(error: Exception) -> str:
    """Summarise an exception in one line, without the file's name where that can be left out."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


class Subject:
    """A file that may be refused.

    Args:
        name: the file's name, or a noun such as `image` where there is no name.
        accepted: what is accepted in its place; a template, as that of an `InputError`.
        **values: for its replacement fields.
    """

    def __init__(self, name: str, accepted: str, **values: Any) -> None:
        self.name, self.accepted, self.values = name, accepted, values
        self.is_noisy = False  # whether libraries print about it

    def refusal(self, problem: str, **values: Any) -> InputError:
        """Make the exception to raise, e.g. `refusal("has {count} bytes", count=3)`."""
        return InputError(self.name, problem, self.accepted, **self.values, **values)

    @contextmanager
    def attempt(self, done: Literal["read", "written"]) -> Iterator[None]:
        """Refuse the subject if a library cannot do what the body of this context asks of it.

        Every exception counts: on damaged bytes Pillow, zipfile, NumPy and safetensors raise OSError, ValueError,
        SyntaxError, KeyError, zlib.error, struct.error, RuntimeError and more, and none of them promises a list. So the
        body should be the library's calls and little else.
        """
        try:
            with logged_noise(self.name) if self.is_noisy else nullcontext():
                yield
        except InputError:
            raise
        except Exception as error:
            raise self.refusal(
                "cannot be read ({reason})" if done == "read" else "cannot be written ({reason})", reason=reason(error)
            ) from error
