"""Time methods on a strip of 1 × N pixels against a square of as many: `python benchmarks/strips.py`."""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import omniup


def seconds(method: str, signal_type: str, size: tuple[int, int], stride: int, channels: int, repeats: int) -> float:
    """Return the median time of an upsampling of random values."""
    generator = torch.Generator().manual_seed(0)
    grid = tuple(max(1, side // stride) for side in size)
    image = torch.rand(1, 3, *size, generator=generator)
    signal = torch.rand(1, channels, *grid, generator=generator)
    if signal_type == "probabilities":
        signal = signal / signal.sum(1, keepdim=True)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        omniup.upsample(image, signal, method=method, signal_type=signal_type)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Print a table with the ratio of strip to square."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pixels", type=int, default=200_000, help="pixels of the strip; the square has about as many")
    parser.add_argument("--stride", type=int, default=16, help="pixels per cell along each side")
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    side = round(options.pixels**0.5 / options.stride) * options.stride
    print("| method | signal type | square, s | 1 × N, s | N × 1, s | ratio |\n|---|---|---|---|---|---|")
    rest = options.stride, options.channels, options.repeats
    for method, signal_type in (
        ("joint_bilateral", "features"),
        ("pyramid_bilateral", "features"),
        ("pyramid_bilateral", "probabilities"),
        ("pyramid_bilateral", "measurement"),
        ("bilinear", "features"),
        ("guided_filter", "features"),
    ):
        shapes = (side, side), (1, options.pixels), (options.pixels, 1)
        square, wide, high = (seconds(method, signal_type, shape, *rest) for shape in shapes)
        ratio = max(wide, high) / square
        print(f"| {method} | {signal_type} | {square:.3f} | {wide:.3f} | {high:.3f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
