"""Record how a training goes in TensorBoard's files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from omniup.errors import optional_import
from omniup.files.refusals import Subject, printable


@contextmanager
def open_events(folder: Path, suffix: str, purge_step: int | None) -> Iterator[Events]:
    """Open a file of TensorBoard's, which is closed at the end.

    Args:
        folder: where it goes.
        suffix: the end of its name.
        purge_step: the step from which on TensorBoard drops what earlier files say.

    Raises:
        InputError: it cannot be written, as on a full disk.
        MissingPackageError: tensorboard is not installed.
    """
    before = threading.excepthook

    def report(arguments: threading.ExceptHookArgs) -> None:
        if not type(arguments.thread).__module__.startswith("tensorboard."):  # which the next call to it raises
            before(arguments)

    threading.excepthook = report
    try:
        with closing(Events(folder, suffix, purge_step)) as events:
            yield events
    finally:
        threading.excepthook = before


class Events:
    """A file of TensorBoard's, written by a thread of its own; see `open_events`.

    Each method raises an InputError where the file cannot be written, be it what it wrote itself or before.
    """

    def __init__(self, folder: Path, suffix: str, purge_step: int | None) -> None:
        tensorboard = optional_import("torch.utils.tensorboard", extra="train")
        self._subject = Subject(printable(folder), "a folder that can be written to")
        with self._subject.attempt("written"):
            self._writer = tensorboard.SummaryWriter(str(folder), purge_step=purge_step, filename_suffix=suffix)

    def add_text(self, name: str, text: str, step: int) -> None:
        """Record a text."""
        with self._subject.attempt("written"):
            self._writer.add_text(name, text, step)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Record a number."""
        with self._subject.attempt("written"):
            self._writer.add_scalar(name, value, step)

    def add_picture(self, name: str, picture: Image.Image, step: int) -> None:
        """Record a picture."""
        with self._subject.attempt("written"):
            self._writer.add_image(name, np.asarray(picture), step, dataformats="HWC")

    def flush(self) -> None:
        """Write what has been recorded."""
        with self._subject.attempt("written"):
            self._writer.flush()

    def close(self) -> None:
        """Write what has been recorded, and end the thread."""
        with self._subject.attempt("written"):
            self._writer.close()
