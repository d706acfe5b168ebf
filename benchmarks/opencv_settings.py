"""Find the best settings of OpenCV's guided filters on the images that settings are tuned on, for `omniup_bench.peers`.

    python benchmarks/opencv_settings.py --data DIR

Prints, for each filter and kind of data, the best settings of a grid with their scores, beside those of interpolation.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from omniup.upsamplers import Upsampler, upsampler
from omniup_bench.catalogue import find_task
from omniup_bench.data import Folders
from omniup_bench.peers import FastGlobalSmoother, GuidedFilter, JointBilateralFilter
from omniup_bench.quality import evaluate, total

IMAGES = 4

GRIDS: Mapping[Callable[..., Upsampler], Mapping[str, tuple[float, ...]]] = {
    GuidedFilter: {"radius": (0.25, 0.35, 0.5, 0.75, 1), "eps": (0.003, 0.006, 0.01, 0.02)},
    # wider kernels take minutes an image: at a sigma of 1.5 depth differs by 1 %, and streets lose a point
    JointBilateralFilter: {"sigma": (0.25, 0.35, 0.5, 0.75, 1), "sigma_color": (0.05, 0.1, 0.25)},
    FastGlobalSmoother: {"smoothness": (0.03, 0.1, 0.3, 1, 3, 10), "sigma_color": (0.006, 0.01, 0.02, 0.05)},
}

DATA: Mapping[str, tuple[tuple[str, int, str], ...]] = {
    "depth": (("depth", 8, "rmse"), ("depth", 16, "rmse")),
    "masks": (("masks", 16, "near_accuracy"),),
    "street_scenes": (("probabilities", 16, "miou"), ("probabilities", 16, "trimap_miou@6")),
}
"""By preset, what its settings are to be best at: tasks, factors and metrics, whose logarithms are averaged."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of data sets")
    folders = Folders.of(parser.parse_args().data)
    for preset, aims in DATA.items():
        print(preset, *(f"{task} {factor}× {metric}" for task, factor, metric in aims), sep=" | ")
        for name in ("bilinear", "bicubic"):
            print(name, *_texts(_scores(upsampler(name), preset, folders)), sep=" | ")
        for build, grid in GRIDS.items():
            settings = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
            found = [(_scores(build(**each), preset, folders), build(**each)) for each in settings]
            scores, best = max(found, key=lambda each: _merit(each[0], preset))
            print(best, *_texts(scores), sep=" | ", flush=True)


def _scores(method: Upsampler, preset: str, folders: Folders) -> list[float]:
    """Score a method on what a preset aims at."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for name, factor, _ in DATA[preset]:
        if (name, factor) not in found:
            task = find_task(name, "tune")
            statistics = (each for _, each in evaluate(task, method, folders, factor, IMAGES))
            found[name, factor] = task.scores(total(statistics))
    return [found[name, factor][metric] for name, factor, metric in DATA[preset]]


def _merit(scores: list[float], preset: str) -> float:
    """Add the scores' logarithms, those of errors with a minus."""
    more_is_better = (find_task(name).metrics[metric] for name, _, metric in DATA[preset])
    return sum(
        math.log(score) if more else -math.log(score) for score, more in zip(scores, more_is_better, strict=True)
    )


def _texts(scores: list[float]) -> list[str]:
    return [f"{score:.2f}" for score in scores]


if __name__ == "__main__":
    main()
