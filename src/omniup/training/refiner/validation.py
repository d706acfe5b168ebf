"""Validate the refiner on photographs that it is not trained on: its mean, and how well its spread ranks errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from omniup.training.anyup.backbones import Backbone
from omniup.training.anyup.configuration import DataSettings
from omniup.training.photographs import measured_squares, reduce
from omniup.training.refiner.configuration import ValidationSettings
from omniup.upsamplers.anyup import AnyUp
from omniup.upsamplers.anyup.refinement import Refiner


class Validation:
    """A validation of refiners.

    Args:
        settings: what is measured.
        data: the sides of photographs and guidance.
        backbones: all that are measured on.
        anyup: whose results are refined.
        device: where.

    Raises:
        InputError: photographs cannot be read.
    """

    def __init__(
        self,
        settings: ValidationSettings,
        data: DataSettings,
        backbones: Sequence[Backbone],
        anyup: AnyUp,
        device: torch.device,
    ) -> None:
        self.settings, self.input_size, self.backbones = settings, data.input_size, backbones
        self.anyup, self.device = anyup, device
        self.images = measured_squares(settings.images, settings.count, data.image_size)  # [N, 3, S, S]

    @torch.no_grad()
    def __call__(self, refiner: Refiner) -> dict[str, float]:
        """Measure a refiner.

        Returns:
            For the methods `anyup` and `refined`: `error/BACKBONE/METHOD`, the root mean square error relative to the
            truth's deviation; and `correlation/BACKBONE/METHOD`, the rank correlation of the pixels' errors with 1 -
            AnyUp's confidence, and with the spread. Means over the photographs.
        """
        measured = {}
        for backbone in self.backbones:
            rows = list(self._compare(refiner, backbone))
            for name in rows[0]:
                measure, method = name.split("/")
                measured[f"{measure}/{backbone.name}/{method}"] = fmean(row[name] for row in rows)
        return measured

    def _compare(self, refiner: Refiner, backbone: Backbone) -> Iterator[dict[str, float]]:
        """Measure one photograph after the other."""
        settings = self.settings
        for image in self.images.split(1):
            image = image.to(self.device)
            guidance = reduce(image, self.input_size)
            features, truth = backbone(guidance), backbone(image)  # [1, C, s/p, s/p], [1, C, S/p, S/p]
            size = truth.shape[2], truth.shape[3]
            prepared = self.anyup.prepare(guidance, (features.shape[2], features.shape[3]), size)
            initial, confidence = prepared.render(features, "features"), prepared.confidence(features, "features")
            refined = refiner(guidance, features, initial, samples=settings.samples, steps=settings.steps)
            before, after = (_errors(made, truth) for made in (initial, refined.mean))  # [H, W] each
            deviation = _errors(truth.mean((2, 3), keepdim=True), truth)
            yield {
                "error/anyup": _ratio(before, deviation),
                "error/refined": _ratio(after, deviation),
                "correlation/anyup": rank_correlation(1 - confidence, before),
                "correlation/refined": rank_correlation(refined.spread, after),
            }


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Compute Spearman's ρ of two tensors of N numbers; 0 where one of them is constant."""
    from scipy.stats import spearmanr  # here, since it is slow to import

    first, second = (values.flatten().double().cpu().numpy() for values in (one, other))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)


def _errors(made: Tensor, truth: Tensor) -> Tensor:
    """Compute the length of the difference at each pixel of [1, C, H, W]: [H, W]."""
    return (made - truth)[0].norm(dim=0)


def _ratio(errors: Tensor, deviations: Tensor) -> float:
    """Compute the ratio of two root mean squares."""
    return float(errors.square().mean().sqrt() / deviations.square().mean().sqrt().clamp_min(1e-12))
