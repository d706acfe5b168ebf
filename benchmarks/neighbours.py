"""What AnyUp's neighbours gain for their time: NAF's idea, and a light network in the manner of RaysUp.

    python benchmarks/neighbours.py DIR

Trains AnyUp, AnyUp with keys of the image alone, which is NAF's idea, and the light network of `omniup_bench` at three
widths: a sixth of AnyUp's parameters, AnyUp's time, and AnyUp's parameters. All see the same photographs, backbones and
crops for as many steps. Then it measures each: the time of one call in turns with AnyUp's; the mean cosine similarity
of upsampled features with those of the photograph itself; and the mean IoU of a linear probe that was fitted to
low-resolution features; both above bilinear interpolation, on backbones that were trained on and on others. It prints
a table and draws quality against time. A training that is there already is not repeated, one that was stopped goes on.
DIR is the folder of data sets that docs/benchmarking.md describes, with the folder models beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

import trainings
from measure import photograph, show
from omniup import AnyUp
from omniup.evaluation.measuring import in_turns, ratio
from omniup.files.weights import read_state_dict
from omniup.training.anyup import read_configuration
from omniup.training.anyup.backbones import build
from omniup.training.anyup.validation import Validation
from omniup_bench.data import Folders
from omniup_bench.light_network import LightNetwork, train_light

CONFIGURATION = Path(__file__).parents[1] / "examples/anyup_bsds.yaml"

#: Widths of the light network by what is equal to AnyUp's.
WIDTHS = {"a sixth of the parameters": 320, "AnyUp's time": 448, "AnyUp's parameters": 768}

#: What a call is timed with.
SIDE, CELLS, CHANNELS = 224, 16, 384


@dataclass(frozen=True)
class Contender:
    """A network to train.

    Attributes:
        name: in the table.
        model: changes to the configuration's model.
        width: of the light network; None for AnyUp.
    """

    name: str
    model: Mapping[str, Any]
    width: int | None = None


CONTENDERS = (
    Contender("AnyUp", {}),
    Contender("AnyUp, keys of the image alone", {"model.feature_path": False}),
    *(Contender(f"light, {equal}", {}, width) for equal, width in WIDTHS.items()),
)


def main() -> None:
    """Train what is missing, print the table and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=Path("out/neighbours"), help="where trainings and the plot go")
    parser.add_argument("--steps", type=int, default=600, help="of each training")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each network")
    parser.add_argument("--photographs", type=int, default=50, help="how many are measured on, of each kind")
    options = parser.parse_args()

    everywhere = {**changes(options.data, options.photographs), "steps": options.steps}
    trained: dict[str, list[nn.Module]] = {contender.name: [] for contender in CONTENDERS}
    for seed in range(options.seeds):  # all networks once, before any is trained again
        for contender in CONTENDERS:
            folder = options.output / f"{contender.name}, seed {seed}"
            trained[contender.name].append(_trained(contender, folder, {**everywhere, "seed": seed}))
    times = _times([networks[0] for networks in trained.values()])
    gains = _gains(trained, everywhere)
    header = ["network", "parameters", "a call", *next(iter(gains.values()))]
    rows = [
        [
            name,
            f"{sum(weight.numel() for weight in networks[0].parameters()):,}",
            f"{1000 * statistics.median(taken):.0f} ms ({ratio(taken, times[0]):.2f} ×)",
            *(_estimate(values) for values in gains[name].values()),
        ]
        for (name, networks), taken in zip(trained.items(), times, strict=True)
    ]
    show("Above bilinear, in hundredths: mean over backbones and seeds", header, rows, torch.device("cpu"))
    _draw([ratio(taken, times[0]) for taken in times], gains, options.output / "neighbours.png")


def changes(data: Path, count: int) -> dict[str, Any]:
    """The changes to the configuration that all trainings have: the backbones, and where everything is."""
    data = data.resolve()
    scenes = {"train": str(data / "camvid/train"), "test": str(data / "camvid/val"), "ignore": 11}
    return {
        "data.images": [str(data / "bsds500/train"), str(data / "imagenet/train")],
        "validation.images": [str(data / "bsds500/val")],
        "validation.count": count,
        "validation.probe": scenes | {"images": count},
        "validation.every": 10**6,
        "backbones": [
            *trainings.trained_backbones(Folders.of(data), held_out="hand-made"),
            {"kind": "timm", "model": "vit_tiny_patch16_224", "layer": 2, "patch": 16, "held_out": True},
        ],
    }


def _trained(contender: Contender, folder: Path, settings: Mapping[str, Any]) -> nn.Module:
    """Train a network, from where it was left; in evaluation mode."""
    # Measured at the end and together: during a training the first photograph is enough.
    settings = {**settings, **contender.model, "validation": None}
    configuration = read_configuration(CONFIGURATION, {k: v for k, v in settings.items() if "validation." not in k})
    if contender.width is None:
        return AnyUp.from_pretrained(trainings.trained(configuration, folder))
    weights = trainings.trained(configuration, folder, train_light, width=contender.width)
    network = LightNetwork(contender.width, configuration.model.window_ratio)
    network.load_state_dict(read_state_dict(weights))
    return network.eval().requires_grad_(False)


def _times(networks: Sequence[nn.Module]) -> list[list[float]]:
    """Time a call of each network in turns, by the time of this process's threads."""
    device = torch.device("cpu")
    image, features = photograph(SIDE, SIDE, device), torch.randn(1, CHANNELS, CELLS, CELLS)
    runs = [lambda network=network: network(image, features) for network in networks]
    return in_turns(runs, device, turns=5, clock=time.process_time)


def _gains(
    trained: Mapping[str, Sequence[nn.Module]], everywhere: Mapping[str, Any]
) -> dict[str, dict[str, list[float]]]:
    """Measure all networks: hundredths above bilinear of each backbone and seed, by network and measure."""
    configuration, device = read_configuration(CONFIGURATION, dict(everywhere)), torch.device("cpu")
    assert configuration.validation is not None
    backbones = [build(settings, device) for settings in configuration.backbones]
    validation = Validation(configuration.validation, configuration.data, backbones, device)
    held_out = {
        backbone.name: settings.held_out for backbone, settings in zip(backbones, configuration.backbones, strict=True)
    }
    gains: dict[str, dict[str, list[float]]] = {}
    for name, networks in trained.items():
        found: dict[str, list[float]] = {}
        for network in networks:
            measured = validation(cast(AnyUp, network))  # which is called, no more
            for key in measured:
                measure, backbone, method = key.split("/")
                if method == "anyup":
                    column = f"{measure}, {'held out' if held_out[backbone] else 'trained on'}"
                    gain = 100 * (measured[key] - measured[f"{measure}/{backbone}/bilinear"])
                    found.setdefault(column, []).append(gain)
        gains[name] = found
    return gains


def _estimate(values: Sequence[float]) -> str:
    """The mean, and the least and greatest of backbones and seeds."""
    return f"{statistics.mean(values):+.2f} ({min(values):+.2f} to {max(values):+.2f})"


def _draw(times: Sequence[float], gains: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Draw the mean of each measure against the time of a call, one panel a measure."""
    from matplotlib.figure import Figure

    columns = list(next(iter(gains.values())))
    figure = Figure(figsize=(3.2 * len(columns) + 2, 3), layout="constrained")
    for panel, column in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        for place, (name, spent) in enumerate(zip(gains, times, strict=True)):
            panel.plot([spent], [statistics.mean(gains[name][column])], "osD^v"[place], label=name)
        panel.axhline(0, color="grey", linewidth=0.5)  # bilinear
        panel.set_title(column, fontsize=9)
        panel.set_xlabel("time of a call, beside AnyUp's", fontsize=8)
    figure.legend(*panel.get_legend_handles_labels(), loc="outside right center", fontsize=7)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
