"""Fit linear probes to features, to see whether an upsampler keeps their meaning.

A probe is fitted to vectors with known targets and then read at every pixel of what upsamplers make (arXiv 2510.12764,
section 4). Ridge regression has a closed form, and softmax regression one minimum: nothing is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from omniup.upsamplers.representation import ShortRepr

RIDGE = 1e-2
"""Regularisation of ridge regression, as a fraction of the features' mean variance."""

DECAY = 1e-3
"""Half of it is the weight of the squared weights in softmax regression, where the features' variance is 1."""

MOST_STEPS = 300
"""Steps of softmax regression; past them it hardly moves."""


@dataclass(frozen=True, eq=False, repr=False)
class LinearProbe(ShortRepr):
    """A linear map from features to targets, or to scores of labels.

    Attributes:
        weight: [K, C].
        bias: [K].
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor) -> LinearProbe:
        """Fit a probe to cells and the fractions of labels in them, by ridge regression.

        Args:
            features: [N, C, h, w].
            labels: [N, H, W], -1 for what counts for nothing; sides that h and w divide.
        """
        count = int(labels.max()) + 1
        fractions = F.one_hot(labels.clamp(min=0), count).movedim(3, 1) * (labels >= 0).unsqueeze(1)  # [N, L, H, W]
        fractions = F.adaptive_avg_pool2d(fractions.float(), (features.shape[2], features.shape[3]))
        x, y = (maps.movedim(1, 3).flatten(0, 2) for maps in (features, fractions))  # [cells, C], [cells, L]
        return ridge_regression(x, y, y.sum(1))

    def read(self, features: Tensor) -> Tensor:
        """Apply the probe to each vector: [N, C, H, W] to [N, K, H, W]."""
        return F.conv2d(features, self.weight[..., None, None].to(features), self.bias.to(features))

    def predict(self, features: Tensor) -> Tensor:
        """Predict the most probable label of each vector: [N, C, H, W] to [N, H, W]."""
        return self.read(features).argmax(1)


def ridge_regression(vectors: Tensor, targets: Tensor, counts: Tensor) -> LinearProbe:
    """Fit a probe by least squares, regularised by `RIDGE` times the squared weights.

    Args:
        vectors: [n, C].
        targets: [n, K], each times its count.
        counts: [n], how much a vector counts, 0 or more.
    """
    x, y, weight = vectors.double(), targets.double(), counts.double().unsqueeze(1)
    total = weight.sum()
    mean_x, mean_y = (weight * x).sum(0) / total, y.sum(0) / total
    centred = x - mean_x
    covariance = (weight * centred).T @ centred / total  # [C, C]
    ridge = RIDGE * covariance.diagonal().mean() + torch.finfo(x.dtype).tiny
    covariance.diagonal().add_(ridge)
    solution = torch.linalg.solve(covariance, centred.T @ (y - weight * mean_y) / total)  # [C, K]
    return LinearProbe(solution.T.float(), (mean_y - mean_x @ solution).float())


def softmax_regression(vectors: Tensor, fractions: Tensor) -> LinearProbe:
    """Fit a probe by multinomial logistic regression: maximise the likelihood of the labels.

    The features are scaled to a variance of 1 first, so that `DECAY` holds all their weights down equally.

    Args:
        vectors: [n, C].
        fractions: [n, K], how much of each label a vector has; rows of zeros count for nothing.
    """
    from scipy.optimize import minimize  # here, since it is slow to import

    fractions = fractions.to(vectors)
    counts = fractions.sum(1, keepdim=True)  # [n, 1]
    total = counts.sum()
    mean = (counts * vectors).sum(0) / total
    deviation = ((counts * (vectors - mean).square()).sum(0) / total).sqrt() + torch.finfo(vectors.dtype).tiny
    x = torch.where(deviation > 1e-6 * deviation.max(), (vectors - mean) / deviation, 0)  # [n, C]
    shape = fractions.shape[1], x.shape[1] + 1  # the bias comes last

    def loss(flat: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Compute mean cross-entropy plus weight decay, with the gradient."""
        parameters = torch.from_numpy(flat).view(shape)
        weight, bias = parameters[:, :-1].to(x), parameters[:, -1].to(x)
        logarithms = (x @ weight.T + bias).log_softmax(1)  # [n, K]
        error = (counts * logarithms.exp() - fractions) / total
        gradient = torch.cat([error.T @ x + DECAY * weight, error.sum(0).unsqueeze(1)], dim=1).double()
        value = -(fractions * logarithms).sum() / total + 0.5 * DECAY * weight.square().sum()
        return float(value), gradient.flatten().numpy()

    start = torch.zeros(shape, dtype=torch.float64).flatten().numpy()
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MOST_STEPS, "gtol": 1e-5})
    parameters = torch.from_numpy(found.x).view(shape)
    weight = torch.where(deviation > 1e-6 * deviation.max(), parameters[:, :-1] / deviation.double(), 0)
    return LinearProbe(weight.float(), (parameters[:, -1] - weight @ mean.double()).float())


def mean_iou(prediction: Tensor, labels: Tensor) -> float:
    """Average intersection over union over the labels that occur, in 0..1.

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
