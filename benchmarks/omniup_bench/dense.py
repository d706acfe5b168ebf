"""Define the tasks `dense-…`: upsampled features, against those of the same network on a finer grid."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal, TypeAlias

from torch import Tensor
from torch.nn import functional as F

from omniup.upsamplers import SignalType
from omniup_bench.data import Folders, LabelledImage, Split, street_scenes
from omniup_bench.networks import STREET_SCENES, STRIDE, described, feature_network, scaled, shifted, suffix
from omniup_bench.task import Sample, Statistics

Reference: TypeAlias = Literal["moved", "enlarged"]

FINER: dict[Reference, int] = {"moved": 4, "enlarged": 2}
"""Ratio of the reference's resolution to that of the features, along a side."""


class DenseFeatures:
    """Features of street scenes, upsampled to a finer grid for which the network gives a reference.

    The features are those of the image, resized so that 16 of its pixels make a cell. There are two references:
    `moved`, features of that image shifted by parts of a cell: what the network computes at the places in between. And
    `enlarged`, features of the image twice as large, on which upsamplers are trained: a cell covers half as much of
    the scene, so there is more detail, and they differ.

    The scenes are those of `street_scenes`, in `camvid/val` (or `camvid/tune`).

    Args:
        reference: one of the two.
        split: see `tasks`.
        encoder: see `feature_network`.
    """

    signal_type: SignalType = "features"
    factors: tuple[int, ...] = (16, 32)
    metrics: Mapping[str, bool] = {"cosine": True, "error": False}

    def __init__(self, reference: Reference, split: Split = "val", encoder: str = STREET_SCENES) -> None:
        self.reference: Reference = reference
        self.split, self.encoder = split, encoder
        self.name = f"dense-{reference}{suffix(encoder)}"
        finer = f"{FINER[reference]} times finer"
        how = "the image shifted by parts of a cell" if reference == "moved" else "the image enlarged"
        self.summary = f"features of {described(encoder)} (CamVid), against its own, {finer}, of {how}"

    def samples(self, folders: Folders, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images; see `Task`."""
        for picture, low, target in self.pairs(folders, factor, count):
            size = target.shape[2], target.shape[3]
            yield Sample(picture.name, picture.image, low, partial(feature_sums, target), size)

    def pairs(
        self, folders: Folders, factor: int, count: int | None = None
    ) -> Iterator[tuple[LabelledImage, Tensor, Tensor]]:
        """Read the images, with their features [1, C, h, w] and the reference [1, C, n h, n w]; as `samples`."""
        network = feature_network(self.encoder, folders.models)
        for picture in street_scenes(folders, self.split, count):
            low = scaled(network, picture.image, factor)
            if self.reference == "enlarged":
                target = scaled(network, picture.image, factor // FINER["enlarged"])
            else:
                sides = STRIDE * low.shape[2], STRIDE * low.shape[3]
                image = F.interpolate(picture.image, sides, mode="bilinear", antialias=True).clamp(0, 1)
                target = shifted(network, image, STRIDE // FINER["moved"])
            yield picture, low, target

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Score all cells together, in percent; the error is relative to the reference's deviation; see `Task`."""
        return {
            "cosine": 100 * float(totals["cosine"] / totals["cells"]),
            "error": 100 * math.sqrt(totals["squared"] / totals["variation"]),
        }


def feature_sums(target: Tensor, result: Tensor) -> Statistics:
    """Compare features [1, C, H, W] with a reference.

    Returns:
        The number of cells, and the sums over them of cosine similarities (`cosine`), of squared distances (`squared`)
        and of the reference's squared distances from its mean (`variation`).
    """
    target, result = target.double(), result.double()
    return {
        "cells": float(target.shape[2] * target.shape[3]),
        "cosine": float(F.cosine_similarity(result, target, dim=1).sum()),
        "squared": float((result - target).square().sum()),
        "variation": float((target - target.mean((2, 3), keepdim=True)).square().sum()),
    }
