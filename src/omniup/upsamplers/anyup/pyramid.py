"""Look through windows of several ratios at once, weighed pixel by pixel.

    out(p) = Σ_s a_s(p) mix_s(p),    a_s = [u_s]₊ / max(1, Σ_t [u_t]₊),    a_0 = 1 - Σ_s a_s,    u = W query(p) + b

Scale 0 is the window that the network has anyway, the others are those of the pyramid. The weights a are not negative
and add up to 1, so the result stays a convex mix. W and b are zero at the start, and with them a_s: weights that are 0
and must not be less have no smooth formula that could learn, as its derivative would be 0 too. So [u]₊ takes the
gradient of a projection (`_PositivePart`).

At a ratio wider than the network's own, keys and values are averaged over as many times larger cells, so that every
window holds about as many, and costs as much. Each scale has a temperature for each head, as the keys' average is less
sure than they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from omniup.errors import InputError
from omniup.mixing import cell_means
from omniup.upsamplers.checks import Size


class Pyramid(nn.Module):
    """Weights of the scales of a pyramid, and their keys.

    Args:
        ratios: of the windows beside the network's own; see `other_ratios`.
        width: D, of queries and keys.
        heads: which D is divided into.
    """

    def __init__(self, ratios: tuple[float, ...], width: int, heads: int) -> None:
        super().__init__()
        self.ratios = ratios
        self.heads = heads
        self.weigh = nn.Linear(width, len(ratios))
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)
        self.temperatures = nn.Parameter(torch.zeros(len(ratios), heads))  # logarithms of what multiplies the keys

    def forward(self, query: Tensor) -> Tensor:
        """Compute the weights of all scales, the network's own first: queries [B, D, P] to [B, 1 + S, P]."""
        logits = self.weigh.weight @ query + self.weigh.bias.unsqueeze(1)  # [B, S, P]
        raised: Tensor = _PositivePart.apply(logits)
        weights = raised / raised.sum(1, keepdim=True).clamp(min=1)
        return torch.cat([1 - weights.sum(1, keepdim=True), weights], dim=1)

    def tempered(self, key: Tensor, scale: int) -> Tensor:
        """Multiply keys [B, D, h, w] by what makes a scale, counted from 0, more or less sure than the others."""
        factors = self.temperatures[scale].exp().repeat_interleave(key.shape[1] // self.heads)  # [D]
        return key * factors.view(-1, 1, 1)


def other_ratios(pyramid: object, window_ratio: float) -> tuple[float, ...]:
    """Return the ratios of a pyramid beside the network's own window, which is always one of its scales.

    Args:
        pyramid: numbers, among which the network's own ratio may be.
        window_ratio: that ratio.

    Raises:
        InputError: they are not different numbers from 0.001 to 1, or there is none beside the network's own.
    """
    given: list[object] = list(pyramid) if isinstance(pyramid, Sequence) and not isinstance(pyramid, str) else []
    numbers = [n for n in given if isinstance(n, (int, float)) and not isinstance(n, bool) and 0.001 <= n <= 1]
    ratios = tuple(sorted({float(n) for n in numbers if n != window_ratio}))
    if len(set(numbers)) != len(given) or not ratios:
        accepted = "different numbers from 0.001 to 1, at least one of them other than window_ratio, which is {ratio}"
        raise InputError("pyramid", "is {value!r}", accepted, value=pyramid, ratio=window_ratio)
    return ratios


def pooled_grid(grid: Size, ratio: float, window_ratio: float) -> Size:
    """Return the grid of a scale: as many cells in its window as there are in the network's own, or all where fewer."""
    rows, columns = (max(1, round(side * min(1.0, window_ratio / ratio))) for side in grid)
    return rows, columns


def pooled(maps: Tensor, grid: Size) -> Tensor:
    """Average maps [B, C, h, w] over the cells of a grid, by area, in float32 or wider."""
    if tuple(maps.shape[2:]) == grid:
        return maps
    return cell_means(maps.to(torch.promote_types(maps.dtype, torch.float32)), grid)


def spread(weights: Tensor, grid: Size) -> Tensor:
    """Give each cell of a grid its part of the weights of pooled cells: [B, N, h', w'] to [B, N, h, w].

    It is the transpose of `pooled`: mixing by the result what was not pooled is mixing by the weights what was.
    """
    rows, columns = (
        pooled(torch.eye(cells, dtype=weights.dtype, device=weights.device)[None, None], (of, cells))[0, 0]
        for cells, of in zip(grid, weights.shape[2:], strict=True)
    )  # [h', h], [w', w]
    return rows.mT @ weights @ columns


class _PositivePart(torch.autograd.Function):
    """The positive part of numbers, with the gradient that projected gradient descent would take.

    Where a number is negative, the gradient passes if descent raises the number. With the derivative, 0, a scale that
    is of no use in the first steps would be lost for good.
    """

    @staticmethod
    def forward(ctx: Any, numbers: Tensor) -> Tensor:
        ctx.save_for_backward(numbers)
        return numbers.relu()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (numbers,) = ctx.saved_tensors
        return gradient.masked_fill((numbers < 0) & (gradient > 0), 0)
