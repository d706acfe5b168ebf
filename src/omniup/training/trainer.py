"""The training loop, on Accelerate: one process or several, on CPUs or GPUs, in float32 or mixed precision.

A step is a function of the weights, the state of the optimiser and the number of the step: everything that is drawn for
it comes from the seed and that number. So a training that is taken up again from a checkpoint goes on exactly as it
would have gone on, and on a CPU the losses are equal to the last bit.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omniup import __version__
from omniup.errors import InputError, optional_import
from omniup.files import write_tensors
from omniup.files.refusals import Subject, printable
from omniup.training.augmentations import Augmentations
from omniup.training.backbones import Backbone, build
from omniup.training.checkpoints import WEIGHTS, Checkpoint, Checkpoints, starting_point
from omniup.training.configuration import Configuration, ModelSettings
from omniup.training.objective import Objective
from omniup.training.photographs import Positions, Squares, batches, photographs
from omniup.training.randomness import draw, seeded
from omniup.training.stopping import StopRequest, stop_requests
from omniup.training.validation import Validation
from omniup.training.views import cut
from omniup.upsamplers.anyup import AnyUp

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

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
    """What a training has led to.

    Attributes:
        step: how many steps have been taken.
        finished: whether these are all; otherwise it was told to stop, and there is a checkpoint.
        weights: the file of the trained weights, for `AnyUp.from_pretrained`; None where it is not finished.
        measured: what validation found at the end.
    """

    step: int
    finished: bool
    weights: Path | None
    measured: dict[str, float]


def train(
    configuration: Configuration,
    output: str | Path | None = None,
    *,
    resume: bool | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Train AnyUp.

    Several processes that Accelerate has started share the work; the first of them writes and reports.

    Args:
        configuration: what to train, and how.
        output: the folder for checkpoints, TensorBoard's events and the weights; the configuration's by default.
        resume: go on from the last checkpoint in the folder, if there is one; or else begin anew, and remove what is
            there. None accepts only a folder without checkpoints.
        progress: called after every step, in the first process.

    Returns:
        How far it has come: on Ctrl-C or SIGTERM it ends after the step at hand and leaves a checkpoint.

    Raises:
        InputError: something cannot be read, had or written, the folder holds checkpoints that do not go with the
            configuration, or the loss is no longer finite.
        MissingPackageError: accelerate, tensorboard or torchvision is not installed.
    """
    folder = output or configuration.output
    if folder is None:
        raise InputError("output is missing; accepted: a folder")
    return _Training(configuration, Path(folder), resume).run(progress or (lambda _: None))


class _Training:
    """A training, set up and ready to run."""

    def __init__(self, configuration: Configuration, folder: Path, resume: bool | None) -> None:
        self.configuration, self.folder = configuration, folder
        self.checkpoints = Checkpoints(folder / "checkpoints", configuration.checkpoints.keep)
        start = starting_point(self.checkpoints, configuration, resume)
        self.accelerator = _accelerator(configuration)
        device: torch.device = self.accelerator.device

        sources = photographs(configuration.data.images)
        self.squares = Squares(sources, configuration.data.image_size, configuration.seed)
        self.augment = Augmentations(configuration.augmentations)
        backbones = {settings: build(settings, device) for settings in configuration.backbones}
        for backbone in backbones.values():  # what does not go together should show now, not when it is drawn
            for side in {configuration.data.image_size, configuration.data.input_size, configuration.data.crop_size}:
                backbone(torch.zeros(1, 3, side, side, device=device))
        self.backbones = [backbone for settings, backbone in backbones.items() if not settings.held_out]
        self.validation: Validation | None = None
        if configuration.validation and self.accelerator.is_main_process:
            self.validation = Validation(configuration.validation, configuration.data, list(backbones.values()), device)

        self.network = _network(configuration.model, configuration.seed)
        if start is not None:
            self.network.load_state_dict(start.weights)
        settings = configuration.optimiser
        optimiser = torch.optim.AdamW(
            [weight for weight in self.network.parameters() if weight.requires_grad],
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
        self.objective, self.optimiser = self.accelerator.prepare(
            Objective(self.network, configuration.losses), optimiser
        )
        self.step = 0
        if start is not None:
            self.step = start.step
            self.optimiser.load_state_dict(start.optimiser["optimiser"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(start.optimiser["scaler"])
        self._prepare_folder(start)

    def run(self, progress: Callable[[Progress], None]) -> Outcome:
        """Take the steps that are left."""
        configuration, measured = self.configuration, {}
        first, last = (step * configuration.accumulation for step in (self.step, configuration.steps))
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        with stop_requests() as stop:
            positions = Positions(first, last, configuration.batch, process, processes)
            images = batches(self.squares, positions, configuration.data.workers)
            stopped = False
            while self.step < configuration.steps and not stopped:
                losses, stopped = self._take_step(images, stop)
                is_last = self.step == configuration.steps
                measured = self._measure(is_last)
                if self.accelerator.is_main_process:
                    self._record(losses | measured)
                    progress(Progress(self.step, configuration.steps, losses, measured))
                if stopped or is_last or self.step % configuration.checkpoints.every == 0:
                    self._save()
        return self._finish(measured)

    def _prepare_folder(self, start: Checkpoint | None) -> None:
        """Make room for what will be written, now that nothing is left that can be refused."""
        self.accelerator.wait_for_everyone()  # each has looked for checkpoints before one removes them
        if not self.accelerator.is_main_process:
            return
        tensorboard = optional_import("torch.utils.tensorboard", extra="train")
        events = self.folder / "tensorboard"
        with Subject(printable(self.folder), "a folder that can be made or written to").attempt("written"):
            events.mkdir(parents=True, exist_ok=True)
            if start is None:
                self.checkpoints.clear()
                for path in (*events.glob("events.out.*"), self.folder / WEIGHTS):
                    path.unlink(missing_ok=True)
            self.checkpoints.sweep()
            # what an interrupted training has recorded after its checkpoint is recorded again
            self.events = tensorboard.SummaryWriter(str(events), purge_step=self.step + 1 if start else None)
        self.events.add_text("configuration", f"```\n{self.configuration.model_dump_json(indent=2)}\n```", self.step)

    def _take_step(self, images: Iterator[Tensor], stop: StopRequest) -> tuple[dict[str, float], bool]:
        """Change the weights once: the losses, and whether any process has been asked to stop."""
        accumulation, process = self.configuration.accumulation, self.accelerator.process_index
        total: dict[str, Tensor] = {}
        rate = self.configuration.optimiser.rate(self.step, self.configuration.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        for index in range(accumulation):
            with self.accelerator.accumulate(self.objective):
                losses = self.objective(**self._batch(next(images), self.step * accumulation + index, process))
                self.accelerator.backward(losses["loss"])
                self.optimiser.step()
                self.optimiser.zero_grad()
            for name, loss in losses.items():
                total[name] = total.get(name, 0) + loss.detach() / accumulation
        self.step += 1
        flag = torch.tensor(float(stop.made), device=self.accelerator.device)
        *means, stopped = self.accelerator.reduce(torch.stack([*total.values(), flag]), "mean").tolist()
        found = dict(zip(total, means, strict=True))
        if not math.isfinite(found["loss"]):
            raise InputError(
                f"the loss is {found['loss']} at step {self.step}; accepted: a lower optimiser.learning_rate, or "
                "another precision"
            )
        return found, stopped > 0

    def _batch(self, images: Tensor, number: int, process: int = 0) -> dict[str, Any]:
        """Make what the objective wants of photographs [B, 3, S, S], for the batch of this number in a process."""
        configuration, device = self.configuration, self.accelerator.device
        random = draw(configuration.seed, "backbone", number)
        backbone: Backbone = self.backbones[random.integers(len(self.backbones))]  # the same in all processes
        crops = draw(configuration.seed, "crops", number, process)
        views = cut(images, backbone.patch, configuration.data, crops)
        changed = None
        if configuration.losses.self_consistency:
            with seeded(configuration.seed, "augmentations", number, process):
                changed = self.augment(views.guidance).to(device)
        guidance = views.guidance.to(device)
        return {
            "guidance": guidance,
            "changed": changed,
            "features": backbone(guidance),
            "targets": backbone(views.crops.flatten(0, 1).to(device)),
            "corners": views.corners,
            "size": views.size,
        }

    def _measure(self, is_last: bool) -> dict[str, float]:
        """Validate, where it is time to."""
        settings = self.configuration.validation
        if settings is None or not (is_last or self.step % settings.every == 0):
            return {}
        measured: dict[str, float] = {}
        if self.validation is not None:
            self.network.eval()
            measured = self.validation(self.network)
            for name, picture in self.validation.panels(self.network):
                self.events.add_image(f"panels/{name}", np.asarray(picture), self.step, dataformats="HWC")
            self.network.train()
        self.accelerator.wait_for_everyone()
        return measured

    def _record(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.events.add_scalar(name if "/" in name else f"training/{name}", value, self.step)

    def _save(self) -> None:
        """Write a checkpoint."""
        if self.accelerator.is_main_process:
            self.events.flush()
            scaler = self.accelerator.scaler
            state = {"optimiser": self.optimiser.state_dict(), "scaler": scaler.state_dict() if scaler else {}}
            configuration = self.configuration.model_dump(mode="json")
            checkpoint = Checkpoint(self.step, self.network.state_dict(), state, configuration)
            logger.info("checkpoint: %s", self.checkpoints.write(checkpoint, self._metadata()))
        self.accelerator.wait_for_everyone()

    def _finish(self, measured: dict[str, float]) -> Outcome:
        finished = self.step >= self.configuration.steps
        weights = self.folder / WEIGHTS if finished else None
        if self.accelerator.is_main_process:
            if weights is not None:
                write_tensors(weights, self.network.state_dict(), self._metadata())
            self.events.close()
        self.accelerator.end_training()
        return Outcome(self.step, finished, weights, measured)

    def _metadata(self) -> dict[str, str]:
        """What the file of weights says about them."""
        return {
            "layout": self.configuration.model.layout,
            "steps": str(self.step),
            "backbones": json.dumps([backbone.name for backbone in self.backbones]),
            "omniup": __version__,
        }


def _accelerator(configuration: Configuration) -> Any:
    accelerate = optional_import("accelerate", extra="train")
    accelerator = accelerate.Accelerator(
        mixed_precision=configuration.precision, gradient_accumulation_steps=configuration.accumulation
    )
    if configuration.precision == "fp16" and accelerator.device.type == "cpu":  # where Accelerate takes float32 instead
        raise InputError("precision is 'fp16', which needs a GPU; accepted: no, bf16")
    return accelerator


def _network(settings: ModelSettings, seed: int) -> AnyUp:
    """The network that the training starts from, in training mode."""
    with seeded(seed, "weights"):
        network = AnyUp(layout=settings.layout)
    if settings.weights is not None:
        network.load_state_dict(AnyUp.from_pretrained(settings.weights, layout=settings.layout).state_dict())
    return network.train()
