"""Compute the principal components of one image's features: maps of one channel each, whatever the number of channels.

A coordinate is divided by its component's deviation over the cells, so it has no unit: scaling the features changes the
deviations alone. A component has no sign of its own. The third moment over the cells gives it one, which knows nothing
of the order of the channels, so permuting them permutes the directions and changes nothing else.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from omniup.upsamplers.representation import ShortRepr

LEAST_DEVIATION = 1e-3
"""Least deviation of a component, relative to the first one's: what varies less is rounding, float16's included."""

FLAT = 1e-5
"""Least deviation of the first component, relative to the features' length: features that vary less are constant."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PrincipalComponents(ShortRepr):
    """The first K principal components of features; K is 0 where they are constant.

    Attributes:
        mean: [C], over the cells.
        directions: [K, C], orthonormal.
        deviations: [K], of the coordinates over the cells, in the features' unit; decreasing.
    """

    mean: Tensor
    directions: Tensor
    deviations: Tensor

    @classmethod
    def of(cls, features: Tensor, most: int) -> PrincipalComponents:
        """Compute at most so many components of features [C, h, w]."""
        vectors = features.flatten(1).T.to("cpu", torch.float64)  # [N, C]; Apple's GPUs have no float64
        mean = vectors.mean(0)
        centred = vectors - mean
        # The smaller of the two Gram matrices has the eigenvalues of both.
        is_wide = centred.shape[1] > len(centred)
        gram = (centred @ centred.T if is_wide else centred.T @ centred) / len(centred)
        values, found = torch.linalg.eigh(gram)  # ascending
        deviations = values.flip(0)[:most].clamp_min(0).sqrt()  # [K]
        length = vectors.square().sum(1).mean().sqrt()
        kept = deviations > LEAST_DEVIATION * deviations[:1]
        kept &= bool(deviations[0] > FLAT * length)
        deviations, found = deviations[kept], found.flip(1)[:, :most][:, kept]  # [N or C, K]
        directions = centred.T @ found / (deviations * len(centred) ** 0.5) if is_wide else found  # [C, K]
        skewness = (centred @ directions).pow(3).sum(0)  # [K]
        directions = torch.where(skewness < 0, -directions, directions)
        return cls(*(values.to(features) for values in (mean, directions.T.contiguous(), deviations)))

    def coordinates(self, maps: Tensor) -> Tensor:
        """Compute the coordinates of features, in units of the deviations: [C, H, W] to [K, H, W]."""
        centred = maps.flatten(1) - self.mean[:, None]
        return (self.directions @ centred / self.deviations[:, None]).unflatten(1, maps.shape[1:])

    def vectors(self, coordinates: Tensor) -> Tensor:
        """Convert differences of coordinates to differences of features: [K, H, W] to [C, H, W]."""
        scaled = coordinates.flatten(1) * self.deviations[:, None]
        return (self.directions.T @ scaled).unflatten(1, coordinates.shape[1:])
