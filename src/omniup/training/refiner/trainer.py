"""Train the refiner: its denoiser learns the residuals of AnyUp's results, at every level of noise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omniup import __version__
from omniup.files import write_tensors
from omniup.training.anyup.backbones import build_all, draw_backbone, trained_on
from omniup.training.anyup.views import Views, cut, regions
from omniup.training.loop import Named, Outcome, Progress, Training, choose_folder
from omniup.training.photographs import Squares, batches, photographs
from omniup.training.randomness import draw, seeded
from omniup.training.refiner.configuration import Configuration
from omniup.training.refiner.validation import Validation
from omniup.upsamplers.anyup import AnyUp
from omniup.upsamplers.anyup.refinement import Refiner
from omniup.upsamplers.anyup.refinement.denoiser import TIMESTEPS, Denoiser
from omniup.upsamplers.anyup.refinement.sampling import make_scheduler
from omniup.upsamplers.anyup.upsampler import Precision

WEIGHTS = "refiner.safetensors"
"""The result of a training, for `Refiner.from_pretrained`."""


def train(
    configuration: Configuration,
    output: str | Path | None = None,
    *,
    resume: bool | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Train a refiner.

    Args:
        configuration: what to train, and how.
        output: the folder for checkpoints, TensorBoard's events and the weights; the configuration's by default.
        resume: go on from the last checkpoint in the folder, if there is one; or else begin anew, and remove what is
            there. None accepts only a folder without checkpoints.
        progress: called after every step, in the first process.

    Returns:
        How far it has come; see `omniup.training.anyup.train`. The weights are a file for `Refiner.from_pretrained`.

    Raises:
        InputError: something cannot be read, had or written, the folder holds checkpoints that do not go with the
            configuration, or the loss is no longer finite.
        MissingPackageError: accelerate, tensorboard, diffusers or what a backbone needs is not installed.
    """
    training = _Training(configuration, choose_folder(configuration, output), resume)
    return training.run(progress or (lambda _: None))


class _Objective(nn.Module):
    """The loss of a batch, one module so that one call is one forward pass."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(
        self, noisy: Tensor, conditions: Tensor, timestep: Tensor, deviation: Tensor, residual: Tensor
    ) -> dict[str, Tensor]:
        """Compute the mean squared error of the estimated residuals [N, 1, H, W]; see `Denoiser` for the others."""
        error = self.denoiser(noisy, conditions, timestep, deviation).float() - residual
        return {"loss": error.square().sum() / max(1, error.numel())}  # where features are constant there are none


class _Training(Training[Configuration]):
    name = "refiner"
    results = (WEIGHTS,)

    def _set_up(self) -> None:
        configuration, device = self.configuration, self.accelerator.device
        self.alphas = make_scheduler(steps=1).alphas_cumprod  # [T]
        self.squares = Squares(
            photographs(configuration.data.images), configuration.data.image_size, configuration.seed
        )
        backbones = build_all(configuration.backbones, configuration.data, device)
        self.backbones = trained_on(configuration.backbones, backbones)
        # Nothing of it is learned here, and its rounding is small beside what its results lack.
        precision: Precision = "bfloat16" if self.accelerator.mixed_precision == "bf16" else "float32"
        self.anyup = AnyUp.from_pretrained(configuration.anyup, precision=precision)
        with seeded(configuration.seed, "weights"):
            scale = configuration.data.image_size / configuration.data.input_size
            self.refiner = Refiner(scale=scale, **configuration.refiner.model_dump())
        self.validation: Validation | None = None
        if configuration.validation and self.accelerator.is_main_process:
            self.validation = Validation(configuration.validation, configuration.data, backbones, self.anyup, device)
        settings = configuration.optimiser
        optimiser = torch.optim.AdamW(
            self.refiner.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
        self.objective, self.optimiser = self.accelerator.prepare(_Objective(self.refiner.denoiser), optimiser)

    @property
    def _networks(self) -> dict[str, Named]:
        return {"refiner": self.refiner}

    @property
    def _optimisers(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser}

    def _data(self) -> Iterator[Tensor]:
        configuration = self.configuration
        return batches(self.squares, self._positions(configuration.accumulation), configuration.data.workers)

    def _update_weights(self, data: Iterator[Tensor]) -> dict[str, Tensor]:
        count, process = self.configuration.accumulation, self.accelerator.process_index
        made = (self._batch(next(data), self.step * count + index, process) for index in range(count))
        return self._optimiser_step(self.objective, [self.optimiser], made, self.configuration.optimiser.clip)

    def _batch(self, images: Tensor, number: int, process: int = 0) -> dict[str, Tensor]:
        """Make the objective's arguments from photographs [B, 3, S, S], for the batch of this number in a process."""
        configuration, device = self.configuration, self.accelerator.device
        backbone = draw_backbone(self.backbones, configuration.seed, number)
        views = cut(images, backbone.patch, configuration.data, draw(configuration.seed, "crops", number, process))
        features = backbone(views.reduced.to(device))
        targets = backbone(views.crops.flatten(0, 1).to(device))
        made = self._residuals(views, features, targets)
        with seeded(configuration.seed, "noise", number, process):  # on the CPU: the same on every device
            noise, timestep = torch.randn(made["residual"].shape), torch.randint(TIMESTEPS, (len(made["residual"]),))
        alpha = self.alphas[timestep].to(device)[:, None, None, None]
        noisy = alpha.sqrt() * made["residual"] + (1 - alpha).sqrt() * noise.to(device)
        return made | {"noisy": noisy, "timestep": timestep.to(device)}

    @torch.no_grad()
    def _residuals(self, views: Views, features: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Compute the residuals of all components in all crops, [N, 1, c, c], and what they are estimated from."""
        guidance = views.guidance.to(features.device)
        initial = self.anyup(guidance, features, views.size)  # [B, C, H, W]
        parts: dict[str, list[Tensor]] = {"residual": [], "conditions": [], "deviation": []}
        for n, truths in enumerate(targets.split(views.corners.shape[1])):
            corners = views.corners[n : n + 1]
            components, conditions = self.refiner.conditions(guidance[n : n + 1], features[n], initial[n])
            results = regions(initial[n : n + 1], corners, views.cells)
            seen = regions(conditions.flatten(0, 1)[None], corners, views.cells)
            for truth, result, about in zip(truths, results, seen, strict=True):
                parts["residual"].append((components.coordinates(truth) - components.coordinates(result))[:, None])
                parts["conditions"].append(about.unflatten(0, conditions.shape[:2]))
                parts["deviation"].append(components.deviations / components.deviations[:1])
        return {name: torch.cat(values) for name, values in parts.items()}

    def _measure(self) -> dict[str, float]:
        assert self.validation is not None  # in the first process
        return self.validation(self.refiner)

    def _write_weights(self) -> Path:
        path = self.folder / WEIGHTS
        write_tensors(path, self.refiner.state_dict(), self._metadata())
        return path

    def _metadata(self) -> dict[str, str]:
        return {
            **self.refiner.metadata(),
            "anyup": Path(self.configuration.anyup).name,
            "steps": str(self.step),
            "backbones": json.dumps([backbone.name for backbone in self.backbones]),
            "omniup": __version__,
        }
