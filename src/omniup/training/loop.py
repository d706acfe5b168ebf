"""Run the training loop on Accelerate: one process or several, CPUs or GPUs, float32 or mixed precision.

A step is a function of the state of the training and the number of the step: everything that is drawn for it comes from
the seed and that number. So a training that is taken up again from a checkpoint goes on exactly as it would have gone
on, and on a CPU the losses are equal to the last bit.
"""

from __future__ import annotations

import logging
import math
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from omniup.errors import InputError, optional_import
from omniup.files import OutputFolder, output_folder
from omniup.files.atomic import made_folder, recover_folder
from omniup.files.refusals import printable
from omniup.training.checkpoints import Checkpoint, Checkpoints, starting_point
from omniup.training.events import open_events
from omniup.training.photographs import Positions
from omniup.training.settings import TrainingSettings
from omniup.training.stopping import StopRequest, stop_requests

logger = logging.getLogger(__name__)

EVENTS = "tensorboard"

AnySettings = TypeVar("AnySettings", bound=TrainingSettings)


class Named(Protocol):
    """Something with named tensors: a network, or a part of one."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> Any:
        """Set the tensors."""


@dataclass(frozen=True)
class Progress:
    """Progress of a training.

    Attributes:
        step: how many steps have been taken.
        steps: how many there will be.
        losses: of the last step: `loss` and its parts.
        measured: what validation found after it; empty where there was none.
    """

    step: int
    steps: int
    losses: dict[str, float]
    measured: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Outcome of a training.

    Attributes:
        step: how many steps have been taken.
        finished: whether these are all; otherwise it was asked to stop, and there is a checkpoint.
        weights: the trained weights, a file or a folder; None where it is not finished.
        measured: what validation found at the end.
    """

    step: int
    finished: bool
    weights: Path | None
    measured: dict[str, float]


class Training(ABC, Generic[AnySettings]):
    """A training, set up and ready to run; subclasses define what is trained, on what and how.

    Several processes that Accelerate has started share the work; the first of them writes and reports.

    Args:
        configuration: what to train, and how.
        folder: for checkpoints, TensorBoard's events and the weights.
        resume: go on from the last checkpoint in the folder, if there is one; or else begin anew, and remove what is
            there. None accepts only a folder without checkpoints. Nothing is ever removed that no training wrote.

    Raises:
        InputError: something cannot be read, had or written, another process writes to the folder, it holds checkpoints
            that do not go with the configuration, or what looks like a training's and is not on its record.
        MissingPackageError: accelerate, tensorboard or what else is needed is not installed.
    """

    name: ClassVar[str]
    """Name of what is trained, for the record of what a training has written."""

    results: ClassVar[tuple[str, ...]]
    """Results of a training in its folder: the names of files or folders."""

    output: OutputFolder
    """The folder with its record; the first process has it, alone, until `run` ends."""

    def __init__(self, configuration: AnySettings, folder: Path, resume: bool | None) -> None:
        self.configuration, self.folder = configuration, folder
        self.checkpoints = Checkpoints(folder / "checkpoints", configuration.checkpoints.keep)
        self.accelerator = make_accelerator(configuration)
        with ExitStack() as stack:
            if self.accelerator.is_main_process:
                read = _paths(configuration.model_dump(exclude={"output"}))
                self.output = stack.enter_context(output_folder(folder, f"train {self.name}", inputs=read))
                for name in self.results:
                    recover_folder(folder / name)
            start = starting_point(self.checkpoints, configuration, resume)
            if self.accelerator.is_main_process:
                self._own_contents(is_resumed=start is not None)
            self.step = 0
            self._set_up()
            if start is not None:
                self._resume_from(start)
            self._prepare_folder(start, stack)
            self._held = stack.pop_all()

    @abstractmethod
    def _set_up(self) -> None:
        """Create what the configuration describes, and refuse what cannot be."""

    @property
    @abstractmethod
    def _networks(self) -> dict[str, Named]:
        """Trained networks by name; each has a file of its own in a checkpoint."""

    @property
    @abstractmethod
    def _optimisers(self) -> dict[str, Any]:
        """Their optimisers by name."""

    @abstractmethod
    def _data(self) -> Iterator[Any]:
        """Read this process's training data, from the current step on."""

    @abstractmethod
    def _update_weights(self, data: Iterator[Any]) -> dict[str, Tensor]:
        """Update the weights once; return the losses, `loss` among them."""

    @abstractmethod
    def _measure(self) -> dict[str, float]:
        """Validate, in the first process; may draw pictures into the events."""

    @abstractmethod
    def _write_weights(self) -> Path:
        """Write the trained weights and return their path."""

    @abstractmethod
    def _metadata(self) -> dict[str, str]:
        """Return the metadata of the weights' files."""

    def _own_state(self) -> dict[str, Any] | None:
        """Return the state that this process alone has, and needs to resume."""
        return None

    def _load_own_state(self, state: dict[str, Any]) -> None:
        """Restore what `_own_state` returned."""
        raise NotImplementedError

    def run(self, progress: Callable[[Progress], None]) -> Outcome:
        """Take the steps that are left.

        Args:
            progress: called after every step, in the first process.

        Returns:
            How far it has come: on Ctrl-C, SIGTERM or SIGHUP it ends after the step at hand and leaves a checkpoint.

        Raises:
            InputError: something cannot be read or written, or the loss is no longer finite.
        """
        steps, measured = self.configuration.steps, dict[str, float]()
        with self._held, made_folder(self.checkpoints.folder), stop_requests() as stop:
            data = self._data()
            stopped = False
            while self.step < steps and not stopped:
                losses, stopped = self._take_step(data, stop)
                is_last = self.step == steps
                measured = self._validate(is_last)
                if self.accelerator.is_main_process:
                    self._record(losses | measured)
                    progress(Progress(self.step, steps, losses, measured))
                if stopped or is_last or self.step % self.configuration.checkpoints.every == 0:
                    self._save()
            return self._finish(measured)

    def _own_contents(self, *, is_resumed: bool) -> None:
        """Put on the record what will be written, before anything is computed.

        Raises:
            InputError: the folder holds such files that are on no record of a training; checkpoints and events of one
                that is resumed are its own, and all of one that kept no record.
        """
        found, own = self._contents(), self.output.own
        known = {name for name in found if any(fnmatchcase(name, pattern) for pattern in own)}
        if is_resumed:
            known |= {name for name in found if name not in self.results or not own}
        foreign = [name for name in found if name not in known]
        if foreign:
            raise InputError(
                str(self.folder),
                "holds {name}, which is on no record of such a training there",
                "another folder",
                name=printable(foreign[0]),
            )
        self.output.adopt(*found, *self.results)

    def _contents(self) -> list[str]:
        """List what the folder holds of what a training writes, as paths below it."""
        places = [self.folder / name for name in self.results]
        places += [*self.checkpoints.folder.glob("step-*"), *(self.folder / EVENTS).glob("events.out.*")]
        return sorted(place.relative_to(self.folder).as_posix() for place in places if place.exists())

    def _resume_from(self, start: Checkpoint) -> None:
        """Restore the state of a checkpoint."""
        self.step = start.step
        for name, network in self._networks.items():
            network.load_state_dict(start.weights[name])
        for name, optimiser in self._optimisers.items():
            optimiser.load_state_dict(start.state[name])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(start.state["scaler"])
        if self._own_state() is not None:
            self._load_own_state(self.checkpoints.read_own(start.step, self.accelerator.process_index))

    def _prepare_folder(self, start: Checkpoint | None, stack: ExitStack) -> None:
        """Prepare the folder for writing, now that nothing is left that can be refused."""
        self.accelerator.wait_for_everyone()  # each has looked for checkpoints before one removes them
        if not self.accelerator.is_main_process:
            return
        place = self.folder / EVENTS
        with made_folder(place):
            if start is None:  # old weights stay until there are new ones
                self.output.remove(*(name for name in self._contents() if name not in self.results))
            self.checkpoints.sweep()
            # TensorBoard chooses a name as it makes the file, so the record, which is written before, has a pattern
            suffix = f".{secrets.token_hex(4)}"
            self.output.adopt(f"{EVENTS}/*{suffix}", *self.results)
            # what an interrupted training has recorded after its checkpoint is recorded again
            self.events = stack.enter_context(open_events(place, suffix, purge_step=self.step + 1 if start else None))
        self.events.add_text("configuration", f"```\n{self.configuration.model_dump_json(indent=2)}\n```", self.step)

    def _take_step(self, data: Iterator[Any], stop: StopRequest) -> tuple[dict[str, float], bool]:
        """Update the weights once; return the losses, and whether any process has been asked to stop."""
        part = self._learning_rate()
        for optimiser in self._optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = part * group.setdefault("initial_lr", group["lr"])
        losses = self._update_weights(data)
        self.step += 1
        flag = torch.tensor(float(stop.made), device=self.accelerator.device)
        *means, stopped = self.accelerator.reduce(torch.stack([*losses.values(), flag]), "mean").tolist()
        found = dict(zip(losses, means, strict=True))
        if not math.isfinite(found["loss"]):
            raise InputError(
                "the loss",
                "is {loss} at step {step}",
                "a lower optimiser.learning_rate, or another precision",
                loss=found["loss"],
                step=self.step,
            )
        return found, stopped > 0

    def _learning_rate(self) -> float:
        """Compute the learning rate of the step at hand, as a fraction of the greatest."""
        return self.configuration.optimiser.schedule(self.step, self.configuration.steps)

    def _positions(self, batches_a_step: int) -> Positions:
        """Return the positions of the training data that this process reads, from the current step on."""
        first, last = (step * batches_a_step for step in (self.step, self.configuration.steps))
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        return Positions(first, last, self.configuration.batch, process, processes)

    def _optimiser_step(
        self,
        objective: nn.Module,
        optimisers: Sequence[Any],
        batches: Iterable[dict[str, Any]],
        clip: float | None = None,
    ) -> dict[str, Tensor]:
        """Take one step of optimisers on the batches that are accumulated for it.

        Args:
            objective: gives the losses of a batch, of which `loss` is minimised.
            optimisers: of its weights.
            batches: as many as the configuration accumulates.
            clip: the longest gradient.

        Returns:
            The means of the losses.
        """
        total: dict[str, Tensor] = {}
        for batch in batches:
            with self.accelerator.accumulate(objective):
                losses = objective(**batch)
                self.accelerator.backward(losses["loss"])
                if clip is not None and self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(objective.parameters(), clip)
                for optimiser in optimisers:
                    optimiser.step()
                    optimiser.zero_grad()
            for name, loss in losses.items():
                total[name] = total.get(name, 0) + loss.detach() / self.configuration.accumulation
        return total

    def _validate(self, is_last: bool) -> dict[str, float]:
        """Validate where a validation is due."""
        settings = getattr(self.configuration, "validation", None)
        if settings is None or not (is_last or self.step % settings.every == 0):
            return {}
        measured = self._measure() if self.accelerator.is_main_process else {}
        self.accelerator.wait_for_everyone()
        return measured

    def _record(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.events.add_scalar(name if "/" in name else f"training/{name}", value, self.step)

    def _save(self) -> None:
        """Write a checkpoint."""
        own = self._own_state()
        if own is not None:
            self.checkpoints.write_own(self.step, self.accelerator.process_index, own)
            self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.events.flush()
            scaler = self.accelerator.scaler
            state = {name: optimiser.state_dict() for name, optimiser in self._optimisers.items()}
            state["scaler"] = scaler.state_dict() if scaler else {}
            weights = {name: network.state_dict() for name, network in self._networks.items()}
            checkpoint = Checkpoint(self.step, weights, state, self.configuration.model_dump(mode="json"))
            self.output.adopt(self.checkpoints.place(self.step).relative_to(self.folder).as_posix())
            logger.info("checkpoint: %s", self.checkpoints.write(checkpoint, self._metadata()))
        self.accelerator.wait_for_everyone()

    def _finish(self, measured: dict[str, float]) -> Outcome:
        finished = self.step >= self.configuration.steps
        weights = None
        if self.accelerator.is_main_process:
            if finished:
                weights = self._write_weights()
                self.output.remove(*(name for name in self.results if self.folder / name != weights))
            self.events.close()
        self.accelerator.wait_for_everyone()  # none leaves while another has use for it
        self.accelerator.end_training()
        return Outcome(self.step, finished, weights, measured)


def _paths(values: Any) -> Iterator[Path]:
    """Find the files and folders that a configuration names, whose paths are absolute."""
    if isinstance(values, Mapping):
        values = values.values()
    if isinstance(values, (str, Path)):
        if Path(values).is_absolute():
            yield Path(values)
    elif isinstance(values, Iterable):
        for value in values:
            yield from _paths(value)


def make_accelerator(configuration: TrainingSettings) -> Any:
    """Create the Accelerator.

    Raises:
        InputError: the device does not have the precision.
        MissingPackageError: accelerate is not installed.
    """
    accelerate = optional_import("accelerate", extra="train")
    chosen: str = configuration.precision
    if chosen == "auto":
        # the state is made once, and Accelerator alone would have read this from the environment
        on_cpus = accelerate.utils.parse_flag_from_env("ACCELERATE_USE_CPU")
        chosen = "bf16" if _has_bf16(accelerate.PartialState(cpu=on_cpus).device) else "no"
    accelerator = accelerate.Accelerator(mixed_precision=chosen, gradient_accumulation_steps=configuration.accumulation)
    if chosen == "fp16" and accelerator.device.type == "cpu":  # where Accelerate takes float32 instead
        raise InputError("precision", "is 'fp16', which needs a GPU", "auto, no, bf16")
    return accelerator


def _has_bf16(device: torch.device) -> bool:
    """Tell whether a device has instructions for bfloat16, without which it takes several times as long as float32.

    Of CPUs, torch has quick routines for those with AVX-512.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def choose_folder(configuration: TrainingSettings, output: str | Path | None) -> Path:
    """Choose the folder that a training writes to: the caller's, or else the configuration's.

    Raises:
        InputError: neither says.
    """
    folder = output or configuration.output
    if folder is None:
        raise InputError("output", "is missing", "a folder")
    return Path(folder)
