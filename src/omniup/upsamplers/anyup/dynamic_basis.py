"""Adapt the filters of the feature-agnostic layer to the features at hand.

Statistics of the features that depend neither on the order of the channels nor on their scale, the size of a cell in
pixels, and the image's part of the keys, averaged over the cells, go through a small network. It gives each filter a
factor and a change within a few learned directions: one basis for each image. Its last layer is zero at the start, so
that published weights give what they give without it. `tests/oracles/dynamic_basis.py` has the formulas literally.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniup.upsamplers.checks import Size

HIDDEN = 64

#: Directions of the 25-dimensional space of filters in which each of them may change.
RANK = 4

#: Cells between those whose products are averaged.
LAGS = (1, 2, 3)

#: Number of statistics: means and spreads of moments, autocorrelations, rank and channels, sides of a cell.
STATISTICS = 2 * 4 + 2 * len(LAGS) + 2 + 2

#: Cells along either side that the effective rank is computed of, so that its Gram matrix has at most 1024² entries.
RANK_SIDE = 32

#: Values of some channels that are in work at a time.
CHUNK = 2**22

#: Variance that counts as none, beside a mean square of 1.
FLOOR = 1e-6


class DynamicBasis(nn.Module):
    """A basis of filters for each image.

    Args:
        filters: M.
        taps: of a filter.
        width: D, of the image's part of the keys.
    """

    def __init__(self, filters: int, taps: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(STATISTICS + width, HIDDEN)
        self.last = nn.Linear(HIDDEN, filters * (1 + RANK))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.directions = nn.Parameter(torch.empty(RANK, taps))
        nn.init.kaiming_uniform_(self.directions, a=5**0.5)  # as the basis is

    def forward(self, basis: Tensor, features: Tensor, image_part: Tensor, image_size: Size) -> Tensor:
        """Change a basis for each image.

        Args:
            basis: [M, 1, 5, 5].
            features: [B, C, h, w], of length 1 at each cell.
            image_part: [B, D, h, w], of the keys.
            image_size: (H, W).

        Returns:
            [B, M, 1, 5, 5].
        """
        guidance = F.layer_norm(image_part.mean((2, 3)), image_part.shape[1:2])  # [B, D]
        seen = torch.cat([statistics(features, image_size).to(guidance), guidance], dim=1)
        change = self.last(F.silu(self.first(seen))).unflatten(1, (len(basis), 1 + RANK))  # [B, M, 1 + r]
        factor, weights = 1 + change[..., :1], change[..., 1:]
        changed = basis.flatten(1) * factor + weights @ self.directions  # [B, M, 25]
        return changed.unflatten(2, basis.shape[1:])


def statistics(features: Tensor, image_size: Size) -> Tensor:
    """Compute statistics of features that are the same for any order of their channels.

    Args:
        features: [B, C, h, w], of length 1 at each cell, so that their scale is of no account.
        image_size: (H, W).

    Returns:
        [B, S], of about the size of 1: mean and spread, over the channels, of mean, deviation, skewness and kurtosis;
        autocorrelation along rows and columns; effective rank of the channels' covariance, and their number; size of a
        cell in pixels.
    """
    batch, channels, *grid = features.shape
    some = max(1, CHUNK // (batch * math.prod(grid)))  # channels at a time: what is computed of them is many times them
    found = (_of_channels(_with_unit_mean_square(part, channels)) for part in features.split(some, dim=1))
    moments, products = (torch.cat(each, dim=1) for each in zip(*found, strict=True))  # [B, C, 4], [B, C, 2 L]
    mean, spread = moments.mean(1), (moments.var(1, correction=0) + FLOOR).sqrt()  # [B, 4] each
    autocorrelation = products.sum(1) / moments[..., 1].square().sum(1, keepdim=True)  # [B, 2 L]
    every = [-(-side // RANK_SIDE) for side in grid]
    cells = _with_unit_mean_square(features[:, :, :: every[0], :: every[1]].flatten(2), channels)
    rank = effective_rank(cells).log2().unsqueeze(1)  # [B, 1]
    sizes = [channels, *(side / cells for side, cells in zip(image_size, grid, strict=True))]
    known = rank.new_tensor([math.log2(size) for size in sizes]).expand(batch, -1)  # [B, 3]
    return torch.cat([mean, spread, autocorrelation, rank / 4, known / 4], dim=1)


def effective_rank(vectors: Tensor) -> Tensor:
    """Compute (tr C)² / tr C² of the covariance C of the channels, between 1 and their number.

    It is 1 where one direction has all of the variance, and n where n directions share it equally. Unlike the entropy
    of the eigenvalues it needs none of them, nor their gradients, which have no bound where two are close.

    Args:
        vectors: [B, C, n], of n cells, with a mean square of about 1.

    Returns:
        [B].
    """
    deviations = vectors - vectors.mean(2, keepdim=True)
    with torch.autocast(vectors.device.type, enabled=False):
        # Both products have the same eigenvalues but for zeros, so the same two traces.
        wide = deviations.shape[1] < deviations.shape[2]
        gram = deviations @ deviations.mT if wide else deviations.mT @ deviations
        gram = gram / deviations[0].numel()
    trace, squares = gram.diagonal(dim1=1, dim2=2).sum(1), gram.square().sum((1, 2))
    return (trace.square() + FLOOR**3) / (squares + FLOOR**3)  # 1 where there is no variance


def _with_unit_mean_square(features: Tensor, channels: int) -> Tensor:
    """Scale features of length 1, in float32 at least: under autocast they come in bfloat16."""
    return features.to(torch.promote_types(features.dtype, torch.float32)) * channels**0.5


def _of_channels(values: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the moments of each channel of [B, c, h, w], [B, c, 4], and its products at the lags, [B, c, 2 L]."""
    mean = values.mean((2, 3), keepdim=True)
    deviations = values - mean
    deviation = (deviations.square().mean((2, 3), keepdim=True) + FLOOR).sqrt()
    standard = deviations / deviation
    skewness, kurtosis = standard.pow(3).mean((2, 3)), standard.pow(4).mean((2, 3))  # [B, c] each
    # Both may be as large as there are cells, where a channel is silent but for one of them.
    moments = torch.stack([mean.flatten(1), deviation.flatten(1), skewness.asinh(), kurtosis.log1p()], dim=2)
    products = [_product(deviations, axis, lag) for axis in (2, 3) for lag in LAGS]
    return moments, torch.stack(products, dim=2)


def _product(deviations: Tensor, axis: int, lag: int) -> Tensor:
    """Compute the mean product at a lag along an axis: [B, c]; 0 on maps that are no longer than the lag."""
    pairs = deviations.shape[axis] - lag
    if pairs <= 0:
        return deviations.new_zeros(deviations.shape[:2])
    return (deviations.narrow(axis, lag, pairs) * deviations.narrow(axis, 0, pairs)).mean((2, 3))
