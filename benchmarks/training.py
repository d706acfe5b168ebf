"""Time of one training step of AnyUp without the backbone: forward, backward, AdamW; patches of 8, batches of 4.

The sizes are those of examples/anyup_bsds.yaml and of the paper; mixed precision is timed against float32.
"""

from __future__ import annotations

import functools
import statistics
from typing import Any

import torch

from measure import device_argument, photograph, show
from omniup.evaluation.measuring import in_turns, ratio
from omniup.training.anyup.configuration import LossSettings
from omniup.training.anyup.objective import Objective
from omniup.upsamplers.anyup import AnyUp

INPUT_SIZES = (128, 224)
PATCH, BATCH, CROPS, CHANNELS = 8, 4, 4, 128


def main() -> None:
    """Print the table."""
    device = device_argument(__doc__)
    rows = []
    for side in INPUT_SIZES:
        cells = side // PATCH
        losses = LossSettings(self_consistency_size=2 * cells)
        objective = Objective(AnyUp(basis_layout="paper"), losses).to(device).train()
        optimiser = torch.optim.AdamW([weight for weight in objective.parameters() if weight.requires_grad])
        guidance = photograph(side, side, device).expand(BATCH, -1, -1, -1)
        batch = {
            "guidance": guidance,
            "changed": 1 - guidance,
            "features": torch.randn(BATCH, CHANNELS, cells, cells, device=device),
            "targets": torch.randn(BATCH * CROPS, CHANNELS, cells, cells, device=device),
            "corners": torch.randint(cells + 1, (BATCH, CROPS, 2)),
            "size": (2 * cells, 2 * cells),
        }
        step = functools.partial(_step, objective, optimiser, batch, device)
        times = in_turns([functools.partial(step, mixed=False), functools.partial(step, mixed=True)], device, turns=3)
        full, mixed = (statistics.median(run) for run in times)
        rows.append(
            [f"{side}×{side} to {2 * cells}×{2 * cells}", f"{full:.2f} s", f"{mixed:.2f} s", f"{ratio(*times):.1f} ×"]
        )
    show("One step of training", ["guidance, result", "float32", "bfloat16, mixed", "ratio"], rows, device)


def _step(
    objective: Objective, optimiser: torch.optim.Optimizer, batch: dict[str, Any], device: torch.device, *, mixed: bool
) -> None:
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
        loss = objective(**batch)["loss"]
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()


if __name__ == "__main__":
    main()
