"""Say how queries, keys and values make a result: the one place where AnyUp's network mixes.

Without extensions it is one attention. With pyramid windows there are several, and with an implicit part cells offer
slopes besides values; then one product mixes all of it (`mixing/joint.py`).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from omniup.mixing import Attention, JointAttention, Windows
from omniup.upsamplers.anyup.implicit import slopes
from omniup.upsamplers.anyup.network import HEADS, Network
from omniup.upsamplers.anyup.pyramid import pooled, pooled_grid, spread
from omniup.upsamplers.checks import Size

#: Pixels whose coefficients are computed at once, where nothing is kept for a backward pass: few stay in the cache.
PIXELS = 2**14


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """Keys and values of the cells of each scale.

    Attributes:
        keys: of each scale [B, D, h, w].
        values: of each scale [B, 1, C, h, w]; of the first [B, 3, C, h, w] where slopes are offered.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def with_slopes(self) -> bool:
        """True where cells offer slopes besides their values."""
        return self.values[0].shape[1] > 1


@dataclasses.dataclass(frozen=True, eq=False)
class Scales:
    """The windows of a network, for one size of results and one grid, and what it does with them.

    Oracle: tests/oracles/scales.py.

    Attributes:
        network: whose extensions take part.
        size: (H', W') of the whole result.
        windows: the network's own, and those of its pyramid.
        top: the first row of the pixels that they are for.
    """

    network: Network
    size: Size
    windows: tuple[Windows, ...]
    top: int = 0

    @classmethod
    def of(cls, network: Network, size: Size, grid: Size, window_ratio: float) -> Scales:
        """Build the windows."""
        windows = [Windows.relative(size, grid, window_ratio)]
        for ratio in () if network.pyramid is None else network.pyramid.ratios:
            coarse = pooled_grid(grid, ratio, window_ratio)
            windows.append(Windows.relative(size, coarse, ratio, grouped=grid))
        return cls(network, size, tuple(windows))

    def band(self, top: int, bottom: int) -> Scales:
        """Return those of rows `top` up to `bottom` of the result alone."""
        windows = tuple(each.part(slice(top, bottom), slice(None)) for each in self.windows)
        return dataclasses.replace(self, windows=windows, top=top)

    def slopes(self, features: Tensor) -> Tensor | None:
        """Compute what `cells` takes for features [B, C, h, w]; None where the network has no implicit part."""
        return None if self.network.implicit is None else slopes(features)

    def cells(self, key: Tensor, value: Tensor, slopes: Tensor | None = None) -> Cells:
        """Gather what the cells of each scale offer.

        Args:
            key: [B, D, h, w].
            value: [B, C, h, w].
            slopes: of the values, [B, 2, C, h, w]. The network's own window alone has them, as the slope of a larger
                cell says nothing of what is inside a small one.
        """
        values = value.unsqueeze(1)
        first = values if slopes is None else torch.cat([values, slopes], dim=1)
        coarse = (pooled(value, each.grid).unsqueeze(1) for each in self.windows[1:])
        return Cells(self._keys(key), (first, *coarse))

    def mix(self, query: Tensor, cells: Cells, *, memory: int, out: Tensor | None = None) -> Tensor:
        """Mix for all pixels: queries [B, D, H', W'] to [B, C, H', W'], or `out`."""
        if len(self.windows) == 1 and not cells.with_slopes:
            return self._attentions(cells.keys, memory)[0].mix(query, cells.values[0].squeeze(1), out=out)
        coefficients = self._coefficients(query.flatten(2), self.points(query.device), cells)
        coefficients = coefficients.unflatten(2, query.shape[2:])
        return self._joint(cells, memory).mix(query, cells.values, coefficients, out=out)

    def mix_at(self, query: Tensor, cells: Cells, points: Tensor, *, memory: int) -> Tensor:
        """Mix at points [B, P, 2] only: queries [B, D, P] to [B, C, P]."""
        if len(self.windows) == 1 and not cells.with_slopes:
            return self._attentions(cells.keys, memory)[0].mix_at(query, cells.values[0].squeeze(1), points)
        coefficients = self._coefficients(query, points, cells)
        return self._joint(cells, memory).mix_at(query, cells.values, coefficients, points)

    def weights_at(self, query: Tensor, key: Tensor, points: Tensor, *, memory: int) -> Tensor:
        """Return the weights of the cells' values at points [B, P, 2], of keys [B, D, h, w]: [B, P, h, w]."""
        attentions = self._attentions(self._keys(key), memory)
        own, *coarse = (each.weights_at(query, points) for each in attentions)
        if self.network.pyramid is None:
            return own
        of_scales = self.network.pyramid(query).to(own.dtype)[..., None, None]  # [B, 1 + S, P, 1, 1]
        maps = [own, *(spread(each, self.windows[0].grid) for each in coarse)]
        return (torch.stack(maps, dim=1) * of_scales).sum(1)

    def _keys(self, key: Tensor) -> tuple[Tensor, ...]:
        pyramid = self.network.pyramid
        if pyramid is None:
            return (key,)
        coarse = enumerate(self.windows[1:])
        return key, *(pooled(pyramid.tempered(key, scale), each.grid) for scale, each in coarse)

    def _attentions(self, keys: tuple[Tensor, ...], memory: int) -> tuple[Attention, ...]:
        pairs = zip(keys, self.windows, strict=True)
        return tuple(Attention(key, windows, heads=HEADS, memory=memory) for key, windows in pairs)

    def _joint(self, cells: Cells, memory: int) -> JointAttention:
        return JointAttention(self._attentions(cells.keys, memory), memory=memory)

    def _coefficients(self, query: Tensor, points: Tensor, cells: Cells) -> Tensor:
        """Compute the coefficients at points [B or 1, P, 2], some at a time if nothing is kept of them."""
        place = self.places(points, query)
        if torch.is_grad_enabled():
            return coefficients(self.network, query, place, cells.with_slopes)
        parts = zip(query.split(PIXELS, dim=2), place.split(PIXELS, dim=2), strict=True)
        return torch.cat([coefficients(self.network, *part, cells.with_slopes) for part in parts], dim=2)

    def points(self, device: torch.device) -> Tensor:
        """Return all pixels that these are for, (y, x) of the result: [1, P, 2]."""
        y, x = (torch.arange(side, device=device) for side in self.windows[0].size)
        return torch.stack(torch.meshgrid(y + self.top, x, indexing="ij"), dim=-1).view(1, -1, 2)

    def places(self, points: Tensor, like: Tensor) -> Tensor:
        """Return where points [B, P, 2] lie, in cells from the centre of the first one: [B, 2, P]."""
        cells = like.new_tensor([n / side for n, side in zip(self.windows[0].grid, self.size, strict=True)])
        return ((points + 0.5) * cells - 0.5).mT


def coefficients(network: Network, query: Tensor, place: Tensor, with_slopes: bool) -> Tensor:
    """Compute what multiplies the values of each scale, and the slopes of the first, after its values.

    Args:
        network: with its extensions.
        query: [B, D, P].
        place: [B or 1, 2, P], see `Scales.places`.
        with_slopes: whether cells offer slopes, which asks for an implicit part.

    Returns:
        [B, J, P].
    """
    of_scales = torch.ones_like(query[:, :1]) if network.pyramid is None else network.pyramid(query)  # [B, S, P]
    if not with_slopes:
        return of_scales
    assert network.implicit is not None
    own = of_scales[:, :1]
    return torch.cat([own, own * network.implicit(query, place), of_scales[:, 1:]], dim=1)
