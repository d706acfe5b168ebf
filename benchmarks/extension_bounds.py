"""What AnyUp's extensions could gain, by one coefficient for all pixels, with and without a step of consistency.

    python benchmarks/extension_bounds.py DIR

Nothing is trained: the published weights are given each extension with a constant coefficient, and the losses of the
recipe examples/anyup_omniup.yaml are compared with those without it, on its first batches. Where no constant helps, and
a step of consistency takes away what one gains, hours of training have little to find. For the basis it is the other
way round: how much is lost where there is none. DIR is the folder of data sets that docs/benchmarking.md describes,
with the folders models and weights beside it.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from tqdm import tqdm

from measure import show
from omniup import AnyUp
from omniup.training.anyup import read_configuration
from omniup.training.anyup.configuration import LossSettings, MetaSettings
from omniup.training.anyup.meta import MetaObjective
from omniup.training.anyup.objective import Objective
from omniup.training.anyup.trainer import _Training
from omniup.upsamplers.anyup.adaptation import Adaptation
from omniup.upsamplers.anyup.feature_agnostic import FeatureAgnosticLayer
from omniup_bench.data import Folders
from trainings import RECIPE, recipe_changes

RATIOS = (0.05, 0.1, 0.2)
PARTS = (0.25, 0.5, 1.0)
FUSIONS = (-0.3, 0.3, 0.6, 0.999)
INNER_STEPS = 3

Batch: TypeAlias = dict[str, Any]

Change: TypeAlias = Callable[[AnyUp], None]
"""Gives a network a constant coefficient."""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--batches", type=int, default=30, help="of two photographs and one backbone each")
    options = parser.parse_args()
    changes = recipe_changes(Folders.of(options.data)) | {"precision": "no", "steps": options.batches}
    batches = _batches(changes)
    print(", ".join(f"{reference}: {len(each)} batches" for reference, each in batches.items()), flush=True)
    without = _losses(changes["model.weights"], None, batches)
    rows = []
    for name, change in tqdm(_changes().items(), disable=None):
        found = _losses(changes["model.weights"], change, batches)
        rows.append([name, *(_relative(found[column], without[column]) for column in without)])
    header = ["", *(f"{reference}, consistency {steps}" for reference, steps in without)]
    show("Change of the loss, % (± standard error over batches)", header, rows, torch.device("cpu"))


def _batches(changes: Mapping[str, Any]) -> dict[str, list[Batch]]:
    """Make the first batches of the recipe, by their references."""
    found: dict[str, list[Batch]] = {"moved": [], "segments": []}
    with tempfile.TemporaryDirectory() as folder:
        training = _Training(read_configuration(RECIPE, changes), Path(folder), None)
        for number, images in enumerate(training._data()):
            batch = training._batch(images, number)
            found["segments" if "segments" in batch else "moved"].append(batch)
    return found


def _changes() -> dict[str, Change | int]:
    """Return what is done to the network, by name; a number of steps is of adaptation."""
    narrow, wide = RATIOS[0], RATIOS[-1]
    return {
        **{f"window of {narrow}, weight {part:g}": partial(_weigh, 0, part) for part in PARTS},
        **{f"window of {wide}, weight {part:g}": partial(_weigh, 1, part) for part in PARTS},
        **{f"slopes, f = {fusion:g}": partial(_fuse, fusion) for fusion in FUSIONS},
        "no basis": _zero_basis,
        f"{INNER_STEPS} steps of adaptation": INNER_STEPS,
    }


@torch.no_grad()
def _weigh(scale: int, weight: float, network: AnyUp) -> None:
    """Give a scale of the pyramid a weight, whatever the query."""
    assert network.pyramid is not None
    network.pyramid.weigh.bias[scale] = weight


@torch.no_grad()
def _fuse(fusion: float, network: AnyUp) -> None:
    """Give the slopes a weight, whatever the query and the place."""
    assert network.implicit is not None
    network.implicit.last.bias[0] = math.atanh(fusion)


@torch.no_grad()
def _zero_basis(network: AnyUp) -> None:
    for layer in network.modules():
        if isinstance(layer, FeatureAgnosticLayer):
            layer.basis.zero_()


def _losses(
    weights: str, change: Change | int | None, batches: Mapping[str, Sequence[Batch]]
) -> dict[tuple[str, int], list[float]]:
    """Compute the loss of each batch, by reference and steps of consistency."""
    network = AnyUp.from_pretrained(weights, pyramid=RATIOS, implicit=True)
    found: dict[tuple[str, int], list[float]] = {}
    for steps in (0, 1):
        plain = Objective(network, LossSettings(consistency=steps, self_consistency=0, input_consistency=0))
        objective: torch.nn.Module = plain
        if isinstance(change, int):
            network.adaptation = Adaptation.of(network)
            objective = MetaObjective(plain, MetaSettings(inner_steps=change))
        elif change is not None:
            change(network)
        for reference, each in batches.items():
            found[reference, steps] = [objective(**batch)["loss"].item() for batch in each]
    return found


def _relative(found: Sequence[float], before: Sequence[float]) -> str:
    """Compare losses with those before, each relative to its own."""
    change = 100 * (np.array(found) / np.array(before) - 1)
    return f"{change.mean():+.1f} ± {change.std(ddof=1) / math.sqrt(len(change)):.1f}"


if __name__ == "__main__":
    main()
