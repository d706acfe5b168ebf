"""Read photographs as squares: the endless, repeatable sequence for training, and the fixed few for validation.

The photograph at a position of the sequence, and what is cut out of it, depend on the seed and the position alone. So
the state of the sampler is one number, whatever is decoded ahead and however many processes share the work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from omniup.errors import InputError
from omniup.files import SAMPLE, find_images, read_photograph
from omniup.files.images import ACCEPTED
from omniup.training.randomness import draw


def photographs(sources: Sequence[str]) -> list[str]:
    """List the photographs of a configuration, folders in alphabetical order, without their subfolders.

    Args:
        sources: photographs, folders, `sample:NAME`.

    Raises:
        InputError: a folder holds none.
    """
    found: list[str] = []
    for source in sources:
        if source.startswith(SAMPLE) or not Path(source).is_dir():
            found.append(source)
            continue
        inside = find_images(source)
        if not inside:
            raise InputError(source, "holds no photographs", ACCEPTED)
        found.extend(map(str, inside))
    return found


def reduce(images: Tensor, size: int) -> Tensor:
    """Resize images [B, 3, H, W] to squares of `size` pixels: bilinear, antialiased where they shrink."""
    if images.shape[2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True).clamp(0, 1)  # against rounding


def central_square(image: Tensor) -> Tensor:
    """Crop [B, C, H, W] to the central square [B, C, side, side]."""
    height, width = image.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[:, :, top : top + side, left : left + side]


class Squares(Dataset[Tensor]):
    """Random squares of photographs: [3, side, side] in 0..1, at any position from 0 on.

    Each run through all photographs has an order of its own. Of a photograph, a square is taken whose side lies between
    `side`, so that nothing is enlarged, and all that the photograph has; half of the squares are mirrored.

    Args:
        sources: the photographs.
        side: in pixels.
        seed: of what is drawn.
    """

    def __init__(self, sources: Sequence[str], side: int, seed: int) -> None:
        self.sources, self.side, self.seed = sources, side, seed
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def __getitem__(self, position: int) -> Tensor:
        """Read the photograph at a position, and cut a square out.

        Raises:
            InputError: it cannot be read.
        """
        turn, place = divmod(position, len(self.sources))
        image = self._read(self.sources[self._order(turn)[place]])  # [1, C, H, W]
        random = draw(self.seed, "square", position)
        height, width = image.shape[2:]
        whole = min(height, width)
        side = int(random.integers(min(self.side, whole), whole, endpoint=True))
        top, left = (int(random.integers(length - side, endpoint=True)) for length in (height, width))
        square = self._reduce(image[:, :, top : top + side, left : left + side])
        return (square.flip(3) if random.random() < 0.5 else square)[0]

    def _read(self, source: str) -> Tensor:
        """Read what squares are cut out of: [1, 3, H, W]."""
        return read_photograph(source)

    def _reduce(self, square: Tensor) -> Tensor:
        """Resize a square [1, 3, S, S] to `side`."""
        return reduce(square, self.side)

    def _draw_order(self, turn: int) -> NDArray[np.int64]:
        return draw(self.seed, "order", turn).permutation(len(self.sources))


class Positions(Sampler[list[int]]):
    """Positions of the sequence that the batches of one process have.

    Args:
        first: the first batch.
        last: the batch before which to end.
        size: of a batch.
        process: the number of this process.
        processes: how many share the sequence.
    """

    def __init__(self, first: int, last: int, size: int, process: int = 0, processes: int = 1) -> None:
        self.first, self.last, self.size, self.process, self.processes = first, last, size, process, processes

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.first, self.last):
            start = (batch * self.processes + self.process) * self.size
            yield list(range(start, start + self.size))

    def __len__(self) -> int:
        return self.last - self.first


def batches(squares: Dataset[Tensor], positions: Positions, workers: int) -> Iterator[Tensor]:
    """Read batch after batch, [B, 3, side, side], in as many processes as asked for."""
    return iter(DataLoader(squares, batch_sampler=positions, num_workers=workers))


def measured_squares(sources: Sequence[str], count: int, side: int) -> Tensor:
    """Read the central squares of the first `count` photographs, [N, 3, side, side].

    Raises:
        InputError: there are no photographs, or one cannot be read.
    """
    chosen = photographs(sources)[:count]
    return torch.cat([reduce(central_square(read_photograph(source)), side) for source in chosen])
