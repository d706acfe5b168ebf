"""Fit the principal components of a data set to vectors that are drawn from a sample of its pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.files import read_tensors, write_tensors
from omniup.visualize.pca import principal_directions
from omniup.visualize.tensors import draw_vectors

VECTORS = 2**16
"""Vectors of all pictures together that components are fitted to, about."""


@dataclass(frozen=True, eq=False)
class Components:
    """The first principal components of feature vectors.

    Attributes:
        mean: [C].
        directions: [C, K], orthonormal, by falling variance.
        variance: [K], of the vectors along each.
    """

    mean: Tensor
    directions: Tensor
    variance: Tensor

    @classmethod
    def fit(cls, maps: Iterable[Tensor], count: int, sample: int, seed: int) -> Components:
        """Fit components to feature maps.

        Args:
            maps: each [1, C, h, w]; they are read one after the other.
            count: of components.
            sample: maps, at most.
            seed: of the draw of vectors.

        Raises:
            InputError: there are no maps, or fewer channels or vectors than components.
        """
        generator = torch.Generator().manual_seed(seed)
        drawn = [draw_vectors((features,), max(1, VECTORS // sample), generator) for features in maps]
        if not drawn:
            raise InputError("source", "has no picture in the sample for principal components that can be read")
        vectors = torch.cat(drawn)  # [N, C]
        if count > min(vectors.shape):
            problem = "is {count}, and the sample has {vectors} vectors of {channels} channels"
            raise InputError(
                "count",
                problem,
                "fewer components than both",
                count=count,
                vectors=len(vectors),
                channels=vectors.shape[1],
            )
        mean = vectors.mean(0)  # [C]
        centred = vectors - mean
        directions = principal_directions(centred, count, generator)  # [C, K]
        return cls(mean, directions, (centred @ directions).var(0))

    def of(self, features: Tensor) -> Tensor:
        """Compute the components of a feature map [1, C, h, w]: [1, K, h, w] float32."""
        mean, directions = self.mean.to(features.device), self.directions.to(features.device)
        return torch.einsum("bchw,ck->bkhw", features.float() - mean[:, None, None], directions)

    def save(self, path: Path) -> None:
        """Write the components to a safetensors file.

        Raises:
            InputError: it cannot be written.
        """
        write_tensors(path, {"mean": self.mean, "directions": self.directions, "variance": self.variance}, {})

    @classmethod
    def load(cls, path: Path) -> Components:
        """Read what `save` wrote.

        Raises:
            InputError: the file cannot be read, or holds something else.
        """
        tensors, _ = read_tensors(path)
        if tensors.keys() != {"mean", "directions", "variance"}:
            raise InputError(str(path), "holds no principal components", "the file that the job wrote")
        return cls(**tensors)
