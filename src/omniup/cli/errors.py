"""Turn the exceptions that users can act on into one line on standard error.

A refusal has the exit status 2, an interrupt 130. Everything else is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import typer

from omniup.cli.interrupts import patient_interrupts
from omniup.errors import InputError, is_out_of_memory

REFUSED = 2
INTERRUPTED = 130

#: The parent of all that typer raises for wrong usage; typer itself exports this child only.
UsageError: Any = typer.BadParameter.__base__


def guarded(run: Callable[[], Any], *, bounded: Callable[[], bool]) -> int:
    """Run a typer command that is not in standalone mode, and report errors in one line.

    Args:
        run: calls the command.
        bounded: returns whether the command has the option `--memory`; called where memory was lacking.

    Returns:
        The exit status.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged files, which are refused in one line or read
    warnings.showwarning = _warn  # type: ignore[assignment]  # of all that it is given, one thing matters
    try:
        with patient_interrupts():
            status = run() or 0  # a command returns None, one that leaves by `typer.Exit` its status
    except UsageError as error:
        return _refuse(error.format_message())
    except InputError as error:
        return _refuse(str(error))
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        remedies = "a smaller --memory, " if bounded() else ""
        return _refuse(f"out of memory: {remedies}a smaller image or size, or fewer channels need less")
    if status == INTERRUPTED:  # which typer returns for Ctrl-C
        _say("interrupted")
    return int(status)


def _warn(message: Warning | str, *_: object) -> None:
    _say(f"warning: {message}")


def _refuse(message: str) -> int:
    _say(message)
    return REFUSED


def _say(message: str) -> None:
    """Print one line, whatever the message quotes."""
    line = " ".join(message.split())
    escaped = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
    print(f"omniup: {escaped}", file=sys.stderr)
