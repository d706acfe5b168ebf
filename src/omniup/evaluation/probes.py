"""Segmentation by a linear probe, to see whether an upsampler keeps the meaning of features, and puts it right.

The probe is fitted once, to the low-resolution features of a backbone, and then applied to what upsamplers make of
them (feature-space preservation; arXiv 2510.12764, section 4). It is ridge regression to the shares of the labels in
each cell, which has a closed form: nothing to tune, nothing drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

RIDGE = 1e-2
"""Of the mean variance of the features."""


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A linear map from features to scores of labels.

    Attributes:
        weight: [labels, C].
        bias: [labels].
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor) -> LinearProbe:
        """Fit it to cells and the shares of the labels in them.

        Args:
            features: [N, C, h, w].
            labels: [N, H, W], -1 for what counts for nothing; sides that h and w divide.
        """
        count = int(labels.max()) + 1
        shares = F.one_hot(labels.clamp(min=0), count).movedim(3, 1) * (labels >= 0).unsqueeze(1)  # [N, L, H, W]
        shares = F.adaptive_avg_pool2d(shares.float(), (features.shape[2], features.shape[3]))
        x, y = (maps.movedim(1, 3).flatten(0, 2).double() for maps in (features, shares))  # [cells, C], [cells, L]
        weight = y.sum(1, keepdim=True)  # how much of a cell counts: [cells, 1]
        total = weight.sum()
        mean_x, mean_y = (weight * x).sum(0) / total, y.sum(0) / total
        centred = x - mean_x
        covariance = (weight * centred).T @ centred / total  # [C, C]
        ridge = RIDGE * covariance.diagonal().mean() + torch.finfo(x.dtype).tiny
        covariance.diagonal().add_(ridge)
        solution = torch.linalg.solve(covariance, centred.T @ (y - weight * mean_y) / total)  # [C, L]
        return cls(solution.T.float(), (mean_y - mean_x @ solution).float())

    def predict(self, features: Tensor) -> Tensor:
        """The likeliest label of each vector: [N, C, H, W] to [N, H, W]."""
        return F.conv2d(features, self.weight[..., None, None].to(features), self.bias.to(features)).argmax(1)


def mean_iou(prediction: Tensor, labels: Tensor) -> float:
    """Mean intersection over union of the labels that occur, in 0..1.

    Args:
        prediction: whole numbers, of any shape.
        labels: of the same shape; -1 for what counts for nothing.
    """
    counted = labels >= 0
    prediction, labels = prediction[counted], labels[counted]
    count = int(max(prediction.max(), labels.max())) + 1
    confusion = torch.bincount(labels * count + prediction, minlength=count**2).view(count, count).double()
    hits, occurs = confusion.diagonal(), confusion.sum(1) > 0
    union = confusion.sum(0) + confusion.sum(1) - hits
    return float((hits[occurs] / union[occurs]).mean())
