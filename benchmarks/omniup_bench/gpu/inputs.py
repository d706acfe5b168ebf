"""Make what the checks of a GPU compute with: sizes, a photograph, signals, networks with random weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.files import image_tensor, sample_image
from omniup.upsamplers import AnyUp, methods

CPU = torch.device("cpu")
CHANNELS = 5


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of what is computed: as published on a GPU, and on a CPU so small that it is a rehearsal.

    Attributes:
        compared: (H, W) of the image whose results are compared with a CPU's.
        trained: side of the image of a training step.
        timed: sides of the images that are timed, and cells along each.
        timed_channels: of the features that are timed.
        turns: how often each thing is timed.
        large: side and channels of a result that is compared with single pixels: of more than 2³¹ values.
    """

    compared: tuple[int, int] = (224, 168)
    trained: int = 64
    timed: tuple[tuple[int, int], ...] = ((224, 16), (448, 28))
    timed_channels: int = 384
    turns: int = 20
    large: tuple[int, int] = (2368, 384)

    @classmethod
    def of(cls, device: torch.device) -> Sizes:
        """Return the sizes for a device."""
        if device.type == "cuda":
            return cls()
        return cls(compared=(56, 42), trained=16, timed=((48, 4),), timed_channels=5, turns=1, large=(64, 3))


def photograph(height: int, width: int) -> Tensor:
    """Return the sample photograph at some size: [1, 3, H, W] in 0..1."""
    return image_tensor(sample_image("coffee").resize((width, height)))


def signal_of(signal_type: str, grid: tuple[int, int]) -> Tensor:
    """Make a random signal of a type: [1, C, h, w], the same every time."""
    signal = torch.randn(1, 1 if signal_type in ("measurement", "labels") else CHANNELS, *grid, generator=generator())
    if signal_type == "probabilities":
        return (3 * signal).softmax(1)
    if signal_type == "directions":
        return F.normalize(signal, dim=1)
    return signal.mul(2).round().long() if signal_type == "labels" else signal


def training_free() -> list[str]:
    """Return the names of the methods that need no weights."""
    return [name for name, method in methods().items() if not method.paths]


def random_anyup(**settings: Any) -> AnyUp:
    """Build AnyUp with settings and random weights, the same every time, whose logits differ by some units."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AnyUp(**settings).eval().requires_grad_(False)
    network.cross_decode.cross_attn.norm_q.weight.data.mul_(4)
    return network


def generator() -> torch.Generator:
    """Begin the same random numbers anew, on the CPU."""
    return torch.Generator().manual_seed(0)
