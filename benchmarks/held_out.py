"""What AnyUp learns from a zoo of backbones for those that it has not seen, and what each of its parts is worth.

Trains examples/anyup_bsds.yaml once for each kind of backbone, without that kind, once with all, and once for each part
that is left out; then measures on the photographs of the validation: the mean cosine similarity of upsampled features
with those of the photograph itself. A training that is there already is not repeated, one that was stopped goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from measure import show
from omniup import AnyUp, upsample
from omniup.training.anyup import Configuration, Progress, read_configuration, train
from omniup.training.anyup.backbones import build
from omniup.training.anyup.validation import Upsample, Validation, bilinear

CONFIGURATION = Path(__file__).parents[1] / "examples/anyup_bsds.yaml"

KINDS = {"random convolutional": (0, 1), "random transformer": (2, 3), "street scenes": (4, 5), "hand-made": (6, 7, 8)}
"""By their places in the configuration."""

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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out/held_out"), help="where trainings are")
    parser.add_argument("--weights", type=Path, help="the folder of the published weights, to compare with")
    parser.add_argument("--photographs", type=int, default=100, help="how many are measured on")
    parser.add_argument("--steps", type=int, help="of each training; the configuration's by default")
    parser.add_argument("--part-steps", type=int, default=300, help="of each training without a part")
    options = parser.parse_args()

    steps = {} if options.steps is None else {"steps": options.steps}
    ours = {"all": _trained(options.output / "all", steps)}
    for kind, places in KINDS.items():
        changes = {f"backbones.{place}.held_out": True for place in places}
        ours[kind] = _trained(options.output / f"without {kind}", steps | changes)
    parts = {
        name: _trained(options.output / "parts" / name, {"steps": options.part_steps} | changes)
        for name, changes in PARTS.items()
    }
    measures = _Measures(read_configuration(CONFIGURATION), options.photographs)
    others = {"UPA": _upsample_anything}
    if options.weights is not None:
        others |= {name: AnyUp.from_pretrained(options.weights / file) for name, file in PUBLISHED.items()}
    _show_kinds(measures, ours, others)
    _show_parts(measures, parts)


class _Measures:
    """Mean cosine similarities with the features of photographs, and what they are above those of bilinear."""

    def __init__(self, configuration: Configuration, count: int) -> None:
        device = torch.device("cpu")
        backbones = [build(settings, device) for settings in configuration.backbones]
        self.names = [backbone.name for backbone in backbones]
        assert configuration.validation is not None
        settings = configuration.validation.model_copy(update={"count": count})
        self.validation = Validation(settings, configuration.data, backbones, device)
        self.bilinear = self.validation.similarities(bilinear)

    def gains(self, method: Upsample) -> dict[str, tuple[float, float]]:
        """For each backbone, the mean difference to bilinear, and its standard error, in hundredths."""
        found = self.validation.similarities(method)
        differences = {name: 100 * (found[name] - self.bilinear[name]) for name in self.names}
        return {name: (float(d.mean()), float(d.std() / len(d) ** 0.5)) for name, d in differences.items()}


def _show_kinds(measures: _Measures, ours: Mapping[str, AnyUp], others: Mapping[str, Upsample]) -> None:
    kinds = {measures.names[place]: kind for kind, places in KINDS.items() for place in places}
    held_out = {kind: measures.gains(ours[kind]) for kind in KINDS}
    whole, rest = measures.gains(ours["all"]), {name: measures.gains(method) for name, method in others.items()}
    rows = [
        [
            name,
            kind,
            f"{float(measures.bilinear[name].mean()):.4f}",
            _cell(held_out[kind][name]),
            _cell(whole[name]),
            *(_cell(gains[name]) for gains in rest.values()),
        ]
        for name, kind in kinds.items()
    ]
    header = ["backbone", "kind", "bilinear", "ours, kind held out", "ours, all kinds", *rest]
    show("Cosine similarity, and hundredths above bilinear (± standard error)", header, rows, torch.device("cpu"))


def _show_parts(measures: _Measures, parts: Mapping[str, AnyUp]) -> None:
    gains = {name: measures.gains(network) for name, network in parts.items()}
    rows = [[name, *(_cell(gained[name]) for gained in gains.values())] for name in measures.names]
    show("Hundredths of cosine similarity above bilinear", ["backbone", *gains], rows, torch.device("cpu"))


def _cell(gain: tuple[float, float]) -> str:
    return "{:+.2f} ± {:.2f}".format(*gain)


def _trained(folder: Path, changes: Mapping[str, Any]) -> AnyUp:
    """The network that a training leads to, which is taken up where it was left."""
    unmeasured = {"validation.every": 10**6, "validation.count": 1}
    configuration = read_configuration(CONFIGURATION, {**unmeasured, **changes})
    with tqdm(total=configuration.steps, desc=folder.name, disable=None) as bar:

        def tell(progress: Progress) -> None:
            bar.update(progress.step - bar.n)

        outcome = train(configuration, folder, resume=True, progress=tell)
    if outcome.weights is None:
        raise SystemExit(f"{folder.name}: stopped after step {outcome.step}; the same command goes on")
    return AnyUp.from_pretrained(outcome.weights)


def _upsample_anything(guidance: torch.Tensor, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return upsample(guidance, features, size=size, method="upsample_anything")


if __name__ == "__main__":
    main()
