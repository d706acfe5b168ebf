"""Trainings of AnyUp that scripts begin: taken up where they were left, on networks that were trained."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from omniup.files import atomic_write
from omniup.training.anyup import Configuration, Outcome, Progress, train
from omniup_bench.data import Folders, model_file
from omniup_bench.street_network import FILE

RECIPE = Path(__file__).parents[1] / "examples/anyup_omniup.yaml"
STREET = Path(__file__).with_name("street_backbone.py")
LITE = "tf_efficientnet_lite0"

HOURS = "hours.json"
"""File beside a training's weights that says how long it took."""

KINDS: Mapping[str, tuple[int, ...]] = {"ImageNet": (0, 1, 2), "street scenes": (3, 4), "hand-made": (5,)}
"""Kinds of `trained_backbones`, by their places."""


def trained_backbones(folders: Folders, held_out: str | None = None) -> list[dict[str, Any]]:
    """Return the settings of the networks at hand that were trained, at all of their strides, and of HOG.

    Args:
        folders: of models.
        held_out: a kind that is not trained on; none by default.

    Raises:
        InputError: a network's weights are missing.
    """
    lite = {"kind": "timm", "model": LITE, "weights": str(model_file(folders.models, f"{LITE}.safetensors"))}
    street = {"kind": "local", "function": f"{STREET}:load", "weights": str(model_file(folders.models, FILE))}
    backbones: list[dict[str, Any]] = [
        *(lite | {"layer": layer, "patch": patch} for layer, patch in ((2, 8), (3, 16), (4, 32))),
        *(street | {"output": output, "patch": patch} for output, patch in ((0, 8), (1, 16))),
        {"kind": "hog", "patch": 16},
    ]
    for place in KINDS.get(held_out or "", ()):
        backbones[place]["held_out"] = True
    return backbones


def recipe_changes(folders: Folders, held_out: str | None = None) -> dict[str, Any]:
    """Return the changes to the recipe of our own weights that train it on what is at hand.

    Args:
        folders: of data sets, models and published weights.
        held_out: as for `trained_backbones`.

    Raises:
        InputError: likewise.
    """
    outlined = str((folders.data / "bsds500/train").resolve())
    return {
        "data.images": [str((folders.data / "imagenet/train").resolve()), outlined],
        "references.images": [outlined],
        "model.weights": str((folders.weights / "anyup_paper.pth").resolve()),
        "backbones": trained_backbones(folders, held_out),
    }


def trained(configuration: Configuration, folder: Path, run: Callable[..., Outcome] = train, **options: Any) -> Path:
    """Train in a folder, from where it was left, with a bar; return the weights. The hours that it took are added up.

    Args:
        configuration: of the training.
        folder: that it writes to.
        run: what trains.
        options: of that.

    Raises:
        SystemExit: it was stopped.
    """
    hours = folder / HOURS
    before = json.loads(hours.read_text()) if hours.is_file() else 0.0
    began = time.monotonic()
    with tqdm(total=configuration.steps, desc=folder.name, disable=None) as bar:

        def tell(progress: Progress) -> None:
            bar.update(progress.step - bar.n)

        outcome = run(configuration, output=folder, resume=True, progress=tell, **options)
    with atomic_write(hours) as file:
        file.write(json.dumps(before + (time.monotonic() - began) / 3600).encode())
    if outcome.weights is None:
        raise SystemExit(f"{folder.name}: stopped after step {outcome.step}; the same command goes on")
    return outcome.weights
