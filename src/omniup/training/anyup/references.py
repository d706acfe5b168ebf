"""Draw what a batch's results are compared with.

`enlarged`: a backbone's features of local crops of the photograph, whose cells cover less of the scene (the paper's).
`moved`: its features of the same image shifted by half a cell: what it gives in between, at the same scale.
`segments`: segments that people outlined; their fractions of the cells are upsampled, with the keys of the features.

References pull in different directions: enlarged features have detail of their own, moved ones vary smoothly, and
segments have sharp borders where an object ends and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from omniup.training.anyup.configuration import Reference
from omniup.training.photographs import Squares
from omniup.training.randomness import draw


@dataclass(frozen=True)
class Draws:
    """References of the batches, each drawn by the seed and the batch's number alone.

    Attributes:
        weights: of the references, by which they are drawn; at least one is above 0.
        seed: of what is drawn.
    """

    weights: dict[Reference, float]
    seed: int

    def __call__(self, number: int) -> Reference:
        """Return the reference of a batch."""
        total = sum(self.weights.values())
        fractions = [weight / total for weight in self.weights.values()]
        return list(self.weights)[draw(self.seed, "reference", number).choice(len(fractions), p=fractions)]


class DrawnSquares(Dataset[Tensor]):
    """Squares of the photographs that the reference of a position's batch needs.

    Args:
        squares: the datasets by reference, of the same positions.
        references: of the batches.
        together: positions of a batch in all processes.
    """

    def __init__(self, squares: dict[Reference, Squares], references: Draws, together: int) -> None:
        self.squares, self.references, self.together = squares, references, together

    def __getitem__(self, position: int) -> Tensor:
        """Read the square at a position; see `Squares`."""
        return self.squares[self.references(position // self.together)][position]


def moved(encode: Callable[[Tensor], Tensor], images: Tensor, patch: int) -> Tensor:
    """Compute features in cells half as large, by shifting the images and interleaving (Long et al. 2015).

    Args:
        encode: images [B, 3, H, W] to features [B, C, h, w].
        images: [B, 3, H, W].
        patch: the side of a cell, in pixels, even.

    Returns:
        [B, C, 2 h, 2 w].
    """
    height, width = images.shape[2:]
    padded = F.pad(images, [patch // 4] * 4, mode="replicate")  # centres are a quarter of a cell off
    starts = 0, patch // 2
    parts = [encode(padded[:, :, y : y + height, x : x + width]) for y in starts for x in starts]  # [B, C, h, w] each
    return F.pixel_shuffle(torch.stack(parts, dim=2).flatten(1, 2), 2)
