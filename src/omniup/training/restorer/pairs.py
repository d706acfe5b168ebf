"""Make batches of degraded photographs: what is done to each follows from the seed and the batch's number alone.

Degrading takes as long as a step of the network on a CPU, so it is a part of the dataset: with `data.workers` it runs
in processes of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

from omniup.restoration.degradation import degrade
from omniup.restoration.residual_network import LEVELS
from omniup.training.hypir.data import Squares, find_photographs
from omniup.training.randomness import draw
from omniup.training.restorer.configuration import Configuration
from omniup.training.restorer.levels import known_levels


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
        """Read a batch: `lq` and `target` [B, 3, S, S] in 0..1, `known` [B, 3] levels, and `given` [B, 1].

        Raises:
            InputError: as `Squares`.
        """
        images = torch.stack([self.squares[position][0] for position in positions])
        return self.degraded(images, positions[0] // (self.configuration.batch * self.processes))

    def degraded(self, images: Tensor, number: int) -> dict[str, Tensor]:
        """Degrade photographs [B, 3, S, S] group by group, for the batch of this number."""
        configuration = self.configuration
        choices = list(configuration.degradations.values())
        chances = [choice.weight / sum(choice.weight for choice in choices) for choice in choices]
        random = draw(configuration.seed, "degradation", number, self.process)
        side = configuration.data.image_size - configuration.data.border
        made: dict[str, list[Tensor]] = {"lq": [], "target": [], "known": []}
        for group in images.split(configuration.group):
            choice = choices[int(random.choice(len(choices), p=chances))]
            lq, target, known = group, group, torch.zeros(len(group), len(LEVELS))
            if choice.settings is not None:
                generator = torch.Generator().manual_seed(int(random.integers(2**63)))
                lq, target, draws = degrade(group, choice.settings, generator)
                known = known_levels(draws) if choice.known else torch.full_like(known, torch.nan)
            top, left = random.integers(configuration.data.border, endpoint=True, size=2).tolist()
            for name, maps in (("lq", lq), ("target", target)):
                made[name].append(maps[:, :, top : top + side, left : left + side])
            made["known"].append(known)
        batch = {name: torch.cat(parts).contiguous() for name, parts in made.items()}
        return batch | {"given": torch.from_numpy(random.random((len(images), 1)) < 0.5)}
