"""Define errors of the caller's making: unacceptable input, and optional packages that are not installed."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import re
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


class InputError(ValueError):
    """The caller's input cannot be accepted; as data, and as one sentence of one grammar.

    `str` gives "{argument} {problem}; accepted: {accepted}". The command line shows it as one line with exit status 2,
    the server sends the parts, and may translate the templates. Any other exception is a defect of ours.

    Args:
        argument: what cannot be accepted: the name of an argument, setting, option or file.
        problem: what is wrong with it, as a predicate: `"is {value!r}"`, `"has the shape {shape}"`.
        accepted: what is accepted instead, as a noun: `"whole numbers from {low:g} to {high:g}"`; may be empty.
        **values: what the replacement fields of both templates stand for.

    Example:
        >>> str(InputError("radius", "is {value!r}", "whole numbers from {low} to {high}", value=99, low=0, high=16))
        'radius is 99; accepted: whole numbers from 0 to 16'
    """

    def __init__(self, argument: str, problem: str, accepted: str = "", **values: Any) -> None:
        super().__init__(argument, problem, accepted)  # with `values` in __dict__, that is what pickle needs
        self.argument, self.problem, self.accepted, self.values = argument, problem, accepted, values

    def __str__(self) -> str:
        said = f"{self.argument} {self.problem.format(**self.values)}"
        return f"{said}; accepted: {self.accepted.format(**self.values)}" if self.accepted else said

    def within(self, place: str) -> Self:
        """Return the same refusal with a prefix to its argument, e.g. the option that it was made for."""
        placed = copy.copy(self)
        placed.argument = f"{place}: {self.argument}"
        return placed


class MissingPackageError(InputError, ImportError):
    """An optional package, the argument, is needed for this and is not installed; says how to install it."""


def check_installed(*packages: str, extra: str) -> None:
    """Refuse early if a package is missing, without importing it, which may take seconds.

    Args:
        packages: by the names that they are imported by.
        extra: the extra that installs them.

    Raises:
        MissingPackageError: one of them is not installed; says which command installs it.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise _missing(package, extra)


def optional_import(module: str, *, extra: str) -> ModuleType:
    """Import a package that only one of omniup's extras brings.

    Args:
        module: what to import, e.g. `"timm"`.
        extra: the extra that installs it, e.g. `"features"`.

    Raises:
        MissingPackageError: the package is not installed; says which command installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the package is there and something that it needs is not: its own message says more
        raise _missing(package, extra) from error


def is_out_of_memory(error: Exception) -> bool:
    """Recognise a lack of memory by its words: on a CPU and on Apple's GPUs, torch raises a plain RuntimeError."""
    words = r"out of memory|not enough memory|can't allocate memory"
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(re.search(words, str(error))))


def _missing(package: str, extra: str) -> MissingPackageError:
    return MissingPackageError(
        package, 'is needed for this and is not installed: pip install "omniup[{extra}]"', extra=extra
    )
