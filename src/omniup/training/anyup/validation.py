"""Validate the network on photographs that it is not trained on, beside bilinear interpolation.

The backbone's features of a reduced photograph are upsampled to the grid that it has on the photograph itself, and
compared with what it gives there. Backbones that are not trained on show what the network generalises to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from omniup.evaluation.probes import LinearProbe, mean_iou
from omniup.training.anyup.backbones import Backbone
from omniup.training.anyup.configuration import DataSettings, ValidationSettings
from omniup.training.labelled import Labelled, read_labelled
from omniup.training.photographs import measured_squares, reduce
from omniup.visualize import Panel, pca_rgb, sheet

Upsample = Callable[[Tensor, Tensor, tuple[int, int]], Tensor]
"""Guidance [1, 3, s, s], features [1, C, h, w] and a size to [1, C, H, W]."""


def bilinear(guidance: Tensor, features: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate bilinearly: the baseline."""
    return F.interpolate(features, size, mode="bilinear")


class Validation:
    """A validation of networks.

    Args:
        settings: what is measured.
        data: the sides of photographs and guidance.
        backbones: all that are measured on.
        device: where.

    Raises:
        InputError: photographs or label maps cannot be read.
    """

    def __init__(
        self, settings: ValidationSettings, data: DataSettings, backbones: Sequence[Backbone], device: torch.device
    ) -> None:
        self.input_size, self.backbones, self.device = data.input_size, backbones, device
        self.images = measured_squares(settings.images, settings.count, data.image_size)  # [N, 3, S, S]
        self._probes: dict[str, LinearProbe] = {}
        if (probe := settings.probe) is not None:
            train, self._test = (
                read_labelled(folder, probe.images, data.image_size, probe.ignore)
                for folder in (probe.train, probe.test)
            )
            self._probes = {backbone.name: self._fit(backbone, train) for backbone in backbones}

    @torch.no_grad()
    def __call__(self, upsample: Upsample) -> dict[str, float]:
        """Measure a network.

        Args:
            upsample: the network in evaluation mode, or what upsamples with it.

        Returns:
            `cosine/BACKBONE/METHOD`, the mean cosine similarity, and `iou/BACKBONE/METHOD`, the probe's mean
            intersection over union, for the methods `anyup` and `bilinear`.
        """
        return self._measure("anyup", upsample) | self._reference

    @cached_property
    def _reference(self) -> dict[str, float]:
        return self._measure("bilinear", bilinear)

    @torch.no_grad()
    def similarities(self, methods: Mapping[str, Upsample]) -> dict[str, dict[str, Tensor]]:
        """Compute the mean cosine similarity of each photograph, [N], by backbone and method."""
        return {
            backbone.name: {
                method: torch.stack(found)
                for method, found in zip(methods, self._compare(backbone, methods), strict=True)
            }
            for backbone in self.backbones
        }

    def _compare(self, backbone: Backbone, methods: Mapping[str, Upsample]) -> Iterator[tuple[Tensor, ...]]:
        """Compute the similarities of each method, a number a photograph."""
        rows = [
            [
                F.cosine_similarity(upsample(guidance, features, _size(target)), target).mean()
                for upsample in methods.values()
            ]
            for guidance, features, target in self._pairs(backbone)
        ]
        return zip(*rows, strict=True)

    def _measure(self, method: str, upsample: Upsample) -> dict[str, float]:
        measured = {}
        for name, similarities in self.similarities({method: upsample}).items():
            measured[f"cosine/{name}/{method}"] = float(similarities[method].mean())
            if name in self._probes:
                measured[f"iou/{name}/{method}"] = self._probe(name, upsample)
        return measured

    @torch.no_grad()
    def panels(self, upsample: Upsample) -> Iterator[tuple[str, Image.Image]]:
        """Draw the first photograph for each backbone: guidance, features, prediction, target.

        Args:
            upsample: as above.

        Yields:
            A backbone's name, and its sheet of four panels; the three of features share their colours.
        """
        for backbone in self.backbones:
            guidance, features, target = next(self._pairs(backbone))
            maps = pca_rgb(features, upsample(guidance, features, _size(target)), target)
            titles = ("guidance", "low-resolution features", "prediction", "target")
            panels = [Panel(*pair) for pair in zip(titles, [guidance, *maps], strict=True)]
            yield backbone.name, sheet(panels, title=backbone.name, width=192)

    def _pairs(self, backbone: Backbone) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield guidance, its features and the target, [1, C, S/p, S/p], of each photograph."""
        for image in self.images.split(1):
            image = image.to(self.device)
            guidance = reduce(image, self.input_size)
            yield guidance, backbone(guidance), backbone(image)

    def _fit(self, backbone: Backbone, train: Labelled) -> LinearProbe:
        features = [backbone(reduce(image.to(self.device), self.input_size)) for image in train.images.split(1)]
        return LinearProbe.fit(torch.cat(features), train.labels.to(self.device))

    def _probe(self, name: str, upsample: Upsample) -> float:
        backbone = next(backbone for backbone in self.backbones if backbone.name == name)
        labels = self._test.labels
        found = []
        for image in self._test.images.split(1):
            guidance = reduce(image.to(self.device), self.input_size)
            result = upsample(guidance, backbone(guidance), _size(labels))
            found.append(self._probes[name].predict(result).cpu())
        return mean_iou(torch.cat(found), labels)


def _size(maps: Tensor) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]
