"""What AnyUp learns from a zoo of backbones for those that it has not seen, and what each of its parts is worth.

    python benchmarks/held_out.py DIR

Trains examples/anyup_bsds.yaml, with the street-scene network of the benchmark among its backbones, once for each kind
of backbone, without that kind, once with all, and once for each part that is left out; then measures on the photographs
of the validation: the mean cosine similarity of upsampled features with those of the photograph itself. A training that
is there already is not repeated, one that was stopped goes on. DIR is the folder of data sets that docs/benchmarking.md
describes, with the folder models beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from measure import show
from omniup import AnyUp, upsample
from omniup.training.anyup import read_configuration
from omniup.training.anyup.backbones import build
from omniup.training.anyup.validation import Upsample, Validation, bilinear
from omniup_bench.street_network import FILE
from trainings import STREET, trained

CONFIGURATION = Path(__file__).parents[1] / "examples/anyup_bsds.yaml"

KINDS = {"random convolutional": (0, 1), "random transformer": (2, 3), "street scenes": (4, 5), "hand-made": (6, 7, 8)}
"""By their places among the backbones."""

PARTS: Mapping[str, dict[str, Any]] = {
    "nothing left out": {},
    # What is left is half the size, so that guidance has as many pixels as ever.
    "no local crops": {"data.crops": 0, "data.image_size": 128, "data.input_size": 64},
    "no consistency": {"losses.self_consistency": 0, "losses.input_consistency": 0},
    "no feature path": {"model.feature_path": False},
    "no window": {"model.window_ratio": 1},
}

PUBLISHED = {"published, paper": "anyup_paper.pth", "published, multi": "anyup_multi_backbone.pth"}


def main() -> None:
    """Train what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=Path("out/held_out"), help="where trainings are")
    parser.add_argument("--weights", type=Path, help="the folder of the published weights, to compare with")
    parser.add_argument("--photographs", type=int, default=50, help="how many are measured on")
    parser.add_argument("--steps", type=int, help="of each training; the configuration's by default")
    parser.add_argument("--part-steps", type=int, default=300, help="of each training without a part")
    options = parser.parse_args()

    steps = _everywhere(options.data) | ({} if options.steps is None else {"steps": options.steps})
    ours = {"all": _trained(options.output / "all", steps)}
    for kind, places in KINDS.items():
        changes = {f"backbones.{place}.held_out": True for place in places}
        ours[kind] = _trained(options.output / f"without {kind}", steps | changes)
    parts = {
        name: _trained(options.output / "parts" / name, steps | {"steps": options.part_steps} | changes)
        for name, changes in PARTS.items()
    }
    others: dict[str, Upsample] = {"UPA": _upsample_anything}
    if options.weights is not None:
        others |= {name: AnyUp.from_pretrained(options.weights / file) for name, file in PUBLISHED.items()}
    measure = partial(_measure, changes=steps, count=options.photographs)
    _show_kinds(measure({"bilinear": bilinear, **ours, **others}), list(others))
    _show_parts(measure({"bilinear": bilinear, **parts}))


def _everywhere(data: Path) -> dict[str, Any]:
    """The changes to the configuration that all trainings have: where the photographs are, and another network."""
    zoo = yaml.safe_load(CONFIGURATION.read_text())["backbones"]
    street = {"kind": "local", "function": f"{STREET}:load", "weights": str(data.resolve().parent / "models" / FILE)}
    street_scenes = [street | {"output": output, "patch": patch} for output, patch in ((0, 8), (1, 16))]
    place = KINDS["street scenes"][0]
    return {
        "data.images": [str(data.resolve() / "bsds500/train")],
        "validation.images": [str(data.resolve() / "bsds500/val")],
        "backbones": [*zoo[:place], *street_scenes, *zoo[place:]],
    }


def _measure(
    methods: Mapping[str, Upsample], *, changes: Mapping[str, Any], count: int
) -> dict[str, dict[str, Tensor]]:
    """The cosine similarity of each photograph, [N], by backbone and method."""
    configuration, device = read_configuration(CONFIGURATION, dict(changes)), torch.device("cpu")
    assert configuration.validation is not None
    settings = configuration.validation.model_copy(update={"count": count})
    backbones = [build(each, device) for each in configuration.backbones]
    return Validation(settings, configuration.data, backbones, device).similarities(methods)


def _show_kinds(measured: Mapping[str, Mapping[str, Tensor]], others: Sequence[str]) -> None:
    names = list(measured)
    kinds = {names[place]: kind for kind, places in KINDS.items() for place in places}
    rows = [
        [
            name,
            f"{float(measured[name]['bilinear'].mean()):.4f}",
            *(_gain(measured[name], method) for method in (kind, "all", *others)),
        ]
        for name, kind in kinds.items()
    ]
    header = ["backbone", "bilinear", "ours, kind held out", "ours, all kinds", *others]
    show("Cosine similarity, and hundredths above bilinear (± standard error)", header, rows, torch.device("cpu"))


def _show_parts(measured: Mapping[str, Mapping[str, Tensor]]) -> None:
    rows = [[name, *(_gain(found, part) for part in PARTS)] for name, found in measured.items()]
    show("Hundredths of cosine similarity above bilinear", ["backbone", *PARTS], rows, torch.device("cpu"))


def _gain(found: Mapping[str, Tensor], method: str) -> str:
    """How far a method is above bilinear: the mean over photographs, and its standard error, in hundredths."""
    differences = 100 * (found[method] - found["bilinear"])  # [N]
    return f"{float(differences.mean()):+.2f} ± {float(differences.std() / len(differences) ** 0.5):.2f}"


def _trained(folder: Path, changes: Mapping[str, Any]) -> AnyUp:
    """The network that a training leads to, which is taken up where it was left."""
    unmeasured = {"validation.every": 10**6, "validation.count": 1}
    configuration = read_configuration(CONFIGURATION, {**unmeasured, **changes})
    return AnyUp.from_pretrained(trained(configuration, folder))


def _upsample_anything(guidance: Tensor, features: Tensor, size: tuple[int, int]) -> Tensor:
    return upsample(guidance, features, size=size, method="upsample_anything", preset="paper")


if __name__ == "__main__":
    main()
