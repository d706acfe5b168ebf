"""Train AnyUp to upsample the features of a backbone that is drawn anew for every batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omniup import __version__
from omniup.errors import optional_import
from omniup.files import write_tensors
from omniup.training.anyup.augmentations import Augmentations
from omniup.training.anyup.backbones import build_all, draw_backbone, trained_on
from omniup.training.anyup.configuration import Configuration, MetaSettings, ModelSettings, Reference
from omniup.training.anyup.meta import MetaObjective
from omniup.training.anyup.objective import Objective
from omniup.training.anyup.pretraining import PretrainingObjective, WithPretraining, pretraining_batch
from omniup.training.anyup.references import DrawnSquares, Draws, moved
from omniup.training.anyup.segments import SegmentedSquares, indicators, segmented
from omniup.training.anyup.validation import Validation
from omniup.training.anyup.views import cut, whole
from omniup.training.loop import Named, Outcome, Progress, Training, choose_folder
from omniup.training.photographs import Squares, batches, photographs
from omniup.training.randomness import draw, seeded
from omniup.upsamplers.anyup import AnyUp
from omniup.upsamplers.anyup.adaptation import Adaptation
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
        self.references = Draws(configuration.references.weights, configuration.seed)
        self.squares = self._squares()
        self.augment = Augmentations(configuration.augmentations)
        backbones = build_all(configuration.backbones, configuration.data, device)
        self.backbones = trained_on(configuration.backbones, backbones)
        self.validation: Validation | None = None
        if configuration.validation and self.accelerator.is_main_process:
            self.validation = Validation(configuration.validation, configuration.data, backbones, device)

        self.network = self._make_network()
        settings, meta = configuration.optimiser, configuration.meta
        self.network.adaptation = (self.network.adaptation or Adaptation.of(self.network)) if meta else None
        optimiser = torch.optim.AdamW(
            _parameter_groups(self.network, meta),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
        plain = Objective(self.network, configuration.losses)
        objective: nn.Module = MetaObjective(plain, meta) if meta else plain
        if configuration.pretraining:
            if meta:  # whose step sizes these steps do not use, as processes that wait for all gradients must know
                accelerate = optional_import("accelerate", extra="train")
                handler = accelerate.DistributedDataParallelKwargs(find_unused_parameters=True)
                self.accelerator.ddp_handler = handler
            objective = WithPretraining(PretrainingObjective(self.network, configuration.pretraining), objective)
        self.objective, self.optimiser = self.accelerator.prepare(objective, optimiser)

    def _make_network(self) -> AnyUp:
        """Make the network; the benchmark trains another in its place."""
        return _network(self.configuration.model, self.configuration.seed)

    @property
    def _networks(self) -> dict[str, Named]:
        return {"anyup": self.network}

    @property
    def _optimisers(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser}

    def _learning_rate(self) -> float:
        """Compute it as of pretraining, or of what comes after: either has a warmup and a decay of its own."""
        pretraining, steps = self.configuration.pretraining, self.configuration.steps
        change = 0 if pretraining is None else pretraining.steps
        first, last = (0, change) if self.step < change else (change, steps)
        return self.configuration.optimiser.schedule(self.step - first, last - first)

    def _data(self) -> Iterator[Tensor]:
        configuration = self.configuration
        return batches(self.squares, self._positions(configuration.accumulation), configuration.data.workers)

    def _squares(self) -> DrawnSquares:
        """Return the training data: squares of photographs, for some references with segments."""
        settings, references, seed = self.configuration.data, self.configuration.references, self.configuration.seed
        plain = Squares(photographs(settings.images), settings.image_size, seed)
        squares: dict[Reference, Squares] = {"enlarged": plain, "moved": plain}
        if references.segments:
            squares["segments"] = SegmentedSquares(segmented(references.images), settings.image_size, seed)
        return DrawnSquares(squares, self.references, self.configuration.batch * self.accelerator.num_processes)

    def _update_weights(self, data: Iterator[Tensor]) -> dict[str, Tensor]:
        count, process = self.configuration.accumulation, self.accelerator.process_index
        made = (self._batch(next(data), self.step * count + index, process) for index in range(count))
        return self._optimiser_step(self.objective, [self.optimiser], made)

    def _batch(self, images: Tensor, number: int, process: int = 0) -> dict[str, Any]:
        """Make the objective's arguments from squares, for the batch of this number in a process."""
        configuration, device = self.configuration, self.accelerator.device
        if (settings := configuration.pretraining) is None:
            return self._supervised_batch(images, number, process)
        if number >= settings.steps * configuration.accumulation:
            return {"pretraining": False, **self._supervised_batch(images, number, process)}
        batch = pretraining_batch(
            images[:, :3],
            self.backbones,
            settings,
            configuration.data.input_size,
            device,
            seed=configuration.seed,
            number=number,
            process=process,
        )
        return {"pretraining": True, **batch}

    def _supervised_batch(self, images: Tensor, number: int, process: int) -> dict[str, Any]:
        configuration, device = self.configuration, self.accelerator.device
        backbone = draw_backbone(self.backbones, configuration.seed, number)
        reference = self.references(number)
        if reference == "enlarged":
            crops = draw(configuration.seed, "crops", number, process)
            views = cut(images, backbone.patch, configuration.data, crops)
        else:
            views = whole(images[:, :3], backbone.patch, configuration.data)
        guidance, features = views.guidance.to(device), backbone(views.reduced.to(device))
        if reference == "segments":
            return {"guidance": guidance, "features": features, "segments": indicators(images[:, 3]).to(device)}
        encode = backbone if reference == "enlarged" else partial(moved, backbone, patch=backbone.patch)
        changed = None
        if configuration.losses.self_consistency:
            with seeded(configuration.seed, "augmentations", number, process):
                changed = self.augment(views.guidance).to(device)
        return {
            "guidance": guidance,
            "features": features,
            "changed": changed,
            "targets": encode(views.crops.flatten(0, 1).to(device)),
            "corners": views.corners,
            "size": views.size,
        }

    def _measure(self) -> dict[str, float]:
        assert self.validation is not None  # in the first process
        self.network.eval()
        meta = self.configuration.meta
        steps, consistency = meta.inner_steps if meta else 0, self.configuration.losses.consistency
        upsample = partial(_upsample_adapted, self.network, steps, consistency) if meta else self.network
        measured = self.validation(upsample)
        for name, picture in self.validation.panels(upsample):
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
            pyramid=settings.pyramid,
            implicit=settings.implicit,
        )
    if settings.weights is not None:
        load(network, read(settings.weights)[0], settings.weights)
    return network.train()


def _parameter_groups(network: AnyUp, meta: MetaSettings | None) -> list[dict[str, Any]]:
    """Return the trained parameters for the optimiser; step sizes have a learning rate of their own."""
    sizes = list(network.adaptation.step_sizes.parameters()) if network.adaptation else []
    own = {id(size) for size in sizes}
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in network.parameters() if weight.requires_grad and id(weight) not in own]}
    ]
    # their gradients are 1e-8 and less, which AdamW's own epsilon would damp
    return groups + ([{"params": sizes, "lr": meta.learning_rate, "eps": 1e-15}] if meta else [])


def _upsample_adapted(
    network: AnyUp, steps: int, consistency: float, guidance: Tensor, features: Tensor, size: tuple[int, int]
) -> Tensor:
    """Upsample with a network that has adapted to the image."""
    return network.adapt(guidance, features, steps, consistency=consistency)(guidance, features, size)
