"""Time measurements against features, interpolation and OpenCV's guided filter, and as images grow.

Two signals: one that the image explains, area-averages of its brightness, scaled for each channel; and noise, of whose
detail every octave is weighted by itself, which takes most time.
"""

from __future__ import annotations

import statistics

import torch
from torch import Tensor
from torch.nn import functional as F

import omniup
from measure import device_argument, photograph, show
from omniup.evaluation.measuring import in_turns, ratio
from omniup.mixing import cell_means
from omniup_bench.peers import PEERS

STRIDE = 16
SIDES = (512, 1024, 2048, 4096)


def main() -> None:
    """Print the tables."""
    device = device_argument(__doc__)
    rows = [row for channels in (384, 32) for row in against_features(channels, 512, device)]
    header = ["case", "time", "against features", "to reach", "against torch's bilinear"]
    show("Measurements and features, 16 pixels a cell", header, rows, device)
    rows = [row for stride in (16, 8) for row in against_opencv(1024, stride, device)]
    show("One channel, against OpenCV's guided filter", ["case", "time", "against it", "to reach"], rows, device)
    show("One channel, growth", ["size", "time", "per pixel, since 512²", "to reach"], growth(device), device)


def against_features(channels: int, side: int, device: torch.device) -> list[list[str]]:
    """Time signals of many channels."""
    image = photograph(side, side, device)
    noise, explained = signals(image, STRIDE, channels)
    runs = {
        "bilinear": lambda: F.interpolate(noise, (side, side), mode="bilinear"),
        "features": lambda: omniup.upsample(image, noise, signal_type="features"),
        "measurement, explained": lambda: omniup.upsample(image, explained, signal_type="measurement"),
        "measurement, noise": lambda: omniup.upsample(image, noise, signal_type="measurement"),
    }
    times = in_turns(list(runs.values()), device, turns=5)
    return [
        [
            f"{channels} channels, {side}²: {name}",
            f"{statistics.median(run):.3f} s",
            f"{ratio(run, times[1]):.2f} ×",
            "≤ 1.5 ×" if name.startswith("measurement") else "",
            f"{ratio(run, times[0]):.2f} ×",
        ]
        for name, run in zip(runs, times, strict=True)
    ]


def against_opencv(side: int, stride: int, device: torch.device) -> list[list[str]]:
    """Time a map of one channel."""
    image = photograph(side, side, device)
    _, explained = signals(image, stride, 1)
    grid, peer = (explained.shape[2], explained.shape[3]), PEERS["opencv_guided_filter"].build()
    runs = {
        "OpenCV's guided filter": lambda: peer.prepare(image, grid).render(explained, "measurement"),
        "features": lambda: omniup.upsample(image, explained, signal_type="features"),
        "measurement": lambda: omniup.upsample(image, explained, signal_type="measurement"),
    }
    times, reach = in_turns(list(runs.values()), device), ("", "≤ 2 ×", "≤ 4 ×")
    return [
        [
            f"{side}², {stride} pixels a cell: {name}",
            f"{statistics.median(run):.3f} s",
            f"{ratio(run, times[0]):.2f} ×",
            to,
        ]
        for name, run, to in zip(runs, times, reach, strict=True)
    ]


def growth(device: torch.device) -> list[list[str]]:
    """Time a measurement of one channel at several sizes."""
    images = {side: photograph(side, side, device) for side in SIDES}

    def run(side: int) -> None:
        _, explained = signals(images[side], STRIDE, 1)
        for _ in range(repeats(side)):
            omniup.upsample(images[side], explained, signal_type="measurement")

    def repeats(side: int) -> int:
        return max(1, (1024 // side) ** 2)  # small images are rendered several times, or they would be lost in noise

    times = in_turns([lambda side=side: run(side) for side in SIDES], device, turns=3)  # type: ignore[misc]
    per_pixel = [[time / repeats(side) / side**2 for time in of] for side, of in zip(SIDES, times, strict=True)]
    return [
        [
            f"{side}²",
            f"{statistics.median(of) * side**2:.3f} s",
            f"{ratio(of, per_pixel[0]):.2f} ×",
            "≤ 1.15 ×" if side == SIDES[-1] else "",
        ]
        for side, of in zip(SIDES, per_pixel, strict=True)
    ]


def signals(image: Tensor, stride: int, channels: int) -> tuple[Tensor, Tensor]:
    """Make noise, and a measurement that the image explains: [1, channels, h, w] each."""
    grid = image.shape[2] // stride, image.shape[3] // stride
    brightness = cell_means(image, grid).mean(1, keepdim=True)  # [1, 1, h, w]
    scales = torch.linspace(1, 2, channels, device=image.device).view(1, -1, 1, 1)
    return torch.randn(1, channels, *grid, device=image.device), scales * brightness


if __name__ == "__main__":
    main()
