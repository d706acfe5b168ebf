"""Upsample depth with holes, and print the errors beside those without holes.

    python benchmarks/holes.py DIR

DIR has the pairs `depth/NAME.npz` of docs/benchmarking.md. Of the cells of an 8× smaller grid a share is invalid,
independently of each other, with seed 0. Errors are root-mean-square, over the pixels whose own cell is valid and over
the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import omniup
from omniup.mixing import cell_means
from omniup_bench.data import Folders, depth_pairs, grid_of

METHODS = ("bilinear", "bicubic", "guided_filter", "joint_bilateral", "pyramid_bilateral")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--invalid", type=float, default=0.3, help="the share of cells that are holes")
    parser.add_argument("--factor", type=int, default=8)
    asked = parser.parse_args()
    print("| pair | method | own cell valid: no holes | holes | ratio | own cell a hole: no holes | holes | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for name, image, depth in depth_pairs(Folders.of(asked.data)):
        grid = grid_of(image, asked.factor)
        low = cell_means(depth, grid)
        valid = torch.rand(1, 1, *grid, generator=torch.Generator().manual_seed(0)) >= asked.invalid
        own = F.interpolate(valid.float(), depth.shape[2:], mode="nearest-exact") > 0
        for method in METHODS:
            without = omniup.upsample(image, low, method=method)
            holes = omniup.upsample(image, low.masked_fill(~valid, torch.nan), valid=valid, method=method)
            cells = []
            for where in (own, ~own):
                before, after = (_rmse(result, depth, where) for result in (without, holes))
                cells += [f"{before:.2f}", f"{after:.2f}", f"{after / before:.2f}"]
            print(f"| {name} | `{method}` | {' | '.join(cells)} |", flush=True)


def _rmse(result: Tensor, truth: Tensor, where: Tensor) -> float:
    return float((result - truth)[where].square().mean().sqrt())


if __name__ == "__main__":
    main()
