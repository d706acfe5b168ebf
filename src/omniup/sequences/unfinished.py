"""Keep what a run needs to go on where it was stopped or killed, in a folder beside its output.

`OUT.unfinished` holds the settings of the run, the parts of a film that are whole, and the state at the end of the last
of them. A run that finds a folder with its own settings goes on from that state; what was written after it is written
again, with the same bytes. The folder is removed when the output is whole.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omniup.files import atomic_write, read_tensors, write_tensors
from omniup.files.atomic import finish_removal, made_folder, remove_folder
from omniup.files.refusals import Subject, printable

_SETTINGS, _STATE = "settings.json", "state.safetensors"


class Unfinished:
    """The folder of an unfinished run.

    Args:
        output: file or folder of the results; its name with `.unfinished` is that of the folder.
        settings: of the run, as plain data.

    Attributes:
        path: the folder.
        times: of the frames that are done, in their order.
        state: tensors at the end of them, by names; empty before the first.
        signal_type: the type of the signals; empty before the first.
    """

    def __init__(self, output: str | Path, settings: dict[str, Any]) -> None:
        self.path = folder_of(output)
        self._settings = json.loads(json.dumps(settings))
        self.times: list[int] = []
        self.state: dict[str, Tensor] = {}
        self.signal_type = ""

    def open(self, *, overwrite: bool) -> None:
        """Go on with what is there, or begin.

        Args:
            overwrite: begin anew where a run with other settings was stopped.

        Raises:
            InputError: there is something else, or a run with other settings, and it is not to be overwritten.
        """
        subject = Subject(printable(self.path), "the settings of that run, another output, or --overwrite")
        finish_removal(self.path)
        if self.path.exists() and not self._is_empty():
            with subject.attempt("read"):
                found = json.loads((self.path / _SETTINGS).read_text("utf-8"))
            if found == self._settings:
                self._go_on()
                return
            if not overwrite:
                differing = ", ".join(sorted(name for name in found if found[name] != self._settings.get(name)))
                raise subject.refusal("is of a run with other settings ({names})", names=differing)
            remove_folder(self.path)
        with made_folder(self.path), atomic_write(self.path / _SETTINGS) as file:
            file.write(json.dumps(self._settings, indent=1).encode())

    @property
    def has_state(self) -> bool:
        """Return whether there is something to go on from."""
        return (self.path / _STATE).exists()

    def part(self, number: int) -> Path:
        """Return the file of the part that begins with a frame."""
        return self.path / f"part-{number:08}.mp4"

    def parts(self) -> list[Path]:
        """List the parts that are whole, in their order."""
        return sorted(self.path.glob("part-*.mp4"))

    def save(self, times: list[int], state: dict[str, Tensor], signal_type: str) -> None:
        """Save the state at the end of the frames that are done.

        Args:
            times: of the frames.
            state: tensors by names.
            signal_type: the type of the signals.

        Raises:
            InputError: it cannot be written.
        """
        held = state | {"times": torch.tensor(times, dtype=torch.int64)}
        write_tensors(self.path / _STATE, held, {"signal_type": signal_type})

    def remove(self) -> None:
        """Remove the folder."""
        remove_folder(self.path)

    def _is_empty(self) -> bool:
        """Return whether the folder has no file, as one of a process that was killed when it had made it."""
        return self.path.is_dir() and all(each.match(".omniup-*") for each in self.path.iterdir())

    def _go_on(self) -> None:
        if self.has_state:
            self.state, metadata = read_tensors(self.path / _STATE)
            self.times = self.state.pop("times").tolist()
            self.signal_type = metadata.get("signal_type", "")
        for part in self.parts():
            if int(part.stem.removeprefix("part-")) >= len(self.times):
                part.unlink()


def folder_of(output: str | Path) -> Path:
    """Return the folder of an unfinished run, by the output."""
    place = Path(output)
    return place.with_name(f"{place.name}.unfinished")


def was_stopped(output: str | Path) -> bool:
    """Return whether a run that wrote this output was stopped."""
    return (folder_of(output) / _SETTINGS).is_file()
