"""Time per pixel of rendering, as images grow: 32 channels, stride 16, the spec's window, 512 MB of memory."""

from __future__ import annotations

import statistics

import torch

from measure import device_argument, photograph, show
from omniup.evaluation.measuring import in_turns, ratio
from omniup.upsamplers import JointBilateral

SIDES = (256, 512, 1024, 2048, 4096)
STRIDE, CHANNELS, MEMORY = 16, 32, 512 * 2**20


def main() -> None:
    """Print the table."""
    device = device_argument(__doc__)

    def render(side: int) -> None:
        # The kernels are made anew each time, as they cost next to nothing and would fill the memory if all were kept.
        grid = (side // STRIDE, side // STRIDE)
        kernels = JointBilateral().prepare(photographs[side], grid)
        # All results are kept until the last, so that each size pays for fresh memory, not the large ones only.
        _ = [kernels.render(features[side], memory=MEMORY) for _ in range(repeats(side))]

    def repeats(side: int) -> int:
        return max(1, (1024 // side) ** 2)  # small images are rendered several times, or they would be lost in noise

    photographs = {side: photograph(side, side, device) for side in SIDES}
    features = {side: torch.randn(1, CHANNELS, side // STRIDE, side // STRIDE, device=device) for side in SIDES}
    times = in_turns([lambda side=side: render(side) for side in SIDES], device, turns=5)  # type: ignore[misc]
    per_pixel = [[time / repeats(side) / side**2 for time in run] for side, run in zip(SIDES, times, strict=True)]
    show(
        "Render, time per pixel",
        ["size", "time", "per pixel", "growth since 256²", "to reach"],
        [
            [
                f"{side}×{side}",
                f"{statistics.median(run) * side**2:.3f} s",
                f"{statistics.median(run) * 1e9:.1f} ns",
                f"{ratio(run, per_pixel[0]):.2f} ×",
                "≤ 1.15 ×" if side == SIDES[-1] else "",
            ]
            for side, run in zip(SIDES, per_pixel, strict=True)
        ],
        device,
    )


if __name__ == "__main__":
    main()
