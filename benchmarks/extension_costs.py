"""Time of AnyUp with each of its extensions, against the network without: one call, and one step of training.

The call is of a photograph of 224² pixels and features of 384 channels; the step is that of `training.py`. Both are
timed in turns, by the time of this process's threads alone, as others may share the cores. Weights are random, as times
do not depend on them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from measure import device_argument, photograph, show
from omniup import AnyUp
from omniup.evaluation.measuring import Run, in_turns, ratio
from omniup.training.anyup.configuration import LossSettings
from omniup.training.anyup.objective import Objective

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
    calls, steps = (measure(run, device) for run in (call, step))
    rows = [[name, *of_call, *of_step] for name, of_call, of_step in zip(EXTENSIONS, calls, steps, strict=True)]
    show("AnyUp's extensions", ["extension", "call", "ratio", "step", "ratio"], rows, device)


def measure(make: Callable[[AnyUp, torch.device], Run], device: torch.device) -> Sequence[Sequence[str]]:
    """Time what `make` makes of each network, in turns: the median, and the ratio to the one without extensions."""
    networks = [AnyUp(basis_layout="paper", **settings).to(device) for settings in EXTENSIONS.values()]
    times = in_turns([make(network, device) for network in networks], device, turns=9, clock=time.process_time)
    return [[f"{1000 * statistics.median(each):.0f} ms", f"{ratio(each, times[0]):.2f} ×"] for each in times]


def call(network: AnyUp, device: torch.device) -> Run:
    """Upsample features of a photograph."""
    image, features = photograph(SIDE, SIDE, device), torch.randn(1, CHANNELS, CELLS, CELLS, device=device)
    network.eval().requires_grad_(False)
    return lambda: network(image, features)


def step(network: AnyUp, device: torch.device) -> Run:
    """Take a step of training without the backbone, in bfloat16."""
    size = (2 * STEP_CELLS, 2 * STEP_CELLS)
    objective = Objective(network, LossSettings(self_consistency_size=size[0])).train()
    optimiser = torch.optim.AdamW([weight for weight in objective.parameters() if weight.requires_grad])
    guidance = photograph(STEP_SIDE, STEP_SIDE, device).expand(BATCH, -1, -1, -1)
    features = torch.randn(BATCH, STEP_CHANNELS, STEP_CELLS, STEP_CELLS, device=device)
    targets = torch.randn(BATCH * CROPS, STEP_CHANNELS, STEP_CELLS, STEP_CELLS, device=device)
    corners = torch.randint(STEP_CELLS + 1, (BATCH, CROPS, 2))

    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = objective(guidance, 1 - guidance, features, targets, corners, size)["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return run


if __name__ == "__main__":
    main()
