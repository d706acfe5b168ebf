"""Write and read checkpoints: folders that appear whole, of which the newest few are kept.

A checkpoint is written to a hidden folder beside its place, reaches the disk, and takes its name in one step. One that
is no longer needed takes a hidden name before it is removed. So whatever bears a checkpoint's name is complete, at
whichever moment the process was killed.
"""

from __future__ import annotations

import json
import re
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.files import atomic_write, read_tensors, write_tensors
from omniup.files.atomic import made_folder, remove_folder, sweep_folders
from omniup.files.refusals import Subject, printable
from omniup.training.settings import TrainingSettings

STATE, FACTS = "state.pt", "training.json"

#: Settings that may change between a checkpoint and the training that resumes from it.
FREE = ("steps", "validation", "checkpoints", "output")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training between two steps. Random states are not in it: there are none (`randomness.py`).

    Attributes:
        step: how many steps have been taken, which is all the state that the sampler has.
        weights: of each network, by its name and theirs; each network has a file of its own.
        state: of each optimiser, by its name, and of the loss scaler where there is one.
        configuration: of the training.
    """

    step: int
    weights: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    configuration: dict[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        folder: where they lie.
        keep: how many.
    """

    folder: Path
    keep: int = 3

    def steps(self) -> list[int]:
        """List the steps of the checkpoints in the folder, in ascending order."""
        names = (place.name for place in self.folder.glob("step-*"))
        return sorted(int(match[1]) for name in names if (match := re.fullmatch(r"step-(\d+)", name)))

    def write(self, checkpoint: Checkpoint, metadata: dict[str, str]) -> Path:
        """Write a checkpoint, and remove those that are too many.

        Args:
            checkpoint: to write.
            metadata: what the files of weights say about them.

        Returns:
            Its folder.

        Raises:
            InputError: it cannot be written.
        """
        place = self.place(checkpoint.step)
        hidden = self._begun(checkpoint.step)
        subject = Subject(printable(place), "a folder that can be made and written to")
        with ExitStack() as stack, subject.attempt("written"):
            stack.callback(shutil.rmtree, hidden, ignore_errors=True)
            hidden.mkdir(parents=True, exist_ok=True)
            for name, tensors in checkpoint.weights.items():
                write_tensors(hidden / f"{name}.safetensors", tensors, metadata)
            with atomic_write(hidden / STATE) as file:
                torch.save(checkpoint.state, file)
            with atomic_write(hidden / FACTS) as file:
                facts = {
                    "step": checkpoint.step,
                    "networks": list(checkpoint.weights),
                    "configuration": checkpoint.configuration,
                }
                file.write(json.dumps(facts, indent=2).encode())
            if place.exists():  # of a training that was taken up again from before it
                remove_folder(place)
            hidden.replace(place)
        self._remove_oldest()
        return place

    def write_own(self, step: int, process: int, state: dict[str, Any]) -> None:
        """Add a process's own state to the checkpoint that is about to be written.

        Raises:
            InputError: it cannot be written.
        """
        hidden = self._begun(step)
        with made_folder(hidden), atomic_write(hidden / _own(process)) as file:
            torch.save(state, file)

    def read_own(self, step: int, process: int) -> dict[str, Any]:
        """Read what `write_own` wrote.

        Raises:
            InputError: it is damaged, or there were fewer processes.
        """
        place = self.place(step)
        if not (place / _own(process)).exists():
            count = len(list(place.glob(_own("*"))))
            raise InputError(str(place), "was written by {count} processes", "as many processes", count=count)
        with Subject(printable(place), "a whole checkpoint").attempt("read"):
            return torch.load(place / _own(process), map_location="cpu", weights_only=True)

    def read(self, step: int) -> Checkpoint:
        """Read the checkpoint after a number of steps.

        Raises:
            InputError: it is damaged.
        """
        place = self.place(step)
        with Subject(printable(place), "a whole checkpoint").attempt("read"):
            facts = json.loads((place / FACTS).read_text())
            weights = {name: read_tensors(place / f"{name}.safetensors")[0] for name in facts["networks"]}
            state = torch.load(place / STATE, map_location="cpu", weights_only=True)
            return Checkpoint(int(facts["step"]), weights, state, facts["configuration"])

    def sweep(self) -> None:
        """Remove what killed processes have left: what was not whole, and checkpoints that are too many."""
        sweep_folders(self.folder)
        self._remove_oldest()

    def place(self, step: int) -> Path:
        """Return the folder of the checkpoint after a number of steps."""
        return self.folder / f"step-{step:08d}"

    def _remove_oldest(self) -> None:
        for step in self.steps()[: -self.keep]:
            remove_folder(self.place(step))

    def _begun(self, step: int) -> Path:
        """Return the folder in which a checkpoint is put together; known to all processes."""
        return self.folder / f".omniup-{step:08d}.part"


def _own(process: int | str) -> str:
    """Name the file of a process's own state."""
    return f"process-{process}.pt"


def starting_point(checkpoints: Checkpoints, configuration: TrainingSettings, resume: bool | None) -> Checkpoint | None:
    """Find the checkpoint that a training resumes from.

    Args:
        checkpoints: what is there.
        configuration: of the training.
        resume: go on from the last one if there is one; or begin anew; None means that there must be none.

    Returns:
        The last checkpoint, or None for a beginning.

    Raises:
        InputError: there are checkpoints and nothing is said about them, or the last is damaged or of another training.
    """
    steps = checkpoints.steps()
    if resume is False or not steps:
        return None
    if resume is None:
        raise InputError(
            str(checkpoints.folder),
            "holds a checkpoint after step {step}",
            "to resume it, to begin from scratch, or another folder",
            step=steps[-1],
        )
    last = checkpoints.read(steps[-1])
    now = configuration.model_dump(mode="json")
    if changed := [name for name in now if name not in FREE and now[name] != last.configuration.get(name)]:
        raise InputError(
            str(checkpoints.folder),
            "was written with other {changed}",
            "changes of {free}",
            changed=", ".join(changed),
            free=", ".join(FREE),
        )
    return last
