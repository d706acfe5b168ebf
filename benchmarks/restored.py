"""How close restored pictures come to what they were, against the degraded ones, which are bicubic enlargements.

    omniup degrade photos pairs --config examples/restorer_heavy.yaml --seed 0
    omniup restore pairs/lq --scale 1 -o restored
    python benchmarks/restored.py pairs restored

Differences are paired, picture by picture; behind ± stands the standard error of their mean.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from measure import gained, show
from omniup.evaluation.metrics import psnr, ssim
from omniup.files import read_image

METRICS: dict[str, tuple[Callable[[Tensor, Tensor], float], str]] = {"PSNR": (psnr, ".2f"), "SSIM": (ssim, ".4f")}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, help="what `omniup degrade` wrote: gt/ and lq/")
    parser.add_argument("restored", type=Path, nargs="+", help="what `omniup restore` made of lq/, in as many ways")
    arguments = parser.parse_args()
    names = sorted(path.relative_to(arguments.pairs / "lq") for path in (arguments.pairs / "lq").rglob("*.png"))
    ways = {"degraded, bicubic": arguments.pairs / "lq"} | {str(folder): folder for folder in arguments.restored}
    found: dict[str, dict[str, list[float]]] = {way: {metric: [] for metric in METRICS} for way in ways}
    for name in names:
        target = read_image(arguments.pairs / "gt" / name)
        for way, folder in ways.items():
            picture = read_image(folder / name)
            for metric, (measure, _) in METRICS.items():
                found[way][metric].append(measure(picture, target))
    (bicubic, *restored) = found
    rows = [[bicubic, *(f"{statistics.mean(found[bicubic][metric]):{form}}" for metric, (_, form) in METRICS.items())]]
    for way in restored:
        row = [way]
        for metric, (_, form) in METRICS.items():
            ours = found[way][metric]
            row.append(f"{statistics.mean(ours):{form}} ({gained(ours, found[bicubic][metric], form)})")
        rows.append(row)
    show(f"{len(names)} photographs", ["", *METRICS], rows, torch.device("cpu"))


if __name__ == "__main__":
    main()
