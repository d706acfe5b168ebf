"""Map features of any number of channels to a fixed number of channels (arXiv 2510.12764, section 3).

Every channel is convolved on its own with the same filters; a softmax over the filters and a mean over the channels
tell which structures the features have at a place, whichever channels carry them. The responses, channels × filters at
every cell, are the largest tensor of the network, so they are made for a rectangle of cells at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniup.mixing import DEFAULT_MEMORY, TooLittleMemoryError

Layout = Literal["published", "paper"]
LAYOUTS: tuple[Layout, ...] = ("published", "paper")

FILTER_SIZE = 5

#: Bytes of the responses at a rectangle of cells on a CPU: as many as stay in its cache.
CPU_BYTES = 4 * 2**20


class FeatureAgnosticLayer(nn.Module):
    """Map of features [B, C, h, w] of any C to M channels in 0..1 that sum to 1, M the filters.

    Two layouts of the responses r[channel, filter] of a cell:

    `"paper"`: the formula of the paper, softmax over the filters of each channel, mean over the channels:

        out[m] = mean over channels of softmax over filters of r[channel, ·], at m

    `"published"`: what the published weights were trained with. The responses, flat as n = channel · M + filter, are
    regrouped as (a, b) = (n // C, n mod C); the softmax runs over a, the mean over b, and a is the channel of the
    result. For C = M this is softmax over the *channels*, mean over the filters; for other C it mixes both.

    Args:
        filters: M.
        layout: which of the two.
    """

    def __init__(self, filters: int, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.basis = nn.Parameter(torch.empty(filters, 1, FILTER_SIZE, FILTER_SIZE))
        nn.init.kaiming_uniform_(self.basis, a=5**0.5)

    def forward(self, features: Tensor, memory: int = DEFAULT_MEMORY, basis: Tensor | None = None) -> Tensor:
        """Map features to one channel for each filter.

        Args:
            features: [B, C, h, w].
            memory: bytes of scratch space; with gradients, what autograd keeps comes on top.
            basis: [B, M, 1, 5, 5], filters for each image; the layer's own by default.

        Returns:
            [B, M, h, w].

        Raises:
            TooLittleMemoryError: the responses at one cell exceed `memory`.
        """
        height, width = features.shape[2:]
        padded = F.pad(features, [FILTER_SIZE // 2] * 4)  # [B, C, h + 4, w + 4]
        taps = _taps(height, features).unsqueeze(1) * _taps(width, features)  # [h, w]
        filters = (self.basis.expand(len(features), -1, -1, -1, -1) if basis is None else basis).flatten(2).mT
        out = features.new_empty(len(features), len(self.basis), height, width)
        for image, rows, columns in self._rectangles(features, memory):
            near = padded[image].unfold(1, FILTER_SIZE, 1).unfold(2, FILTER_SIZE, 1)  # [C, h, w, 5, 5]
            near = near[:, rows, columns].permute(1, 2, 0, 3, 4).flatten(3) / taps[rows, columns, None, None]
            responses = near.flatten(0, 1) @ filters[image]  # [cells, C, M]
            if self.layout == "published":
                responses = responses.flatten(1).unflatten(1, (len(self.basis), -1))  # [cells, M, C]
                described = responses.softmax(1).mean(2)
            else:
                described = responses.softmax(2).mean(1)
            out[image, :, rows, columns] = described.T.unflatten(1, near.shape[:2])
        return out

    def _rectangles(self, features: Tensor, memory: int) -> Iterator[tuple[int, slice, slice]]:
        """Yield rectangles of cells whose responses fit: image, rows and columns of each."""
        batch, channels, height, width = features.shape
        # What the filters see, twice, and the responses with their softmax.
        one = 2 * channels * (FILTER_SIZE**2 + len(self.basis)) * features.itemsize
        if one > memory:
            raise TooLittleMemoryError(f"memory is {memory} bytes: the responses of features at one cell take {one}")
        memory = max(min(memory, CPU_BYTES), one) if features.device.type == "cpu" else memory
        columns = min(width, memory // one)
        rows = min(height, memory // (one * columns))
        for image, top, left in itertools.product(range(batch), range(0, height, rows), range(0, width, columns)):
            yield image, slice(top, min(top + rows, height)), slice(left, min(left + columns, width))


def _taps(side: int, like: Tensor) -> Tensor:
    """Count the taps of a filter along an axis that lie on the map, at each of its places: [side]."""
    place, border = torch.arange(side, device=like.device), FILTER_SIZE // 2
    return (place.clamp(max=border) + (side - 1 - place).clamp(max=border) + 1).to(like.dtype)
