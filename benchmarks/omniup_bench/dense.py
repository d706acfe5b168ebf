"""The tasks `dense-…`: features, against those of the same network on a finer grid."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from torch import Tensor
from torch.nn import functional as F

from omniup_bench.data import Picture
from omniup_bench.street_scenes import FEATURES, STRIDE, moved, scaled, scenes, street_scenes
from omniup_bench.task import Sample, Split, Statistics

Reference: TypeAlias = Literal["moved", "enlarged"]

FINER: dict[Reference, int] = {"moved": 4, "enlarged": 2}
"""How many times finer the reference is, along a side."""


class DenseFeatures:
    """Features of street scenes, brought to a grid that the network itself can be had on.

    The features are those of the image, scaled so that 16 of its pixels make a cell. There are two references:
    `moved`, the network on that image, moved by parts of a cell: what it would see at the places in between. And
    `enlarged`, the network on the image twice as large, as upsamplers are trained by: cells see half as much of the
    scene, so there is more detail, and it is another answer.

    The folder holds `camvid/val` (or `camvid/tune`), and the network lies beside it; see `street_scenes`.

    Args:
        reference: which of the two.
        split: see `tasks`.
    """

    signal: Literal["measurement", "prediction"] = "prediction"
    factors: tuple[int, ...] = (16, 32)
    metrics: Mapping[str, bool] = {"cosine": True, "error": False}

    def __init__(self, reference: Reference, split: Split = "val") -> None:
        self.reference: Reference = reference
        self.split = split
        self.name = f"dense-{reference}"
        finer = f"{FINER[reference]} times finer"
        how = "the image moved by parts of a cell" if reference == "moved" else "the image enlarged"
        self.summary = f"features of a street-scene network (CamVid), against its own, {finer}, of {how}"

    def samples(self, data: Path, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images; see `Task`."""
        for picture, low, target in self.pairs(data, factor, count):
            size = target.shape[2], target.shape[3]
            yield Sample(picture.name, picture.image, low, partial(feature_sums, target), size)

    def pairs(self, data: Path, factor: int, count: int | None = None) -> Iterator[tuple[Picture, Tensor, Tensor]]:
        """Read the images, with their features [1, C, h, w] and the reference [1, C, n h, n w]; as `samples`."""
        network = street_scenes(data)
        for picture in scenes(data, self.split, count):
            low = scaled(network, picture.image, factor, FEATURES)
            if self.reference == "enlarged":
                target = scaled(network, picture.image, factor // FINER["enlarged"], FEATURES)
            else:
                sides = STRIDE * low.shape[2], STRIDE * low.shape[3]
                image = F.interpolate(picture.image, sides, mode="bilinear", antialias=True).clamp(0, 1)
                target = moved(network, image, STRIDE // FINER["moved"], FEATURES)
            yield picture, low, target

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Of all cells together, in percent; the error is relative to the reference's deviation; see `Task`."""
        return {
            "cosine": 100 * float(totals["cosine"] / totals["cells"]),
            "error": 100 * math.sqrt(totals["squared"] / totals["variation"]),
        }


def feature_sums(target: Tensor, result: Tensor) -> Statistics:
    """Compare features [1, C, H, W] with others.

    Returns:
        Of all cells the number, the sums of cosine similarities (`cosine`) and of squared distances (`squared`), and
        that of the target's from its mean (`variation`).
    """
    target, result = target.double(), result.double()
    return {
        "cells": float(target.shape[2] * target.shape[3]),
        "cosine": float(F.cosine_similarity(result, target, dim=1).sum()),
        "squared": float((result - target).square().sum()),
        "variation": float((target - target.mean((2, 3), keepdim=True)).square().sum()),
    }
