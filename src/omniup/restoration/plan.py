"""Plan the tiles of a picture: as few pixels as the memory allows, since overlaps are computed twice.

Tiles are as large as fits, up to a limit, spread evenly over the picture, and need not be square. All lengths here are
in cells of the latents, so that every tile comes to whole cells.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import ceil

import torch

from omniup.errors import InputError, optional_import

_AT_ONCE = 8  # tiles at a time: more are no faster

_FRACTION = 0.5  # of the memory that is free: others need some as well, and what is free is never in one piece


@dataclass(frozen=True)
class Plan:
    """Tiles of a picture, in cells.

    Attributes:
        size: of a tile, (height, width).
        stride: from one tile to the next, (down, across).
        grid: how many tiles there are, (rows, columns).
        batch: how many of them are computed at a time.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    grid: tuple[int, int]
    batch: int

    @property
    def cells(self) -> int:
        """Number of cells computed, each as often as tiles lie over it."""
        return self.size[0] * self.size[1] * self.grid[0] * self.grid[1]


def plan_tiles(
    height: int, width: int, *, overlap: int, smallest: int, largest: int, most: int, pictures: int = 1
) -> Plan:
    """Find the tiles that compute the fewest cells.

    Args:
        height: of the picture, in cells.
        width: of the picture, in cells.
        overlap: of neighbouring tiles, at least; less than `smallest`.
        smallest: side of a tile; a picture's side that is shorter is not cut.
        largest: side of a tile.
        most: how many cells may be in work at a time.
        pictures: how many there are; where each is one tile, several go together.

    Raises:
        InputError: `most` is less than the smallest tile.

    Example:
        >>> plan_tiles(128, 128, overlap=16, smallest=32, largest=128, most=72 * 72)
        Plan(size=(72, 72), stride=(56, 56), grid=(2, 2), batch=1)
    """
    plans = [
        Plan((tall, wide), (down, across), (rows, columns), batch=1)
        for (rows, tall, down), (columns, wide, across) in itertools.product(
            _cuts(height, overlap, smallest, largest), _cuts(width, overlap, smallest, largest)
        )
        if tall * wide <= most
    ]
    if not plans:
        raise InputError(
            "most", "is {value} cells, which hold no tile", "{least} or more", value=most, least=smallest**2
        )
    best = min(plans, key=lambda plan: (plan.cells, plan.size))
    tiles = best.grid[0] * best.grid[1]
    together, fit = tiles if tiles > 1 else pictures, most // (best.size[0] * best.size[1])
    return Plan(best.size, best.stride, best.grid, batch=min(together, fit, _AT_ONCE))


def free_memory(device: torch.device) -> int:
    """Return the bytes that may well be used on a device: half of those that are free."""
    if device.type == "cuda":
        # what torch has taken and does not use is free as well
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + unused
    elif device.type == "mps":
        free = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    else:
        free = optional_import("psutil", extra="restore").virtual_memory().available
    return int(free * _FRACTION)


def _cuts(length: int, overlap: int, smallest: int, largest: int) -> list[tuple[int, int, int]]:
    """List the ways to cut one axis evenly: how many tiles, their size, and from one to the next."""
    found = []
    least = min(smallest, length)
    for count in range(1, length + 1):
        size = max(least, ceil((length + (count - 1) * overlap) / count))
        if size <= largest:
            # Even steps, since the last tile ends at the border: where it lies almost on its neighbour, it leaves much
            # weight to the pixels at that one's border, which see too little of what is around them.
            found.append((count, size, size if count == 1 else ceil((length - size) / (count - 1))))
        if size == least:
            break
    return found
