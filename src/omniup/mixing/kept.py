"""Keep the weights of an attention, to mix signals that come one after the other: the steps of a back-projection.

Making weights is most of the work of a mix, above all where a group has few pixels. Kept they take pixels × candidates
numbers, so they are kept for small outputs only; larger ones make them anew for each mix.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from omniup.mixing.dtypes import exact_products, least_weight
from omniup.mixing.groups import Blocks, gather, rectangles, write_pixels
from omniup.mixing.interruption import check_interruption
from omniup.mixing.windows import Windows

#: Bytes that a product writes at once: more leave the cache.
CACHED = 2**24


@dataclasses.dataclass(frozen=True, eq=False)
class KeptTile:
    """The weights of a few groups.

    Attributes:
        images: which images of the batch.
        where: which pixels, as in `Tile`.
        cells: [n, K], as in `Groups`.
        weights: [B, n, K, P].
    """

    images: slice
    where: Blocks | Tensor
    cells: Tensor
    weights: Tensor

    @property
    def index_bytes(self) -> int:
        """Bytes of the indices of pixels and cells."""
        return self.cells.nbytes + (self.where.nbytes if isinstance(self.where, Tensor) else 0)

    def masked(self, valid: Tensor | None, windows: Windows) -> KeptTile:
        """Renormalise the weights over valid cells, boolean [1, 1, h, w], as `mix_valid` does; None for all.

        Where no valid cell of a pixel's window has a weight, the pixel's own cell has all of it.
        """
        if valid is None:
            return self
        (height, width), cells = windows.grid, self.cells.unsqueeze(2)  # [n, K, 1]
        y, x = rectangles(self.where, windows)  # [..., rows], [..., columns]
        own_y, own_x = _own(y, windows.size[0], height), _own(x, windows.size[1], width)
        own = (own_y[..., :, None] * width + own_x[..., None, :]).view(len(cells), 1, -1).to(cells)  # [n, 1, P]
        weights = self.weights[0] * valid.flatten()[cells]  # [n, K, P]
        total, least = weights.sum(1, keepdim=True), least_weight(weights.dtype)  # [n, 1, P]
        is_own = cells == own
        is_own &= is_own.cumsum(1) == 1  # lists may be filled up with cells that they have already
        weights = torch.where(total > least, weights / total.clamp_min(least), is_own.to(weights))
        return dataclasses.replace(self, weights=weights[None])


@dataclasses.dataclass(frozen=True, eq=False)
class KeptWeights:
    """The weights of an attention at all pixels; made by `Attention.keep`.

    Attributes:
        windows: which cells each output pixel draws from.
        tiles: all of them.
        channels: how many channels are mixed at a time, as the memory allows.
    """

    windows: Windows
    tiles: tuple[KeptTile, ...]
    channels: int

    @torch.no_grad()
    def mix(self, value: Tensor) -> Tensor:
        """Mix values [B, C, h, w] as `Attention.mix` does: [B, C, H, W] in their type. Not differentiable."""
        out = value.new_empty(*value.shape[:2], *self.windows.size)
        cells, pixels = value.flatten(2), out.flatten(2)
        with exact_products(value.device):
            for tile in self.tiles:
                check_interruption()
                at_once = max(1, min(self.channels, CACHED // tile.weights[:, :, 0].nbytes))
                for start in range(0, value.shape[1], at_once):
                    channels = slice(start, start + at_once)
                    values = gather(cells[tile.images, channels], tile.cells).to(tile.weights.dtype).transpose(1, 2)
                    mixed = values @ tile.weights  # [B, n, C, P]
                    write_pixels(pixels[tile.images, channels], mixed, self.windows, tile.where)
        return out


def _own(place: Tensor, side: int, cells: int) -> Tensor:
    """Return the cell along an axis that a pixel's centre lies in."""
    return (2 * place + 1) * cells // (2 * side)
