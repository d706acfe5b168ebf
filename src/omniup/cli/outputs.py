"""Check the files that results go to before the work begins, and write them."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from omniup.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self


class Target:
    """A file that a tensor will be written to, or `-`, standard output; this process's alone within a `with` block.

    Args:
        argument: as the user gave it.
        bits: of a PNG, 8 or 16; None for 8 where the values fit.
        inputs: files that it must not be.
        overwrite: replace a file that is there.

    Attributes:
        format: by the suffix.

    Raises:
        InputError: the suffix is unknown; from the `with` block: the file cannot or must not be written.
    """

    def __init__(
        self, argument: str, bits: int | None = None, *, inputs: Iterable[str] = (), overwrite: bool = False
    ) -> None:
        from omniup.files.signals import WRITTEN_FORMATS

        self.argument, self.bits = argument, bits
        self.is_standard_output = argument == "-"
        self.format = "npy" if self.is_standard_output else Path(argument).suffix.removeprefix(".").lower()
        if self.format not in WRITTEN_FORMATS:
            suffixes = ", ".join(f".{known}" for known in WRITTEN_FORMATS)
            raise InputError(
                argument,
                "has another suffix than those of the formats",
                "{suffixes}; or -, standard output",
                suffixes=suffixes,
            )
        if bits not in (None, 8, 16):
            raise InputError("--bits", "is {value}", "8 and 16", value=bits)
        if self.is_standard_output and sys.stdout.isatty():
            raise InputError("standard output", "is a terminal", "-o - where it leads to a file or a program")
        self._stack = ExitStack()
        self._inputs, self._overwrite = inputs, overwrite

    def __enter__(self) -> Self:
        if not self.is_standard_output:
            self._stack.enter_context(output_file(self.argument, self._inputs, self._overwrite))
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def check(self, signal: Tensor) -> None:
        """Check that the format can hold the result of a signal; choose the bits of a PNG.

        Args:
            signal: [B, C, h, w].

        Raises:
            InputError: it cannot.
        """
        if self.format != "png":
            return
        low, high = (round(bound.item()) for bound in signal.aminmax())
        self.bits = self.bits or (8 if high < 2**8 else 16)
        if (*signal.shape[:2], self.bits) not in ((1, 1, 8), (1, 1, 16), (1, 3, 8)):
            raise InputError(
                self.argument,
                "is a PNG, which holds one channel, or three of 8 bits, and not a signal of {shape} in {bits} bits",
                ".npy, .npz and .safetensors",
                shape=" x ".join(map(str, signal.shape)),
                bits=self.bits,
            )
        if not 0 <= low <= high < 2**self.bits:
            raise InputError(
                self.argument,
                "is a PNG of {bits} bits, which holds 0 to {most}, and not values from {low} to {high}",
                ".npy, .npz and .safetensors",
                bits=self.bits,
                most=2**self.bits - 1,
                low=low,
                high=high,
            )

    def write(self, result: Tensor) -> None:
        """Write [B, C, H, W]; what overshoots the limits of a PNG is cut off there."""
        from omniup.files import write_signal

        if self.is_standard_output:
            with standard_output():
                write_signal(sys.stdout.buffer, result, format=self.format)
        elif self.format == "png":
            bits = self.bits or 8
            write_signal(self.argument, result.clamp(0, 2**bits - 1), bits=bits)
        else:
            write_signal(self.argument, result)


@contextmanager
def targets(
    output: str, confidence: str | None, bits: int | None, *, inputs: Iterable[str], overwrite: bool
) -> Iterator[tuple[Target, Target | None]]:
    """Have the file of a result, and that of its confidence where one is named; see `Target`.

    Raises:
        InputError: as `Target`.
    """
    with ExitStack() as stack:
        target, trust = (
            None if path is None else stack.enter_context(Target(path, bits, inputs=inputs, overwrite=overwrite))
            for path in (output, confidence)
        )
        assert target is not None
        yield target, trust


@contextmanager
def output_file(path: str, inputs: Iterable[str], overwrite: bool) -> Iterator[None]:
    """Have a file for results for this process alone, checked before the work begins; see `omniup.files.outputs`.

    Raises:
        InputError: it cannot be written, is an input, is there without `--overwrite`, or another process writes it.
    """
    from omniup.files import Inputs, check_output, locked, sweep

    check_writable(path)
    sweep(Path(path).resolve().parent)
    with locked(path):
        check_output(path, Inputs(inputs), overwrite=overwrite)
        yield


def check_writable(path: str | Path) -> None:
    """Check that a file can be written, without a trace: begin to, and abandon it.

    Raises:
        InputError: it cannot.
    """
    from omniup.files import atomic_write

    with suppress(_GivenUpError), atomic_write(path):
        raise _GivenUpError


class _GivenUpError(Exception):
    pass


@contextmanager
def standard_output() -> Iterator[None]:
    """Write to standard output within, to the end; report errors in one line, a closed pipe in none."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        # what is still in the buffer must go somewhere when Python ends, or it would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            raise typer.Exit(1) from error
        raise InputError("standard output", "cannot be written ({reason})", reason=error.strerror) from error
