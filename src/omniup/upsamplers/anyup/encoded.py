"""Hold an encoded image of AnyUp: what its queries and the image's part of its keys are computed from.

What is computed at the image's resolution is either kept, or computed band by band, as the memory allows.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing import pages
from omniup.upsamplers.anyup.pixels import Pixels, Plan
from omniup.upsamplers.anyup.scales import Cells, Scales
from omniup.upsamplers.checks import Size
from omniup.upsamplers.representation import ShortRepr

if TYPE_CHECKING:
    from omniup.upsamplers.anyup.upsampler import AnyUp


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class EncodedGuidance(ShortRepr):
    """An encoded image.

    Attributes:
        anyup: the network.
        pixels: [1, D, H, W] of the query encoder, computed where they are asked for; None once there are queries.
        image_part: [1, D, h, w], the image's part of the keys.
        image_size: (H, W).
        size: (H', W') of the results.
        plan: how the memory is divided.
        queries: [1, D, H', W'], if they were kept; differentiable in the image where it requires a gradient.
    """

    anyup: AnyUp
    pixels: Pixels | None
    image_part: Tensor
    image_size: Size
    size: Size
    plan: Plan
    queries: Tensor | None = None

    def with_queries(self) -> EncodedGuidance:
        """Compute the queries of all pixels, and keep them in place of the maps that they are computed from."""
        queries = pages.new_empty(self.image_part, (1, self.image_part.shape[1], *self.size))
        for top, bottom in self._bands():
            queries[:, :, top:bottom] = self.query_rows(top, bottom)
        return dataclasses.replace(self, pixels=None, queries=queries)

    def keys(self, features: Tensor) -> Tensor:
        """Compute the keys of features [1, C, h, w]: [1, D, h, w]."""
        return self.anyup.join(self.image_part, self.describe(features))

    def describe(self, features: Tensor) -> Tensor:
        """Compute the features' part of the keys of features [1, C, h, w]: [1, D, h, w]."""
        features = features.to(self.image_part.dtype)
        return self.anyup.describe(features, self.image_part, self.image_size, self.plan.mixing)

    def render(self, scales: Scales, cells: Cells, memory: int, out: Tensor | None) -> Tensor:
        """Mix what cells offer: [1, C, H', W'], in `out` where that is given."""
        if self.queries is not None:
            mixing = max(memory - self.queries.nbytes, memory // 4)
            return scales.mix(self.queries, cells, memory=mixing, out=out)
        bands = []
        for top, bottom in self._bands():
            band, query = None if out is None else out[:, :, top:bottom], self.query_rows(top, bottom)
            bands.append(scales.band(top, bottom).mix(query, cells, memory=self.plan.mixing, out=band))
        return torch.cat(bands, dim=2) if out is None else out

    def query_at(self, points: Tensor) -> Tensor:
        """Compute the queries at points [P, 2]: [1, D, P]."""
        if self.queries is not None:
            return self.queries[:, :, points[:, 0], points[:, 1]]
        rows, which = points[:, 0].unique(return_inverse=True)
        each = rows.tolist() or [0]  # one row, where there are no points
        query = torch.cat([self.query_rows(y, y + 1) for y in each], dim=2)  # [1, D, rows, W']
        return query[:, :, which, points[:, 1]]

    def query_rows(self, top: int, bottom: int) -> Tensor:
        """Return rows `top` up to `bottom` of the queries, [1, D, bottom - top, W']."""
        return self._query_rows(top, bottom) if self.queries is None else self.queries[:, :, top:bottom]

    @torch.no_grad()
    def _query_rows(self, top: int, bottom: int) -> Tensor:
        """Compute rows of the queries from the encoder's maps."""
        return self.anyup.cross_decode.cross_attn.queries(self.query_maps(top, bottom))

    @torch.no_grad()
    def query_maps(self, top: int, bottom: int) -> Tensor:
        """Compute rows of the maps that queries are projected from, [1, D, bottom - top, W'], while none are kept."""
        assert self.pixels is not None
        anyup = self.anyup
        first, last = max(top - 1, 0), min(bottom + 1, self.size[0])
        pooled = self.pixels.pooled(self.size, first, last)  # with what the 3×3 convolution sees above and below
        above, below = first - top + 1, bottom + 1 - last  # rows beyond the border, which are zeros
        if above or below:
            pooled = F.pad(pooled, (0, 0, above, below))
        seen = F.conv2d(pooled, anyup.cross_decode.conv2d.weight.to(pooled.dtype), padding=(0, 1))
        return seen.to(anyup.rope.freqs.dtype)

    def _bands(self) -> list[tuple[int, int]]:
        """Cut the rows of the result into bands that fit the memory."""
        height, band = self.size[0], self.plan.band
        return [(top, min(top + band, height)) for top in range(0, height, band)]
