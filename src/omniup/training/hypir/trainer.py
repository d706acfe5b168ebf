"""Train HYPIR: a generator that restores in one step, against a discriminator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from omniup import __version__
from omniup.restoration.degradation import PairPool, degrade
from omniup.training.hypir.configuration import Configuration
from omniup.training.hypir.discriminator import Discriminator
from omniup.training.hypir.generator import LORA, MODEL, Generator, TrainedWeights
from omniup.training.hypir.objective import DiscriminatorObjective, GeneratorObjective
from omniup.training.hypir.perceptual import is_cached, perceptual_distance
from omniup.training.hypir.validation import Validation
from omniup.training.loop import Named, Outcome, Progress, Training, choose_folder
from omniup.training.moving_average import MovingAverage
from omniup.training.randomness import draw
from omniup.training.restoration import Squares, find_photographs, gather


def train(
    configuration: Configuration,
    output: str | Path | None = None,
    *,
    resume: bool | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Train a restorer.

    Several processes that Accelerate has started share the work; the first of them writes and reports.

    Args:
        configuration: what to train, and how.
        output: the folder for checkpoints, TensorBoard's events and the weights; the configuration's by default. Where
            there are several processes, one that all of them see.
        resume: go on from the last checkpoint in the folder, if there is one; or else begin anew, and remove what is
            there. None accepts only a folder without checkpoints. Nothing is ever removed that no training wrote.
        progress: called after every step, in the first process.

    Returns:
        How far it has come: on Ctrl-C, SIGTERM or SIGHUP it ends after the step at hand and leaves a checkpoint. The
        weights are the moving average, for `Enhancer.from_pretrained`: a LoRA file, to be named as `weights` beside the
        model that was begun with, or, where more has been trained than its adapter, the folder of a model.

    Raises:
        InputError: something cannot be read, had or written, the folder holds checkpoints that do not go with the
            configuration, or the loss is no longer finite.
        MissingPackageError: a package of the extras `restore` or `train` is not installed.
    """
    training = _Training(configuration, choose_folder(configuration, output), resume)
    return training.run(progress or (lambda _: None))


class _Training(Training[Configuration]):
    name = "hypir"
    results = (LORA, MODEL)

    def _set_up(self) -> None:
        configuration, device = self.configuration, self.accelerator.device
        data, losses, seed = configuration.data, configuration.losses, configuration.seed
        self.squares = Squares(find_photographs(data), data, seed)
        own = torch.Generator().manual_seed(_seed(seed, "pool", self.accelerator.process_index))
        self.pool = PairPool(configuration.degradation.pool_size, own)

        self.generator = Generator(configuration.generator, data.image_size, seed)
        self.generator.check_side(data.image_size)
        perceptual = perceptual_distance(losses.lpips, seed) if losses.perceptual else None
        self.discriminator: Discriminator | None = None
        if losses.adversarial:
            self.discriminator = Discriminator(configuration.discriminator, seed)
        self.validation: Validation | None = None
        if configuration.validation is not None and self.accelerator.is_main_process:
            lpips = perceptual if losses.lpips != "random" else None
            if lpips is None and is_cached():
                lpips = perceptual_distance("published")
            lpips = lpips.to(device) if lpips is not None else None
            self.validation = Validation(configuration.validation, data, configuration.degradation, lpips, device)

        settings = configuration.optimiser
        target = configuration.discriminator.target
        self.objective, self.optimiser = self.accelerator.prepare(
            GeneratorObjective(self.generator, perceptual, losses, target),
            self._adamw(self.generator.trained_weights.values(), settings.learning_rate),
        )
        if self.discriminator is not None:
            self.discriminator_objective, self.discriminator_optimiser = self.accelerator.prepare(
                DiscriminatorObjective(self.discriminator, target),
                self._adamw(self.discriminator.trained_weights(), settings.discriminator_rate),
            )
        self.average = MovingAverage(self.generator.trained_weights, configuration.generator.ema)

    def _adamw(self, weights: Any, learning_rate: float) -> torch.optim.AdamW:
        settings = self.configuration.optimiser
        return torch.optim.AdamW(
            list(weights), lr=learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
        )

    @property
    def _networks(self) -> dict[str, Named]:
        found: dict[str, Named] = {"generator": TrainedWeights(self.generator), "average": self.average}
        return found if self.discriminator is None else found | {"discriminator": self.discriminator.heads}

    @property
    def _optimisers(self) -> dict[str, Any]:
        found = {"optimiser": self.optimiser}
        return found if self.discriminator is None else found | {"discriminator": self.discriminator_optimiser}

    def _own_state(self) -> dict[str, Any]:
        return self.pool.state_dict()

    def _load_own_state(self, state: dict[str, Any]) -> None:
        self.pool.load_state_dict(state, self.accelerator.device)

    @property
    def _batches_per_step(self) -> int:
        """Batches that one step takes: the discriminator has photographs of its own."""
        return self.configuration.accumulation * (1 if self.discriminator is None else 2)

    def _data(self) -> Iterator[Any]:
        positions, workers = self._positions(self._batches_per_step), self.configuration.data.workers
        return iter(DataLoader(self.squares, batch_sampler=positions, num_workers=workers, collate_fn=gather))

    def _update_weights(self, data: Iterator[Any]) -> dict[str, Tensor]:
        clip, first = self.configuration.optimiser.clip, self.step * self._batches_per_step
        measure = (self.step + 1) % self.configuration.gradients_every == 0
        critic = self.discriminator
        if critic is not None:
            critic.eval()  # so that the weights' norms stay
            critic.requires_grad_(False)
        wanted = ({**batch, "critic": critic, "measure": measure} for batch in self._batches(data, first))
        losses = self._optimiser_step(self.objective, [self.optimiser], wanted, clip)
        self.average.update(self.step + 1)
        if critic is not None:
            critic.train()
            critic.heads.requires_grad_(True)
            batches = self._batches(data, first + self.configuration.accumulation)
            pairs = ({"real": batch["target"], "restored": self._restored(**batch)} for batch in batches)
            found = self._optimiser_step(self.discriminator_objective, [self.discriminator_optimiser], pairs, clip)
            losses |= {"discriminator": found["loss"]}
            losses |= {f"discriminator/{name}": found[name] for name in ("real", "restored")}
        return losses

    def _batches(self, data: Iterator[Any], first: int) -> Iterator[dict[str, Tensor]]:
        """Make the batches that are accumulated for one update of weights, numbered from the first on."""
        for number in range(first, first + self.configuration.accumulation):
            images, prompts = next(data)
            yield self._batch(images, prompts, number)

    def _batch(self, images: Tensor, prompts: list[str], number: int) -> dict[str, Tensor]:
        """Degrade photographs [B, 3, S, S], and take pairs from the pool, for the batch of this number."""
        seed, process = self.configuration.seed, self.accelerator.process_index
        device = self.accelerator.device
        draws = torch.Generator().manual_seed(_seed(seed, "degradation", number, process))
        pair = degrade(images.to(device), self.configuration.degradation, draws)
        lq, target, prompts = self.pool.exchange(pair.lq, pair.target, prompts)
        noise = torch.Generator().manual_seed(_seed(seed, "posterior", number, process))
        return {
            "lq": lq * 2 - 1,
            "target": target * 2 - 1,
            "noise": self.generator.noise(len(lq), lq.shape[2], noise).to(device),
            "text": self.generator.text(prompts),
        }

    @torch.no_grad()
    def _restored(self, lq: Tensor, noise: Tensor, text: Tensor, **_: Tensor) -> Tensor:
        """Restore pictures with the generator, without gradients: [B, 3, S, S] in -1..1."""
        with self.accelerator.autocast():
            return self.generator(lq, noise, text).float()

    def _measure(self) -> dict[str, float]:
        assert self.validation is not None  # in the first process
        made = {}
        for name, weights in (("generator", nullcontext()), ("average", self.average.in_place())):
            with weights:
                made[name] = self.validation.restore(self._restore)
        for index, picture in enumerate(self.validation.panels(made)):
            self.events.add_picture(f"panels/{index}", picture, self.step)
        return self.validation.measure(made)

    def _restore(self, lq: Tensor, prompts: list[str], generator: torch.Generator) -> Tensor:
        noise = self.generator.noise(len(lq), lq.shape[2], generator).to(lq.device)
        return self._restored(lq, noise, self.generator.text(prompts))

    def _write_weights(self) -> Path:
        with self.average.in_place():
            return self.generator.write(self.folder, self._metadata())

    def _metadata(self) -> dict[str, str]:
        return {"model": self.configuration.generator.model, "steps": str(self.step), "omniup": __version__}


def _seed(seed: int, purpose: str, *counters: int) -> int:
    return int(draw(seed, purpose, *counters).integers(2**63))
