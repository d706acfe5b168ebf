"""Train the small restorer on photographs that are degraded on the fly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from omniup import __version__
from omniup.errors import InputError
from omniup.files import write_tensors
from omniup.restoration.residual_network import ResidualNetwork
from omniup.restoration.restorer import Restorer
from omniup.restoration.sizes import resize
from omniup.training.loop import Named, Outcome, Progress, Training, choose_folder
from omniup.training.moving_average import MovingAverage
from omniup.training.muon import Muon
from omniup.training.randomness import seeded
from omniup.training.restorer.configuration import Configuration, LossSettings, NetworkSettings
from omniup.training.restorer.pairs import Pairs
from omniup.training.restorer.validation import Validation

WEIGHTS = "restorer.safetensors"
"""The result of a training, for `Restorer.from_pretrained`."""


def train(
    configuration: Configuration,
    output: str | Path | None = None,
    *,
    resume: bool | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Train a small restorer.

    Args:
        configuration: what to train, and how.
        output: the folder for checkpoints, TensorBoard's events and the weights; the configuration's by default.
        resume: go on from the last checkpoint in the folder, if there is one; or else begin anew, and remove what is
            there. None accepts only a folder without checkpoints.
        progress: called after every step, in the first process.

    Returns:
        How far it has come; see `omniup.training.hypir.train`. The weights are the moving average, in float16.

    Raises:
        InputError: something cannot be read or written, the folder holds checkpoints that do not go with the
            configuration, or the loss is no longer finite.
        MissingPackageError: a package of the extra `train` is not installed.
    """
    training = _Training(configuration, choose_folder(configuration, output), resume)
    return training.run(progress or (lambda _: None))


class _Objective(nn.Module):
    """The losses of a batch, one module so that one call is one forward pass."""

    def __init__(self, network: ResidualNetwork, settings: LossSettings) -> None:
        super().__init__()
        self.network, self.settings = network, settings

    def forward(self, lq: Tensor, target: Tensor, known: Tensor, given: Tensor) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            lq: [B, 3, s, s] in 0..1.
            target: [B, 3, S, S], likewise; S is a multiple of s.
            known: [B, 3], levels; NaN where they are not known.
            given: [B, 3], true where the network takes the known level in place of the estimated one.

        Returns:
            `loss`, `psnr` in dB, and `levels`, the error of estimated levels.
        """
        estimated = self.network.estimator(lq).float()  # [B, 3]
        is_known = ~known.isnan()
        levels = torch.where(is_known & given, known, estimated.detach())
        enlarged = resize(lq, (target.shape[2], target.shape[3])).clamp(0, 1)  # [B, 3, S, S]
        restored = enlarged + self.network(enlarged, levels, target.shape[3] / lq.shape[3]).float()
        errors = (restored - target).square().mean((1, 2, 3))  # [B]
        aims = torch.where(is_known, known, estimated.detach())
        off = F.smooth_l1_loss(estimated, aims, reduction="none", beta=0.1)  # [B, 3]
        off = torch.where(estimated > aims, self.settings.overestimated * off, off)
        off = off.sum() / is_known.sum().clamp_min(1)
        loss = (errors + self.settings.floor).log().mean() + self.settings.levels * off
        return {"loss": loss, "psnr": -10 * errors.detach().add(1e-10).log10().mean(), "levels": off.detach()}


class _Training(Training[Configuration]):
    name = "restorer"
    results = (WEIGHTS,)

    def _set_up(self) -> None:
        configuration = self.configuration
        settings = configuration.network
        self.pairs = Pairs(configuration, self.accelerator.process_index, self.accelerator.num_processes)
        network = _make_network(settings, configuration.seed)
        network.to(memory_format=torch.channels_last)
        optimiser = configuration.optimiser
        self.network = network
        convolutions = [weight for stage in network.stages for weight in stage.parameters() if weight.ndim == 4]
        chosen = {id(weight) for weight in convolutions}
        others = [weight for weight in network.parameters() if id(weight) not in chosen]
        rates: dict[str, Any] = {"betas": optimiser.betas, "weight_decay": optimiser.weight_decay}
        self.objective, self.muon, self.adamw = self.accelerator.prepare(
            _Objective(network, configuration.losses),
            Muon(convolutions, optimiser.muon_rate, weight_decay=optimiser.weight_decay),
            torch.optim.AdamW(others, lr=optimiser.learning_rate, **rates),
        )
        self.average = MovingAverage(dict(network.named_parameters()), settings.ema)
        self.validation: Validation | None = None
        if configuration.validation is not None and self.accelerator.is_main_process:
            self.validation = Validation(configuration.validation, configuration.degradations, self.accelerator.device)

    @property
    def _networks(self) -> dict[str, Named]:
        return {"network": self.network, "average": self.average}

    @property
    def _optimisers(self) -> dict[str, Any]:
        return {"muon": self.muon, "adamw": self.adamw}

    def _data(self) -> Iterator[dict[str, Tensor]]:
        positions, workers = self._positions(self.configuration.accumulation), self.configuration.data.workers
        return iter(DataLoader(self.pairs, sampler=positions, batch_size=None, num_workers=workers))

    def _update_weights(self, data: Iterator[dict[str, Tensor]]) -> dict[str, Tensor]:
        device = self.accelerator.device
        read = (next(data) for _ in range(self.configuration.accumulation))
        batches = ({name: tensor.to(device) for name, tensor in batch.items()} for batch in read)
        losses = self._optimiser_step(
            self.objective, [self.muon, self.adamw], batches, self.configuration.optimiser.clip
        )
        self.average.update(self.step + 1)
        return losses

    def _measure(self) -> dict[str, float]:
        assert self.validation is not None  # in the first process
        with self.average.in_place():
            made = self.validation.restore(self.network)
        for index, picture in enumerate(self.validation.panels(made)):
            self.events.add_picture(f"panels/{index}", picture, self.step)
        return self.validation.measure(made)

    def _write_weights(self) -> Path:
        with self.average.in_place():
            state = {name: tensor.half().contiguous() for name, tensor in self.network.state_dict().items()}
        path = self.folder / WEIGHTS
        write_tensors(path, state, self._metadata())
        return path

    def _metadata(self) -> dict[str, str]:
        shape = json.dumps({"widths": self.network.widths, "blocks": self.network.blocks})
        return {"network": shape, "steps": str(self.step), "omniup": __version__}


def _make_network(settings: NetworkSettings, seed: int) -> ResidualNetwork:
    """Make the network that is trained.

    Raises:
        InputError: the weights to start from cannot be read, or are of another network.
    """
    with seeded(seed, "weights"):
        network = ResidualNetwork(settings.widths, settings.blocks)
    if settings.weights is not None:
        start = Restorer.from_pretrained(settings.weights, precision="fp32").network
        if (start.widths, start.blocks) != (network.widths, network.blocks):
            raise InputError(
                "network.weights",
                "have the widths {widths} and {blocks} blocks",
                "network.widths and network.blocks of the same",
                widths=start.widths,
                blocks=start.blocks,
            )
        network.load_state_dict(start.state_dict())
    return network
