"""What goes wrong at the door: input that cannot be accepted, and optional packages that are not there."""

from __future__ import annotations

import importlib
import importlib.util
import re
from types import ModuleType


class InputError(ValueError):
    """The caller's input cannot be accepted; the message names the argument, what was wrong and what is accepted.

    The command line shows it as one line with exit status 2. Any other exception is a defect of ours.
    """


class MissingPackageError(InputError, ImportError):
    """An optional package is needed for this and is not installed; the message says how to install it."""


def check_installed(*packages: str, extra: str) -> None:
    """Refuse early what would fail later for want of a package, without importing it, which may take seconds.

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
    return MissingPackageError(f'{package} is needed for this and is not installed: pip install "omniup[{extra}]"')
