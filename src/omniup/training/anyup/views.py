"""Cut views out of square photographs: reduced guidance, and local crops aligned with a backbone's cells.

The backbone sees the guidance and gives features [s/p, s/p], p its patch. The upsampler brings these to [S/p, S/p], S
the side of the photograph: the grid that the backbone would have on the photograph itself. That is never computed.
Instead the backbone sees crops of it, [c/p, c/p], and their features are the targets for that part of the result.

Without crops, the photograph is the guidance, and what the backbone gives for all of it is the target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from omniup.training.anyup.configuration import DataSettings
from omniup.training.photographs import reduce


@dataclass(frozen=True, eq=False)
class Views:
    """The views of a batch of photographs.

    Attributes:
        guidance: [B, 3, s, s]; without crops [B, 3, S, S].
        reduced: [B, 3, s, s] or, of `whole` views, [B, 3, S, S]: what the low-resolution features are of.
        crops: [B, K, 3, c, c]; of no crops there is one, c = S.
        corners: [B, K, 2], whole numbers: row and column of each crop's first cell among the S/p × S/p.
        cells: c/p, of a crop's side.
        size: (S/p, S/p).
    """

    guidance: Tensor
    reduced: Tensor
    crops: Tensor
    corners: Tensor
    cells: int
    size: tuple[int, int]


def cut(images: Tensor, patch: int, settings: DataSettings, random: np.random.Generator) -> Views:
    """Cut views out of photographs, the crops at random cells.

    Args:
        images: [B, 3, S, S].
        patch: the side of a cell, in pixels, which divides all sides.
        settings: the sides.
        random: what draws the corners.
    """
    side = settings.image_size // patch
    crop = settings.crop_size // patch if settings.crops else side
    corners = random.integers(side - crop, size=(len(images), settings.crops or 1, 2), endpoint=True)
    crops = [
        image[:, patch * row : patch * (row + crop), patch * column : patch * (column + crop)]
        for image, places in zip(images, corners.tolist(), strict=True)
        for row, column in places
    ]
    reduced = reduce(images, settings.input_size)
    return Views(
        guidance=reduced if settings.crops else images,
        reduced=reduced,
        crops=torch.stack(crops).unflatten(0, corners.shape[:2]),
        corners=torch.from_numpy(corners),
        cells=crop,
        size=(side, side),
    )


def whole(images: Tensor, patch: int, settings: DataSettings) -> Views:
    """View photographs as a whole: the features are theirs, the guidance is reduced, and the target half a cell finer.

    Args:
        images: [B, 3, S, S].
        patch: as in `cut`.
        settings: likewise.
    """
    side = 2 * (settings.image_size // patch)
    corners = torch.zeros(len(images), 1, 2, dtype=torch.long)
    guidance = reduce(images, settings.input_size)
    return Views(guidance, reduced=images, crops=images[:, None], corners=corners, cells=side, size=(side, side))


def regions(maps: Tensor, corners: Tensor, cells: int) -> Tensor:
    """Cut the crops' parts out of maps.

    Args:
        maps: [B, C, H, W].
        corners: [B, K, 2], of `Views`.
        cells: the side of each part.

    Returns:
        [B·K, C, cells, cells].
    """
    return torch.stack(
        [
            one[:, row : row + cells, column : column + cells]
            for one, places in zip(maps, corners.tolist(), strict=True)
            for row, column in places
        ]
    )
