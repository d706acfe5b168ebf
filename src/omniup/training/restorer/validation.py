"""Validate the small restorer on whole photographs that it is not trained on, always degraded in the same ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from PIL import Image
from torch import Tensor

from omniup.evaluation.metrics import psnr, ssim
from omniup.files import read_photograph
from omniup.restoration.degradation import degrade
from omniup.restoration.residual_network import ResidualNetwork
from omniup.training.restoration import find_photographs
from omniup.training.restorer.configuration import DegradationSettings, ValidationSettings
from omniup.visualize import Panel, sheet

SEED = 0
"""Seed of the pictures' degradation, whatever the training's."""

Pictures = dict[str, list[Tensor]]
"""Pictures [1, 3, H, W] in 0..1, by the name of their degradation."""


class Validation:
    """A validation of networks on photographs.

    Args:
        settings: which photographs.
        degradations: what is done to them.
        device: where.

    Raises:
        InputError: photographs cannot be read.
    """

    def __init__(
        self, settings: ValidationSettings, degradations: Mapping[str, DegradationSettings], device: torch.device
    ) -> None:
        self.device, self.panels_drawn = device, settings.panels
        self.targets: list[Tensor] = [
            read_photograph(photograph.source) for photograph in find_photographs(settings)[: settings.count]
        ]
        self.degraded: Pictures = {}
        for name, choice in degradations.items():
            generator = torch.Generator().manual_seed(SEED)
            done = choice.settings
            self.degraded[name] = [
                target if done is None else degrade(target, done, generator).lq for target in self.targets
            ]
        self._before = self._compare(self.degraded)

    @torch.no_grad()
    def restore(self, network: ResidualNetwork) -> Pictures:
        """Restore all pictures."""
        return {name: [self._restored(network, lq) for lq in pictures] for name, pictures in self.degraded.items()}

    def measure(self, restored: Pictures) -> dict[str, float]:
        """Compare restored pictures with the photographs.

        Returns:
            `DEGRADATION/psnr/lq`, of degraded pictures as they are, `DEGRADATION/psnr/restored`, and likewise ssim.
        """
        parts = {"lq": self._before, "restored": self._compare(restored)}
        return {f"{name}/{label}": part[name] for name in self._before for label, part in parts.items()}

    def panels(self, restored: Pictures) -> Iterator[Image.Image]:
        """Draw the first pictures: degraded in each way, restored, and the photograph."""
        for index, target in enumerate(self.targets[: self.panels_drawn]):
            panels = [Panel("photograph", target)]
            for name in self.degraded:
                panels += [Panel(name, self.degraded[name][index]), Panel("restored", restored[name][index])]
            yield sheet(panels, width=192)

    def _restored(self, network: ResidualNetwork, lq: Tensor) -> Tensor:
        picture = lq.to(self.device)
        return (picture + network(picture, network.estimator(picture))).clamp(0, 1).cpu()

    def _compare(self, pictures: Pictures) -> dict[str, float]:
        found = {}
        for name, made in pictures.items():
            pairs = list(zip(made, self.targets, strict=True))
            found[f"{name}/psnr"] = sum(min(psnr(*pair), 60.0) for pair in pairs) / len(pairs)
            found[f"{name}/ssim"] = sum(ssim(*pair) for pair in pairs) / len(pairs)
        return found
