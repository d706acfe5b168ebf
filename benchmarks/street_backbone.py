"""Features of the street-scene network at both of its strides, as a backbone that AnyUp is trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from omniup_bench.street_network import load_street_network


def load(weights: Path) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Load the network; it maps images [B, 3, H, W] in 0..1 to features of stride 8 and of stride 16."""
    network = load_street_network(Path(weights).parent)

    def features(image: Tensor) -> tuple[Tensor, Tensor]:
        fine = network.l2(network.l1(network.stem((image - 0.45) / 0.25)))  # [B, 96, H / 8, W / 8]
        return fine, network.l3(fine)

    return features
