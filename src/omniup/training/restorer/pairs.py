"""Make batches of degraded photographs: what is done to each follows from the seed and the batch's number alone.

Degrading takes as long as a step of the network on a CPU, so it is a part of the dataset: with `data.workers` it runs
in processes of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from omniup.restoration.degradation import degrade
from omniup.restoration.residual_network import LEVELS
from omniup.training.randomness import draw
from omniup.training.restoration import Squares, find_photographs
from omniup.training.restorer.configuration import Configuration
from omniup.training.restorer.levels import known_levels

GIVEN = (0.2, 0.5, 0.0)
"""Probability that the network takes each of the `LEVELS` as it is known, and not as it is estimated.

The quality of JPEG is known of files, half of what is restored. Of noise and blur there is an estimate only, which is
wrong where fine texture looks like noise, or a photograph is soft by itself, and so the network learns how far to trust
it. Blur never is known; noise is now and then, so that a level that the user names has its effect.
"""


class Pairs(Dataset[dict[str, Tensor]]):
    """Batches of squares, degraded and sharp, by the positions of their photographs.

    Args:
        configuration: of photographs and degradations.
        process: the number of this process.
        processes: how many share the sequence.
    """

    def __init__(self, configuration: Configuration, process: int = 0, processes: int = 1) -> None:
        self.configuration, self.process, self.processes = configuration, process, processes
        self.squares = Squares(find_photographs(configuration.data), configuration.data, configuration.seed)

    def __getitem__(self, positions: list[int]) -> dict[str, Tensor]:
        """Read a batch; its images are to be enlarged by one scale s.

        Returns:
            `lq` [B, 3, S/s, S/s] and `target` [B, 3, S, S] in 0..1, `known` levels [B, 3] and `given` [B, 3], whether
            the network takes them.

        Raises:
            InputError: as `Squares`.
        """
        images = torch.stack([self.squares[position][0] for position in positions])
        return self.degraded(images, positions[0] // (self.configuration.batch * self.processes))

    def degraded(self, images: Tensor, number: int) -> dict[str, Tensor]:
        """Degrade photographs [B, 3, S, S] group by group, for the batch of this number."""
        configuration = self.configuration
        random = draw(configuration.seed, "degradation", number, self.process)
        scale = 1 + _choose(configuration.scales, random)
        choices = list(configuration.degradations.values())
        border = configuration.data.border // scale
        side = (configuration.data.image_size - configuration.data.border) // scale
        made: dict[str, list[Tensor]] = {"lq": [], "target": [], "known": []}
        for group in images.split(configuration.group):
            choice = choices[_choose([choice.weight for choice in choices], random)]
            lq = _reduced(group, scale, random)  # [b, 3, N, N]
            target, known = group, torch.zeros(len(group), len(LEVELS))
            if choice.settings is not None:
                generator = torch.Generator().manual_seed(int(random.integers(2**63)))
                lq, sharpened, draws = degrade(lq, choice.settings, generator)
                target = sharpened if scale == 1 else target
                known = known_levels(draws) if choice.known else torch.full_like(known, torch.nan)
            top, left = random.integers(border, endpoint=True, size=2).tolist()
            made["lq"].append(lq[:, :, top : top + side, left : left + side])
            top, left, length = scale * top, scale * left, scale * side
            made["target"].append(target[:, :, top : top + length, left : left + length])
            made["known"].append(known)
        batch = {name: torch.cat(parts).contiguous() for name, parts in made.items()}
        given = random.random((len(images), len(LEVELS))) < GIVEN
        return batch | {"given": torch.from_numpy(given)}


def _choose(weights: Sequence[float], random: np.random.Generator) -> int:
    """Draw an index, each as likely as its weight is large."""
    return int(random.choice(len(weights), p=[weight / sum(weights) for weight in weights]))


def _reduced(images: Tensor, scale: int, random: np.random.Generator) -> Tensor:
    """Reduce images [B, 3, S, S] to 1/scale, by area or bicubically; what is left over at the end is cut off."""
    if scale == 1:
        return images
    if random.random() < 0.5:
        return F.avg_pool2d(images, scale)
    side = images.shape[2] // scale
    whole = images[:, :, : scale * side, : scale * side]
    return F.interpolate(whole, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
