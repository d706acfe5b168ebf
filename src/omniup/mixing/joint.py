"""Mix by several attentions at once, each weighted pixel by pixel, of cells that may offer slopes besides values.

    out(p) = Σ_s Σ_q w_s(p, q) (a_s(p) value_s(q) + b_s(p) (y_p - y_q) rows_s(q) + c_s(p) (x_p - x_q) columns_s(q))

Distances are in cells of the attention's own grid. They are taken from pair to pair within a group, relative to the
cell in its middle, so nothing cancels however large the grid is. All attentions have the same groups of pixels, whose
weights are one matrix and whose values are another: their product is written once, whatever the number of attentions.

The backward pass is that of `attention.py` with the weights' gradients summed over what they multiply. With the terms j
of an attention and their factors f_j(p, q), a_s for the values,

    dw = Σ_j f_j ⊙ d_j,    d_j(p, q) = ⟨dout(p), value_j(q)⟩
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from omniup.mixing import pages
from omniup.mixing.attention import Attention, check_out, check_shape
from omniup.mixing.dtypes import compute_dtype, exact_products
from omniup.mixing.groups import read_pixels, scatter_add, write_pixels
from omniup.mixing.kernels import Scratch, mean_of_heads
from omniup.mixing.planner import DEFAULT_MEMORY, Plan, Tile

#: Terms of cells that offer values, and slopes along rows and columns.
WITH_SLOPES = 3


@dataclasses.dataclass(frozen=True, eq=False)
class JointAttention:
    """Attentions of the same pixels, whose mixes are added.

    Oracle: tests/oracles/joint.py, pixel by pixel.

    Attributes:
        attentions: without embedding, of windows that have the same groups of pixels (`grouped` of `Windows.relative`).
        memory: bytes of scratch space of them all.

    Example:
        >>> from omniup.mixing import Attention, Windows
        >>> fine, coarse = (Windows.relative((8, 8), (side, side), 0.3, grouped=(4, 4)) for side in (4, 2))
        >>> attentions = tuple(Attention(torch.zeros(1, 3, *each.grid), each) for each in (fine, coarse))
        >>> values = [torch.ones(1, 1, 5, *each.grid) for each in (fine, coarse)]
        >>> JointAttention(attentions).mix(torch.zeros(1, 3, 8, 8), values, torch.full((1, 2, 8, 8), 0.5)).shape
        torch.Size([1, 5, 8, 8])
    """

    attentions: tuple[Attention, ...]
    _: dataclasses.KW_ONLY
    memory: int = DEFAULT_MEMORY

    def mix(
        self, query: Tensor, values: Sequence[Tensor], coefficients: Tensor, *, out: Tensor | None = None
    ) -> Tensor:
        """Mix at all pixels.

        Args:
            query: [B, D, H, W].
            values: for each attention [B, 1, C, h, w]; or [B, 3, C, h, w], values and their slopes along rows and
                columns, per cell.
            coefficients: [B, J, H, W], what multiplies each of these, one attention after the other.
            out: as in `Attention.mix`.

        Returns:
            [B, C, H, W] in the type of the values. Differentiable (once) in everything.

        Raises:
            ValueError, TooLittleMemoryError: as `Attention.mix`.
        """
        windows = self.attentions[0].windows
        flat = self._flat(query.flatten(2), values, coefficients.flatten(2))
        plans = self._plans(query, values)
        if out is not None:
            check_out(out, (len(query), values[0].shape[2], *windows.size))
            with torch.no_grad():
                _write(plans, *flat, out.flatten(2))
            return out
        mixed: Tensor = _Mix.apply(plans, flat[0], flat[3], *flat[1], *flat[2])
        return mixed.unflatten(2, windows.size)

    def mix_at(self, query: Tensor, values: Sequence[Tensor], coefficients: Tensor, points: Tensor) -> Tensor:
        """Mix at chosen pixels only, at the cost of those.

        Args:
            query: [B, D, N].
            values: as in `mix`.
            coefficients: [B, J, N].
            points: [B, N, 2], as in `Attention.mix_at`.

        Returns:
            [B, C, N].
        """
        flat = self._flat(query, values, coefficients)
        mixed: Tensor = _Mix.apply(self._plans(query, values, points), flat[0], flat[3], *flat[1], *flat[2])
        return mixed

    def _flat(
        self, query: Tensor, values: Sequence[Tensor], coefficients: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
        """Check the values and coefficients [B, J, pixels], and flatten keys and values."""
        batch, terms = len(query), sum(value.shape[1] for value in values)
        for value, attention in zip(values, self.attentions, strict=True):
            check_shape("values", value, (batch, "J", values[0].shape[2], *attention.windows.grid))
        check_shape("coefficients", coefficients, (batch, terms, query.shape[2]))
        return (
            query,
            [each.key.flatten(2) for each in self.attentions],
            [each.flatten(3) for each in values],
            coefficients,
        )

    def _plans(self, query: Tensor, values: Sequence[Tensor], points: Tensor | None = None) -> tuple[Plan, ...]:
        dtype = compute_dtype(query, *(each.key for each in self.attentions), *values)
        return tuple(dataclasses.replace(each.plan(dtype, points), memory=self.memory) for each in self.attentions)


def _tiles(
    plans: Sequence[Plan], query: Tensor, keys: Sequence[Tensor], terms: Sequence[int], channels: int
) -> Iterator[tuple[Tile, ...]]:
    """Yield the tiles of the same pixels, one of each attention."""
    shapes = [
        plan.tile_shape(query, key, channels * count, more=count, parts=len(plans))
        for plan, key, count in zip(plans, keys, terms, strict=True)
    ]
    shape = min(longest for longest, _ in shapes), min(most for _, most in shapes)
    made = (plan.tiles(query, key, channels=channels, shape=shape) for plan, key in zip(plans, keys, strict=True))
    return zip(*made, strict=True)


def _chunks(plans: Sequence[Plan], terms: Sequence[int], channels: int) -> list[slice]:
    """Cut the channels so that the values of all windows fit: as `Plan.channel_chunks`."""
    most = min(plan.channel_chunks(channels * sum(terms))[0].stop for plan in plans)
    most = max(1, most // sum(terms))
    return [slice(start, min(start + most, channels)) for start in range(0, channels, most)]


def _factors(tile: Tile, coefficients: Tensor, plan: Plan) -> Tensor:
    """Return what multiplies the weights for each term: of coefficients [B, n, J, P], [B, n, J, K or 1, P]."""
    factors = coefficients.unsqueeze(3)
    if coefficients.shape[2] < WITH_SLOPES:
        return factors
    strides = factors.new_tensor([plan.windows.rows.stride, plan.windows.columns.stride])
    offsets = tile.group.pixel_offset.unsqueeze(2) - tile.group.cell_offset.unsqueeze(3)  # [2, n, K, P], in pixels
    offsets = (offsets / strides.view(2, 1, 1, 1)).transpose(0, 1)  # [n, 2, K, P]
    return factors * torch.cat([torch.ones_like(offsets[:, :1]), offsets], dim=1)


def _write(
    plans: Sequence[Plan],
    query: Tensor,
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    coefficients: Tensor,
    out: Tensor,
) -> None:
    """Write the mix to `out` [B, C, pixels]; all tensors are flat, values [B, J, C, cells]."""
    terms, windows = [value.shape[1] for value in values], plans[0].windows
    scratches = [Scratch(query.new_empty(0, dtype=plans[0].dtype)) for _ in plans]
    with exact_products(query.device):
        for channels in _chunks(plans, terms, out.shape[1]):
            parts = [value[:, :, channels].flatten(1, 2) for value in values]  # [B, J C, cells]
            for tiles in _tiles(plans, query, keys, terms, channels.stop - channels.start):
                images, where = tiles[0].images, tiles[0].where
                here = read_pixels(coefficients[images], windows, where).to(plans[0].dtype)  # [B, n, J, P]
                weights, offered = [], []
                each = zip(plans, tiles, parts, here.split(terms, dim=2), scratches, strict=True)
                for plan, tile, part, coefficient, scratch in each:
                    mean = mean_of_heads(tile.weights(scratch)).unsqueeze(2)  # [B, n, 1, K, P]
                    weights.append((mean * _factors(tile, coefficient, plan)).flatten(2, 3))  # [B, n, J K, P]
                    found = tile.values(part).unflatten(2, (coefficient.shape[2], -1))  # [B, n, J, C, K]
                    offered.append(found.transpose(2, 3).flatten(3))  # [B, n, C, J K]
                mixed = torch.cat(offered, dim=3) @ torch.cat(weights, dim=2)  # [B, n, C, P]
                write_pixels(out[images, channels], mixed, windows, where)


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plans: tuple[Plan, ...], query: Tensor, coefficients: Tensor, *maps: Tensor) -> Tensor:
        ctx.save_for_backward(query, coefficients, *maps)
        ctx.plans = plans
        keys, values = maps[: len(plans)], maps[len(plans) :]
        out = pages.new_empty(values[0], (len(query), values[0].shape[2], query.shape[2]))  # [B, C, pixels]
        _write(plans, query, keys, values, coefficients, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        query, coefficients, *maps = ctx.saved_tensors
        plans: tuple[Plan, ...] = ctx.plans
        keys, values = maps[: len(plans)], maps[len(plans) :]
        dquery, dcoefficients, *dmaps = (
            torch.zeros_like(tensor, dtype=plans[0].dtype) if needed else None
            for tensor, needed in zip(ctx.saved_tensors, ctx.needs_input_grad[1:], strict=True)
        )
        dkeys, dvalues = dmaps[: len(plans)], dmaps[len(plans) :]
        terms, windows = [value.shape[1] for value in values], plans[0].windows
        scratch = Scratch(query.new_empty(0, dtype=plans[0].dtype))
        with exact_products(query.device):
            for channels in _chunks(plans, terms, dout.shape[1]):
                parts = [value[:, :, channels].flatten(1, 2) for value in values]  # [B, J C, cells]
                for tiles in _tiles(plans, query, keys, terms, channels.stop - channels.start):
                    images, where = tiles[0].images, tiles[0].where
                    g = read_pixels(dout[images, channels], windows, where).to(plans[0].dtype)  # [B, n, C, P]
                    here = read_pixels(coefficients[images], windows, where).to(plans[0].dtype)  # [B, n, J, P]
                    dhere = []
                    each = zip(plans, tiles, parts, here.split(terms, dim=2), dkeys, dvalues, strict=True)
                    for plan, tile, part, coefficient, dkey, dvalue in each:
                        weights = tile.weights(scratch)  # [B, n, heads, K, P]
                        mean, factors = mean_of_heads(weights).unsqueeze(2), _factors(tile, coefficient, plan)
                        if dvalue is not None:
                            dterms = (g.unsqueeze(2) @ (mean * factors).mT).movedim(1, 3)  # [B, J, C, n, K]
                            for j in range(coefficient.shape[2]):
                                scatter_add(dvalue[images, j, channels], tile.group.cells, dterms[:, j])
                        found = tile.values(part).unflatten(2, (coefficient.shape[2], -1))  # [B, n, J, C, K]
                        products = found.mT @ g.unsqueeze(2)  # [B, n, J, K, P]
                        if dcoefficients is not None:
                            unit = _factors(tile, torch.ones_like(coefficient), plan)
                            dhere.append((products * unit * mean).sum(3))  # [B, n, J, P]
                        dweights = (products * factors).sum(2, keepdim=True).div_(plan.heads)  # [B, n, 1, K, P]
                        dlogits = weights * (dweights - (weights * dweights).sum(3, keepdim=True))
                        if dquery is not None:
                            dqueries = (tile.keys[..., : tile.width, :] @ dlogits).flatten(2, 3).transpose(1, 2)
                            scatter_add(dquery[images], tile.places, dqueries)  # [B, D, n, P]
                        if dkey is not None:
                            dcells = (tile.queries[..., : tile.width, :] @ dlogits.mT).flatten(2, 3).transpose(1, 2)
                            scatter_add(dkey[images], tile.group.cells, dcells)  # [B, D, n, K]
                    if dcoefficients is not None:
                        scatter_add(dcoefficients[images], tiles[0].places, torch.cat(dhere, dim=2).transpose(1, 2))
        gradients = zip((dquery, dcoefficients, *dmaps), ctx.saved_tensors, strict=True)
        return None, *(None if gradient is None else gradient.to(tensor.dtype) for gradient, tensor in gradients)
