"""Label pixels with a linear probe of a network's features, trained on pictures with label maps.

The probe is fitted to cells and the fractions of labels in them. It is applied to cells too, and the probabilities that
it gives are upsampled: as many channels as there are labels, and not as many as there are features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.encoders import EncodedImage
from omniup.errors import InputError
from omniup.evaluation.probes import LinearProbe, softmax_regression
from omniup.files import read_tensors, write_tensors
from omniup.mixing import cell_means
from omniup.upsamplers import DEFAULT_METHOD, Upsampler
from omniup.upsamplers.checks import DEFAULT_MEMORY

VECTORS = 2**16
"""Cells of all pictures together that a probe is fitted to, about."""

FEWEST = 64
"""Cells of each picture, at least, where it has so many."""

_VOID = -1
"""The label of what counts for nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class LabelProbe:
    """A linear map from features to scores of labels.

    Attributes:
        linear: to K scores.
        labels: the K labels, ascending.
    """

    linear: LinearProbe
    labels: tuple[int, ...]

    @classmethod
    def fit(
        cls,
        pairs: Iterable[tuple[EncodedImage, Tensor]],
        *,
        ignore: Collection[int] = (),
        per_image: int = VECTORS,
        seed: int = 0,
    ) -> LabelProbe:
        """Fit a probe by multinomial logistic regression.

        Args:
            pairs: images with their label maps [1, 1, H, W], whole numbers, of any size that covers the image.
            ignore: labels that count for nothing.
            per_image: cells of each image, at most, drawn at random.
            seed: of the draw.

        Raises:
            InputError: there are fewer than two labels.
        """
        generator = torch.Generator().manual_seed(seed)
        vectors, counts = [], []
        for image, labels in pairs:
            some, numbers = _cells(image, labels, ignore)
            drawn = torch.randperm(len(some), generator=generator)[:per_image]
            vectors.append(some[drawn])  # [n, C]
            counts.append({label: fractions[drawn] for label, fractions in numbers.items()})
        known = tuple(sorted({label for each in counts for label in each}))
        if len(known) < 2:
            raise InputError("labels", "has the labels {labels}", "at least two that count", labels=list(known))
        fractions = torch.cat(
            [
                torch.stack([each.get(label, torch.zeros(len(some))) for label in known], dim=1)
                for each, some in zip(counts, vectors, strict=True)
            ]
        )  # [N, K]
        return cls(softmax_regression(torch.cat(vectors), fractions), known)

    def probabilities(
        self,
        image: EncodedImage,
        *,
        method: str | Upsampler = DEFAULT_METHOD,
        memory: int | str = DEFAULT_MEMORY,
        **settings: Any,
    ) -> Tensor:
        """Compute the probabilities of the labels at an image's resolution.

        Args:
            image: with features of the network that the probe was fitted to.
            method: of upsampling.
            memory: as for `omniup.upsample`.
            **settings: of the method.

        Returns:
            [B, K, H, W] float32, sums of 1.

        Raises:
            InputError: the features are another network's, or an argument cannot be accepted.
        """
        features = image.encoding.features
        wanted = self.linear.weight.shape[1]
        if features.shape[1] != wanted:
            problem, accepted = "has {channels} channels of features", "the {wanted} that the probe was fitted to"
            raise InputError("image", problem, accepted, channels=features.shape[1], wanted=wanted)
        cells = self.linear.read(features.float()).softmax(1)  # [B, K, h, w]
        encoding = dataclasses.replace(image.encoding, features=cells)
        probabilities = dataclasses.replace(image, encoding=encoding)
        return probabilities.upsample(method=method, signal_type="probabilities", memory=memory, **settings)

    def predict(self, image: EncodedImage, **options: Any) -> Tensor:
        """Return the most probable label of each pixel, [B, 1, H, W] int64.

        Args:
            image: as for `probabilities`.
            **options: likewise.

        Raises:
            InputError: likewise.
        """
        numbers = self.probabilities(image, **options).argmax(1, keepdim=True)
        return torch.tensor(self.labels, device=numbers.device)[numbers]

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write the probe to a safetensors file.

        Args:
            path: of the file.
            metadata: what to keep beside it.

        Raises:
            InputError: the file cannot be written.
        """
        tensors = {"weight": self.linear.weight, "bias": self.linear.bias, "labels": torch.tensor(self.labels)}
        write_tensors(path, tensors, dict(metadata or {}))

    @classmethod
    def load(cls, path: str | Path) -> tuple[LabelProbe, dict[str, str]]:
        """Read a probe that `save` wrote, and its metadata.

        Raises:
            InputError: the file cannot be read, or holds something else.
        """
        tensors, metadata = read_tensors(path)
        shapes = [tuple(tensors[name].shape) if name in tensors else () for name in ("weight", "bias", "labels")]
        count = len(tensors["labels"]) if len(shapes[2]) == 1 else 0
        if len(shapes[0]) != 2 or count < 2 or shapes[0][0] != count or shapes[1] != (count,):
            raise InputError(str(path), "holds no probe", "a file that `omniup probe fit` wrote")
        linear = LinearProbe(tensors["weight"].float(), tensors["bias"].float())
        return cls(linear, tuple(map(int, tensors["labels"].tolist()))), metadata


def at_size(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a label map [1, 1, H, W] to a size, without mixing labels."""
    if labels.shape[2:] == size:
        return labels
    return F.interpolate(labels.double(), size, mode="nearest-exact").long()


def _cells(image: EncodedImage, labels: Tensor, ignore: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
    """Return the features of an image's cells [n, C] that have labels, and the fractions [n] of each label."""
    features = image.encoding.features.float().cpu()
    grid = features.shape[2], features.shape[3]
    size = image.guidance.shape[2], image.guidance.shape[3]
    _, _, height, width = image.region
    seen = F.pad(at_size(labels.cpu(), size), (0, width - size[1], 0, height - size[0]), value=_VOID)
    known = [label for label in seen.unique().tolist() if label >= 0 and label not in ignore]
    fractions = {label: cell_means((seen == label).float(), grid).flatten() for label in known}  # [h·w] each
    counted = sum(fractions.values(), torch.zeros(grid[0] * grid[1])) > 0
    return features[0].flatten(1).T[counted], {label: each[counted] for label, each in fractions.items()}
