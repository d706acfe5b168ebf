"""Train AnyUp to upsample the features of a backbone that is drawn anew for every batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omniup import __version__
from omniup.files import write_tensors
from omniup.training.anyup.augmentations import Augmentations
from omniup.training.anyup.backbones import Backbone, build
from omniup.training.anyup.configuration import Configuration, ModelSettings
from omniup.training.anyup.objective import Objective
from omniup.training.anyup.validation import Validation
from omniup.training.anyup.views import cut
from omniup.training.loop import Named, Outcome, Progress, Training, choose_folder
from omniup.training.photographs import Squares, batches, photographs
from omniup.training.randomness import draw, seeded
from omniup.upsamplers.anyup import AnyUp
from omniup.upsamplers.anyup.weights import load, read

WEIGHTS = "anyup.safetensors"


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
            there. None accepts only a folder without checkpoints. Nothing is ever removed that no training wrote.
        progress: called after every step, in the first process.

    Returns:
        How far it has come: on Ctrl-C, SIGTERM or SIGHUP it ends after the step at hand and leaves a checkpoint. The
        weights are a file for `AnyUp.from_pretrained`.

    Raises:
        InputError: something cannot be read, had or written, the folder holds checkpoints that do not go with the
            configuration, or the loss is no longer finite.
        MissingPackageError: accelerate, tensorboard or torchvision is not installed.
    """
    training = _Training(configuration, choose_folder(configuration, output), resume)
    return training.run(progress or (lambda _: None))


class _Training(Training[Configuration]):
    name = "anyup"
    results = (WEIGHTS,)

    def _set_up(self) -> None:
        configuration, device = self.configuration, self.accelerator.device
        sources = photographs(configuration.data.images)
        self.squares = Squares(sources, configuration.data.image_size, configuration.seed)
        self.augment = Augmentations(configuration.augmentations)
        backbones = {settings: build(settings, device) for settings in configuration.backbones}
        for backbone in backbones.values():  # what does not go together should show now, not when it is drawn
            for side in set(configuration.data.sides.values()):
                backbone(torch.zeros(1, 3, side, side, device=device))
        self.backbones = [backbone for settings, backbone in backbones.items() if not settings.held_out]
        self.validation: Validation | None = None
        if configuration.validation and self.accelerator.is_main_process:
            self.validation = Validation(configuration.validation, configuration.data, list(backbones.values()), device)

        self.network = self._make_network()
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

    def _make_network(self) -> AnyUp:
        """Make the network; the benchmark trains another in its place."""
        return _network(self.configuration.model, self.configuration.seed)

    @property
    def _networks(self) -> dict[str, Named]:
        return {"anyup": self.network}

    @property
    def _optimisers(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser}

    def _data(self) -> Iterator[Tensor]:
        configuration = self.configuration
        return batches(self.squares, self._positions(configuration.accumulation), configuration.data.workers)

    def _update_weights(self, data: Iterator[Tensor]) -> dict[str, Tensor]:
        count, process = self.configuration.accumulation, self.accelerator.process_index
        made = (self._batch(next(data), self.step * count + index, process) for index in range(count))
        return self._optimiser_step(self.objective, [self.optimiser], made)

    def _batch(self, images: Tensor, number: int, process: int = 0) -> dict[str, Any]:
        """Make the objective's arguments from photographs [B, 3, S, S], for the batch of this number in a process."""
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
            "features": backbone(views.reduced.to(device)),
            "targets": backbone(views.crops.flatten(0, 1).to(device)),
            "corners": views.corners,
            "size": views.size,
        }

    def _measure(self) -> dict[str, float]:
        assert self.validation is not None  # in the first process
        self.network.eval()
        measured = self.validation(self.network)
        for name, picture in self.validation.panels(self.network):
            self.events.add_picture(f"panels/{name}", picture, self.step)
        self.network.train()
        return measured

    def _write_weights(self) -> Path:
        path = self.folder / WEIGHTS
        write_tensors(path, self.network.state_dict(), self._metadata())
        return path

    def _metadata(self) -> dict[str, str]:
        return {
            **self.network.metadata(),
            "steps": str(self.step),
            "backbones": json.dumps([backbone.name for backbone in self.backbones]),
            "omniup": __version__,
        }


def _network(settings: ModelSettings, seed: int) -> AnyUp:
    """Make the network that the training starts from, in training mode."""
    with seeded(seed, "weights"):
        network = AnyUp(
            basis_layout=settings.layout,
            window_ratio=settings.window_ratio,
            feature_path=settings.feature_path,
            dynamic_basis=settings.dynamic_basis,
        )
    if settings.weights is not None:
        load(network, read(settings.weights)[0], settings.weights)
    return network.train()
