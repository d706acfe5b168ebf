"""Adapt the filters of the feature-agnostic layer to the features at hand.

Statistics of the features that depend neither on the order of the channels nor on their scale, the size of a cell in
pixels, and the image's part of the keys, averaged over the cells, go through a small network. It gives each filter a
factor and a change within a few learned directions: one basis for each image. Its last layer is zero at the start, so
that published weights give what they give without it.
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
    grid = height, width = features.shape[2], features.shape[3]
    # A mean square of 1, whatever the number of channels; and float32 at least, as these are sums of squares.
    features = features.to(torch.promote_types(features.dtype, torch.float32)) * features.shape[1] ** 0.5
    some = max(1, CHUNK // (len(features) * height * width))  # channels at a time: their deviations are many times them
    moments, products = zip(*(_of_channels(part) for part in features.split(some, dim=1)), strict=True)
    moment = torch.cat(moments, dim=1)  # [B, C, 4]
    variance = moment[..., 1].square().sum(1, keepdim=True)  # [B, 1], with the floor of each channel
    autocorrelation = torch.stack(products).sum(0) / variance  # [B, 2 L]
    mean, spread = moment.mean(1), (moment.var(1, correction=0) + FLOOR).sqrt()  # [B, 4] each
    known = [
        math.log2(features.shape[1]),
        *(math.log2(side / cells) for side, cells in zip(image_size, grid, strict=True)),
    ]
    sizes = features.new_tensor(known).expand(len(features), -1)  # [B, 3]
    rank = effective_rank(features).log2().unsqueeze(1)  # [B, 1]
    return torch.cat([mean, spread, autocorrelation, rank / 4, sizes / 4], dim=1)


def effective_rank(features: Tensor) -> Tensor:
    """Compute (tr C)² / tr C² of the covariance C of the channels, between 1 and their number.

    It is 1 where one direction has all of the variance, and n where n directions share it equally. Unlike the entropy
    of the eigenvalues it needs none of them, and their gradients, which have no bound where two are close.

    Args:
        features: [B, C, h, w].

    Returns:
        [B].
    """
    steps = [-(-side // RANK_SIDE) for side in features.shape[2:]]
    cells = features[:, :, :: steps[0], :: steps[1]].flatten(2)  # [B, C, n]
    deviations = cells - cells.mean(2, keepdim=True)
    with torch.autocast(features.device.type, enabled=False):
        # Both products have the same eigenvalues but for zeros, so the same two traces.
        wide = deviations.shape[1] < deviations.shape[2]
        gram = deviations @ deviations.mT if wide else deviations.mT @ deviations
        gram = gram / deviations[0].numel()
    trace, squares = gram.diagonal(dim1=1, dim2=2).sum(1), gram.square().sum((1, 2))
    return (trace.square() + FLOOR**3) / (squares + FLOOR**3)  # 1 where there is no variance


def _of_channels(values: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the moments of channels [B, c, h, w], [B, c, 4], and their sums of products at the lags, [B, 2 L]."""
    mean = values.mean((2, 3), keepdim=True)
    deviations = values - mean
    deviation = (deviations.square().mean((2, 3), keepdim=True) + FLOOR).sqrt()
    standard = deviations / deviation
    skewness, kurtosis = standard.pow(3).mean((2, 3)), standard.pow(4).mean((2, 3))  # [B, c] each
    # Both may be as large as there are cells, where a channel is silent but for one of them.
    moments = torch.stack([mean.flatten(1), deviation.flatten(1), skewness.asinh(), kurtosis.log1p()], dim=2)
    products = [_product(deviations, axis, lag) for axis in (2, 3) for lag in LAGS]
    return moments, torch.stack(products, dim=1)


def _product(deviations: Tensor, axis: int, lag: int) -> Tensor:
    """Compute the mean product at a lag along an axis, summed over the channels: [B]; 0 on shorter maps."""
    pairs = deviations.shape[axis] - lag
    if pairs <= 0:
        return deviations.new_zeros(len(deviations))
    return (deviations.narrow(axis, lag, pairs) * deviations.narrow(axis, 0, pairs)).mean((2, 3)).sum(1)
