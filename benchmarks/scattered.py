"""Upsample scattered measurements of depth, and print the errors beside those without averaging them down first.

    python benchmarks/scattered.py DIR

DIR has the pairs `depth/NAME.npz` of docs/benchmarking.md. A part of the pixels is measured, independently of each
other, with seed 0. Errors are root-mean-square over all pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import omniup
from omniup.upsamplers.holes import fill_nearest
from omniup_bench.data import Folders, depth_pairs

PARTS = (0.002, 0.01, 0.05, 0.15)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--method", default=omniup.upsamplers.DEFAULT_METHOD)
    asked = parser.parse_args()
    print("| pair | measured | averaged down | as they are | nearest |")
    print("|---|---|---|---|---|")
    for name, image, depth in depth_pairs(Folders.of(asked.data)):
        size = depth.shape[2], depth.shape[3]
        for part in PARTS:
            valid = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0)) < part
            averaged = omniup.upsample(image, depth, valid=valid, method=asked.method)
            direct = omniup.upsampler(asked.method).prepare(image, size).render(depth, valid=valid)
            errors = (_rmse(made, depth) for made in (averaged, direct, fill_nearest(depth, valid)))
            cells = " | ".join(f"{error:.2f}" for error in errors)
            print(f"| {name} | {100 * part:g} % | {cells} |", flush=True)


def _rmse(result: Tensor, truth: Tensor) -> float:
    return float((result - truth).square().mean().sqrt())


if __name__ == "__main__":
    main()
