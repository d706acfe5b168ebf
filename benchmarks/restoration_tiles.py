"""How well neighbouring tiles agree, with the statistics of the norms each tile's own and shared, at random weights.

For every way: by how much neighbouring tiles differ in their overlap, relative to the deviation of the texture there,
weighted as they are blended (median and largest), and where all of the overlap counts alike (median); by how much the
blended picture differs from the untiled one, relative to its deviation; and seconds. Networks are Stable Diffusion
2.1's in bf16, the same at a quarter of their widths in fp32, which has the same receptive field, and the tiny model.

Statistics are gathered of the picture reduced to a tile; of a tile in its middle, which is what `Enhancer` does; of
four tiles, one after the other, pooled by the law of total variance; or of the whole picture, for which memory does not
suffice in practice.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

import restoration
from measure import photograph, show
from omniup.evaluation.measuring import synchronise
from omniup.restoration import Enhancer, Restorer, tile_windows
from omniup.restoration.agreement import Agreement, tiled_in_agreement
from omniup.restoration.enhancer import middle
from omniup.restoration.plan import Plan, plan_tiles
from omniup.restoration.residual_network import ResidualNetwork
from omniup.restoration.shared_norms import shared_norms
from omniup.restoration.sizes import resize

HEADER = ["networks", "overlap", "norms", "median", "largest", "unweighted", "to untiled", "clock", "processor"]

Gather = Callable[["Setup", Plan], object]


@dataclass(frozen=True, eq=False)
class Setup:
    """A picture before its networks: cells [1, 3·f² + L, h, w] and text [1, T, D]."""

    enhancer: Enhancer
    cells: Tensor
    text: Tensor

    def restore(self, cells: Tensor) -> Tensor:
        """Restore cells [n, 3·f² + L, h, w] as one tile each."""
        return self.enhancer._restore(cells, self.text)


def reduced(setup: Setup, plan: Plan) -> object:
    """Gather from the picture reduced to a tile."""
    networks, sides = setup.enhancer.networks, setup.cells.shape[2:]
    share = min(part / whole for part, whole in zip(plan.size, sides, strict=True))
    tall, wide = (int(side * share) for side in sides)
    pixels = F.pixel_shuffle(setup.cells[:, : -networks.latent_channels], networks.cell)  # [1, 3, H, W]
    small = resize(pixels, (tall * networks.cell, wide * networks.cell))
    noise = setup.cells[:, -networks.latent_channels :, :tall, :wide]
    return setup.restore(torch.cat([F.pixel_unshuffle(small, networks.cell), noise], dim=1))


def in_the_middle(setup: Setup, plan: Plan) -> object:
    """Gather from the middle of the picture, as `Enhancer` does."""
    return setup.restore(middle(setup.cells, plan.size))


def four(setup: Setup, plan: Plan) -> object:
    """Gather from the middles of the quarters of the picture, one after the other."""
    (height, width), (tall, wide) = setup.cells.shape[2:], plan.size
    tops, lefts = ([part * (side - size) // 4 for part in (1, 3)] for side, size in ((height, tall), (width, wide)))
    return [setup.restore(setup.cells[:, :, top : top + tall, left : left + wide]) for top in tops for left in lefts]


def whole(setup: Setup, plan: Plan) -> object:
    """Gather from the whole picture."""
    return setup.restore(setup.cells)


WAYS: Mapping[str, Gather | None] = {
    "own": None,
    "of the picture reduced to a tile": reduced,
    "of a tile in the middle": in_the_middle,
    "of four tiles": four,
    "of the whole picture": whole,
}

ALL = [(1 / 4, "own"), *((3 / 8, way) for way in WAYS)]
MAIN = [(1 / 4, "own"), (3 / 8, "of a tile in the middle")]  # before, and as `Enhancer` does it


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--networks", default="tiny,narrow,full", help="which of them, with commas between")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    chosen = arguments.networks.split(",")
    rows = []
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    if "tiny" in chosen:
        tiny = Enhancer.from_pretrained("tiny", device=device, precision="fp32")
        rows += measure("tiny", tiny, 384, 160, ALL)
    if "narrow" in chosen:
        narrow = Enhancer(restoration.stable_diffusion(narrower=4), device=device, precision="fp32")
        rows += measure("SD 2.1, a quarter as wide", narrow, 512, 352, ALL)
    if "full" in chosen:
        full = Enhancer(restoration.stable_diffusion(), device=device, precision="bf16")
        rows += measure("SD 2.1", full, 448, 320, MAIN)
    show("Tiles of one picture", HEADER, rows, device)
    header = ["tiles", "largest difference to untiled", "deviation of what it adds"]
    show("The small restorer, in 0..1", header, [small(device)], device)


def measure(name: str, enhancer: Enhancer, side: int, tile: int, ways: list[tuple[float, str]]) -> list[list[str]]:
    """Restore the sample photograph in tiles, in some ways: a row for each."""
    image = photograph(side, side, enhancer.device)
    setup = Setup(enhancer, enhancer._cells(image, seed=0), enhancer._text(""))
    untiled = setup.restore(setup.cells)  # [1, 3, H, W] in -1..1
    rows = []
    for overlap, way in ways:
        plan = cut(setup, tile, overlap)
        began, spent = time.perf_counter(), time.process_time()
        made, agreement, plain = tiled(setup, plan, WAYS[way])
        synchronise(enhancer.device)
        clock, processor = time.perf_counter() - began, time.process_time() - spent
        apart = float((made - untiled).square().mean().sqrt() / deviation(untiled))
        sides = " × ".join(str(length * enhancer.networks.cell) for length in plan.size)
        rows.append(
            [
                f"{name}, {plan.grid[0]} × {plan.grid[1]} of {sides}",
                f"{overlap * enhancer.networks.recipe.patch:.0f} px",
                way,
                *(f"{value:.3f}" for value in (agreement.median, agreement.largest, plain, apart)),
                f"{clock:.0f} s",
                f"{processor:.0f} s",
            ]
        )
        print(*rows[-1], sep=" | ", flush=True)  # a run may take minutes
    return rows


def cut(setup: Setup, tile: int, overlap: float) -> Plan:
    """Lay out tiles as `Enhancer.plan` does, with an overlap in patches."""
    networks = setup.enhancer.networks
    patch = networks.recipe.patch / networks.cell
    height, width = setup.cells.shape[2:]
    return plan_tiles(
        height,
        width,
        overlap=round(patch * overlap),
        smallest=round(patch / 2),
        largest=tile // networks.cell,
        most=height * width,
    )


def tiled(setup: Setup, plan: Plan, gather: Gather | None) -> tuple[Tensor, Agreement, float]:
    """Restore tile by tile: the result, the agreement as blended, and the median difference without weights."""
    enhancer, tiles = setup.enhancer, []

    def restore(cells: Tensor) -> Tensor:
        tiles.append(setup.restore(cells))
        return tiles[-1]

    run = tiled_in_agreement(restore, size=plan.size, stride=plan.stride, scale=enhancer.networks.cell, batch=1)
    vae, unet = enhancer.networks.vae, enhancer.networks.unet
    with nullcontext() if gather is None else shared_norms(vae, unet, gather=lambda: gather(setup, plan)):
        made, agreement = run(setup.cells)
    return made, agreement, unweighted(setup, plan, tiles)


def unweighted(setup: Setup, plan: Plan, tiles: list[Tensor]) -> float:
    """Median difference of neighbouring tiles where all of their overlap counts alike, relative to its deviation."""
    cell, (_, columns) = setup.enhancer.networks.cell, plan.grid
    windows = (cell * tile_windows(*setup.cells.shape[2:], size=plan.size, stride=plan.stride)).tolist()
    pairs = [
        (first, second)
        for first in range(len(windows))
        for second in (first + 1, first + columns)
        if second < len(windows) and (second == first + columns or second % columns)
    ]
    found = []
    for pair in pairs:
        top, left = (max(windows[index][edge] for index in pair) for edge in (0, 2))
        bottom, right = (min(windows[index][edge] for index in pair) for edge in (1, 3))
        one, other = (
            tiles[index][
                ...,
                top - windows[index][0] : bottom - windows[index][0],
                left - windows[index][2] : right - windows[index][2],
            ]
            for index in pair
        )  # [1, 3, h, w]
        found.append(float((one - other).square().mean().sqrt() / deviation((one + other) / 2)))
    return statistics.median_low(found)


def deviation(image: Tensor) -> Tensor:
    """Standard deviation of a picture [1, 3, H, W], over its pixels."""
    return image.var((2, 3)).mean().sqrt()


def small(device: torch.device) -> list[str]:
    """Compare the tiles of the small restorer, at random weights, with its untiled result."""
    torch.manual_seed(0)
    network = ResidualNetwork()
    torch.nn.init.normal_(network.tail.weight, std=0.01)
    restorer = Restorer(network, "random", device=device, precision="fp32")
    image = photograph(600, 800, device)
    untiled = restorer(image)
    apart, added = (restorer(image, tile=512) - untiled).abs().max(), (untiled - image).std()
    return ["3 × 4 of 256 × 256 pixels, each with its margin of 128", f"{float(apart):.1e}", f"{float(added):.2f}"]


if __name__ == "__main__":
    main()
