"""Time of AnyUp with each of its extensions, against the network without: one call, and one step of training.

The call is of a photograph of 224² pixels and features of 384 channels; the step is that of `training.py`. A call with
adaptation adapts first, in three steps, and its step is of meta-training; a step of pretraining has all three tasks.
They are timed in turns, by the time of this process's threads alone, as others may share the cores. Weights are random,
as times do not depend on them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from measure import device_argument, photograph, show
from omniup import AnyUp
from omniup.evaluation.measuring import Run, in_turns, ratio
from omniup.training.anyup.configuration import LossSettings, MetaSettings, PretrainingSettings
from omniup.training.anyup.meta import MetaObjective
from omniup.training.anyup.objective import Objective
from omniup.training.anyup.pretraining import SIGNS, PretrainingObjective
from omniup.upsamplers.anyup.adaptation import Adaptation

#: The extensions, as settings of the network.
EXTENSIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "dynamic basis": {"dynamic_basis": True},
    "pyramid": {"pyramid": (0.05, 0.1, 0.2)},
    "implicit": {"implicit": True},
    "pyramid, implicit": {"pyramid": (0.05, 0.1, 0.2), "implicit": True},
}

SIDE, CELLS, CHANNELS = 224, 16, 384
STEP_SIDE, STEP_CELLS, STEP_CHANNELS, BATCH, CROPS = 128, 16, 128, 2, 4


def main() -> None:
    """Print the table."""
    device = device_argument(__doc__)
    own = EXTENSIONS.values()
    calls = measure(
        [*(call(make(each, device), device) for each in own), adapted_call(make({}, device), device)], device
    )
    beside = meta_step(make({}, device), device), pretraining_step(make({}, device), device)
    steps = measure([*(step(make(each, device), device) for each in own), *beside], device)
    names = [*EXTENSIONS, "adaptation", "pretraining"]
    rows = [[name, *of_call, *of_step] for name, of_call, of_step in zip(names, [*calls, ["", ""]], steps, strict=True)]
    show("AnyUp's extensions", ["extension", "call", "ratio", "step", "ratio"], rows, device)


def make(settings: dict[str, Any], device: torch.device) -> AnyUp:
    """Make a network with random weights."""
    return AnyUp(basis_layout="paper", **settings).to(device)


def measure(runs: Sequence[Run], device: torch.device) -> Sequence[Sequence[str]]:
    """Time runs in turns: the median of each, and the ratio to the first, without extensions."""
    times = in_turns(runs, device, turns=9, clock=time.process_time)
    return [[f"{1000 * statistics.median(each):.0f} ms", f"{ratio(each, times[0]):.2f} ×"] for each in times]


def call(network: AnyUp, device: torch.device) -> Run:
    """Upsample features of a photograph."""
    image, features = photograph(SIDE, SIDE, device), torch.randn(1, CHANNELS, CELLS, CELLS, device=device)
    network.eval().requires_grad_(False)
    return lambda: network(image, features)


def adapted_call(network: AnyUp, device: torch.device) -> Run:
    """Adapt to a photograph in three steps, and upsample its features."""
    image, features = photograph(SIDE, SIDE, device), torch.randn(1, CHANNELS, CELLS, CELLS, device=device)
    network.eval().requires_grad_(False)
    return lambda: network.adapt(image, features)(image, features)


def step(network: AnyUp, device: torch.device) -> Run:
    """Take a step of training without the backbone, in bfloat16."""
    return optimiser_step(objective_of(network), training_batch(device), device)


def meta_step(network: AnyUp, device: torch.device) -> Run:
    """Take a step of meta-training: of each image, three steps of adaptation before the losses."""
    network.adaptation = Adaptation.of(network)
    return optimiser_step(MetaObjective(objective_of(network), MetaSettings()), training_batch(device), device)


def pretraining_step(network: AnyUp, device: torch.device) -> Run:
    """Take a step of the three tasks of pretraining, the resized guidance as large as the other."""
    whole = training_batch(device)
    cells = STEP_CELLS**2
    batch = {name: whole[name] for name in ("guidance", "features", "size")}
    batch |= {
        "masked": torch.stack([torch.randperm(cells)[: cells // 4] for _ in range(BATCH)]).to(device),
        "resized": 1 - whole["guidance"],
        "other": torch.randn_like(whole["features"]),
        "signs": torch.randn(BATCH, SIGNS, STEP_CELLS, STEP_CELLS, device=device).sign(),
    }
    return optimiser_step(PretrainingObjective(network, PretrainingSettings(steps=1)), batch, device)


def objective_of(network: AnyUp) -> Objective:
    """Make the objective of a step of training."""
    return Objective(network, LossSettings(self_consistency_size=2 * STEP_CELLS))


def training_batch(device: torch.device) -> dict[str, Any]:
    """Make the arguments of such an objective."""
    guidance = photograph(STEP_SIDE, STEP_SIDE, device).expand(BATCH, -1, -1, -1)
    return {
        "guidance": guidance,
        "changed": 1 - guidance,
        "features": torch.randn(BATCH, STEP_CHANNELS, STEP_CELLS, STEP_CELLS, device=device),
        "targets": torch.randn(BATCH * CROPS, STEP_CHANNELS, STEP_CELLS, STEP_CELLS, device=device),
        "corners": torch.randint(STEP_CELLS + 1, (BATCH, CROPS, 2)),
        "size": (2 * STEP_CELLS, 2 * STEP_CELLS),
    }


def optimiser_step(objective: nn.Module, batch: dict[str, Any], device: torch.device) -> Run:
    """Take a step of the optimiser on an objective's losses of a batch."""
    optimiser = torch.optim.AdamW([weight for weight in objective.train().parameters() if weight.requires_grad])

    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = objective(**batch)["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return run


if __name__ == "__main__":
    main()
