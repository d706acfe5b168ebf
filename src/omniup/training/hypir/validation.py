"""Validate the generator on pictures that it is not trained on, degraded once, always in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from PIL import Image
from torch import Tensor, nn

from omniup.evaluation.metrics import psnr, ssim
from omniup.files import read_photograph
from omniup.restoration.degradation import Degradation, degrade
from omniup.training.hypir.perceptual import distance
from omniup.training.photographs import central_square, reduce
from omniup.training.restoration import DataSettings, ValidationSettings, find_photographs
from omniup.visualize import Panel, sheet

SEED = 0
"""Seed of the pictures' degradation, whatever the training's."""

Restore = Callable[[Tensor, list[str], torch.Generator], Tensor]
"""Degraded pictures [B, 3, S, S] in -1..1, prompts and a source of noise to restored ones."""


class Validation:
    """A validation of generators on the middle of photographs, as large as the squares that are trained on.

    Args:
        settings: which photographs.
        data: how large the squares are.
        degradation: what is done to them.
        perceptual: LPIPS with real weights; None leaves it out.
        device: where.

    Raises:
        InputError: photographs cannot be read.
    """

    def __init__(
        self,
        settings: ValidationSettings,
        data: DataSettings,
        degradation: Degradation,
        perceptual: nn.Module | None,
        device: torch.device,
    ) -> None:
        self.perceptual, self.device, self.panels_drawn = perceptual, device, settings.panels
        chosen = find_photographs(settings)[: settings.count]
        self.prompts = [photograph.prompt for photograph in chosen]
        generator = torch.Generator().manual_seed(SEED)
        self.pairs: list[tuple[Tensor, Tensor]] = []  # low quality and target, [1, 3, S, S] in 0..1 each
        for photograph in chosen:
            image = central_square(read_photograph(photograph.source))
            side = max(1, round(image.shape[2] * data.keep[1]))
            start = (image.shape[2] - side) // 2
            image = reduce(image[:, :, start : start + side, start : start + side], data.image_size)
            pair = degrade(image, degradation, generator)
            self.pairs.append((pair.lq, pair.target))
        self._degraded = self._measure([lq for lq, _ in self.pairs])

    def restore(self, restore: Restore) -> list[Tensor]:
        """Restore all pictures, [1, 3, S, S] in 0..1 on the CPU."""
        generator = torch.Generator().manual_seed(SEED)
        found = []
        for (lq, _), prompt in zip(self.pairs, self.prompts, strict=True):
            result = restore(lq.to(self.device) * 2 - 1, [prompt], generator)
            found.append(((result.float() + 1) / 2).clamp(0, 1).cpu())
        return found

    def measure(self, results: dict[str, list[Tensor]]) -> dict[str, float]:
        """Compare what generators have made with the targets.

        Args:
            results: of generators, by their names.

        Returns:
            `psnr/NAME`, `ssim/NAME` and perhaps `lpips/NAME`, means over the pictures; NAME is also `lq`, which stands
            for the degraded pictures, enlarged bicubically to their size as they are.
        """
        measured = {f"{measure}/lq": value for measure, value in self._degraded.items()}
        for name, pictures in results.items():
            measured |= {f"{measure}/{name}": value for measure, value in self._measure(pictures).items()}
        return measured

    def panels(self, results: dict[str, list[Tensor]]) -> Iterator[Image.Image]:
        """Draw the first pictures: low quality, target, and the generators' results, under the prompt."""
        for index in range(min(self.panels_drawn, len(self.pairs))):
            lq, target = self.pairs[index]
            shown = {"low quality": lq, "target": target} | {name: made[index] for name, made in results.items()}
            panels = [Panel(title, image) for title, image in shown.items()]
            yield sheet(panels, title=self.prompts[index] or "nothing is said", width=192)

    @torch.no_grad()
    def _measure(self, pictures: list[Tensor]) -> dict[str, float]:
        targets = [target for _, target in self.pairs]
        count, pairs = len(pictures), list(zip(pictures, targets, strict=True))
        measured = {
            "psnr": sum(psnr(picture, target) for picture, target in pairs) / count,
            "ssim": sum(ssim(picture, target) for picture, target in pairs) / count,
        }
        if self.perceptual is not None:
            network, device = self.perceptual, self.device
            distances = [distance(network, *((image.to(device) * 2 - 1) for image in pair)) for pair in pairs]
            measured["lpips"] = float(torch.stack(distances).mean())
        return measured
