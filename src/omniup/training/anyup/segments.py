"""Read squares of photographs with the segments that people outlined in them, and make maps of the segments.

A segment's fraction of each cell is a signal whose upsampled truth is known at every pixel: 1 inside, 0 outside. The
keys are still those of a backbone's features, so the network learns which cells show the same object as a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.training.labelled import read_with_labels
from omniup.training.photographs import Squares, photographs, reduce

SUFFIX = ".segments.png"


class SegmentedSquares(Squares):
    """Squares as of `Squares`, with the number of each pixel's segment as a fourth channel: [4, side, side].

    Args:
        sources: the photographs, `NAME.segments.png` beside each `NAME.jpg` (or another suffix).
        side: in pixels.
        seed: of what is drawn.
    """

    def _read(self, source: str) -> Tensor:
        image, segments = read_with_labels(source, SUFFIX)
        return torch.cat([image, segments.to(image)], dim=1)

    def _reduce(self, square: Tensor) -> Tensor:
        image, segments = square.split([3, 1], dim=1)
        segments = F.interpolate(segments, (self.side, self.side), mode="nearest-exact")
        return torch.cat([reduce(image, self.side), segments], dim=1)


def segmented(sources: Sequence[str]) -> list[str]:
    """List the photographs of a configuration, each of which has its segments beside it.

    Raises:
        InputError: a folder holds no photographs, or a photograph has no segments.
    """
    found = photographs(sources)
    for source in found:
        if not _beside(source).is_file():
            raise InputError(source, "has no segments beside it", "a label map {path}", path=str(_beside(source)))
    return found


def indicators(segments: Tensor) -> Tensor:
    """Return a map of 0 and 1 for each segment.

    Args:
        segments: [B, H, W], any whole numbers.

    Returns:
        [B, K, H, W], float32, K the most segments that an image has: those of others are followed by zeros.
    """
    places = [one.unique(return_inverse=True)[1] for one in segments]
    count = max(int(place.max()) + 1 for place in places)
    return torch.stack([F.one_hot(place, count).movedim(2, 0).float() for place in places])


def _beside(source: str) -> Path:
    return Path(source).with_suffix(SUFFIX)
