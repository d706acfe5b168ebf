"""Networks with trained weights, as backbones of AnyUp's training: by kinds, which can be held out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omniup_bench.data import Folders, model_file
from omniup_bench.street_network import FILE

STREET = Path(__file__).with_name("street_backbone.py")
RECIPE = Path(__file__).parents[1] / "examples/anyup_omniup.yaml"

LITE = "tf_efficientnet_lite0"

KINDS: Mapping[str, tuple[int, ...]] = {"ImageNet": (0, 1, 2), "street scenes": (3, 4), "hand-made": (5,)}
"""By their places among the backbones."""


def recipe_changes(folders: Folders, held_out: str | None = None) -> dict[str, Any]:
    """The changes to the recipe of our own weights that train it with these networks, on the photographs at hand.

    Args:
        folders: of data sets, models and published weights.
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
    outlined = str((folders.data / "bsds500/train").resolve())
    return {
        "data.images": [str((folders.data / "imagenet/train").resolve()), outlined],
        "references.images": [outlined],
        "model.weights": str((folders.weights / "anyup_paper.pth").resolve()),
        "backbones": backbones,
    }
