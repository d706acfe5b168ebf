"""Compute windowed attention: each output pixel is a softmax-weighted mean of the values in its window.

    out(p) = Σ_q w(p, q) value(q),    w(p, ·) = softmax over the window of ⟨query(p), key(q)⟩

Pixels that share their candidates form a group (`groups.py`), which is a small dense attention: two matrix products and
a softmax. A few groups at a time make a tile (`planner.py`), whose weights are used and forgotten while they lie in the
cache. The backward pass computes them again; what it needs besides has a closed form,

    dlogit = w ⊙ (dw - Σ_q w dw),    dw(p, q) = ⟨dout(p), value(q)⟩

so nothing of the size pixels × candidates outlives its tile, forward or backward. Each of several heads has its part of
query and key and a softmax of its own, and w is the mean of their weights.

Logits are computed in full float32, or in float64 where the input is: the terms of a Gaussian's exponent cancel, and a
reduced format (TF32, bfloat16, autocast) would leave noise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from omniup.mixing import pages
from omniup.mixing.dtypes import compute_dtype, exact_products
from omniup.mixing.groups import read_pixels, scatter_add, write_pixels
from omniup.mixing.kept import KeptTile, KeptWeights
from omniup.mixing.kernels import Scratch, mean_of_heads, pair_products
from omniup.mixing.planner import DEFAULT_MEMORY, DotProduct, Embedding, Plan
from omniup.mixing.stencils import Stencil, averaged_mix
from omniup.mixing.windows import Windows


@dataclasses.dataclass(frozen=True, eq=False)
class Attention:
    """Attention of output pixels to the low-resolution cells in their windows.

    Oracle: tests/oracles/attention.py, the same with dense weights.

    Attributes:
        key: [B, D, h, w], one vector per low-resolution cell; with `embed`, what it makes the keys of.
        windows: which cells each output pixel draws from.
        embed: makes queries and keys of what is known of pixels and cells; by default both are given.
        reach: [B, 1, h, w], for discs: a radius for each cell, in cells, interpolated bilinearly at the pixels. A pixel
            draws from where dy² + dx² <= radius², but not beyond `windows.radius`. Not differentiable.
        heads: into how many equal parts the D coordinates are cut, one after the other. Each part makes weights of its
            own, and their mean is the weights.
        memory: bytes of scratch space beyond inputs, outputs and gradients of inputs; the work is cut to fit.

    Raises:
        ValueError: shapes disagree, or `heads` does not divide D.

    Example:
        >>> windows = Windows.square(size=(8, 8), grid=(2, 2), radius=1)
        >>> attention = Attention(torch.zeros(1, 3, 2, 2), windows)
        >>> attention.mix(torch.zeros(1, 3, 8, 8), torch.ones(1, 5, 2, 2)).shape
        torch.Size([1, 5, 8, 8])
    """

    key: Tensor
    windows: Windows
    _: dataclasses.KW_ONLY
    embed: Embedding | None = None
    reach: Tensor | None = None
    heads: int = 1
    memory: int = DEFAULT_MEMORY

    def __post_init__(self) -> None:
        check_shape("key", self.key, ("B", "D", *self.windows.grid))
        if self.reach is not None:
            if self.windows.radius is None:
                raise ValueError("reach is given for windows that are no discs; accepted: None")
            check_shape("reach", self.reach, (len(self.key), 1, *self.windows.grid))
        width = self.embed.width if self.embed else self.key.shape[1]
        if self.heads < 1 or width % self.heads:
            raise ValueError(f"heads is {self.heads}; accepted: divisors of {width}, the length of the vectors")

    def mix(self, query: Tensor, value: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Mix the values in each pixel's window with its weights.

        Args:
            query: [B, D, H, W], one vector per output pixel; with `embed`, what it makes the queries of.
            value: [B, C, h, w], any floating-point type.
            out: [B, C, H, W], where the result goes, in any floating-point type; then nothing is differentiable.

        Returns:
            [B, C, H, W] in the type of `value`. Every output lies in the convex hull of its window's values.
            Differentiable (once) in key and value, and without `embed` in query.

        Raises:
            ValueError: shapes disagree, or the query of an embedding asks for a gradient.
            TooLittleMemoryError: one pixel's window alone exceeds `memory`.
        """
        self._check_query(query, self.windows.size)
        self._check_value(value)
        plan = self.plan(compute_dtype(query, self.key, value))
        flat = query.flatten(2), self.key.flatten(2), value.flatten(2)
        if out is not None:
            check_out(out, (*value.shape[:2], *self.windows.size))
            with torch.no_grad():
                _write_mix(*flat, plan, out.flatten(2))
            return out
        mixed: Tensor = _Mix.apply(*flat, plan)
        return mixed.unflatten(2, self.windows.size)

    def mix_at(self, query: Tensor, value: Tensor, points: Tensor) -> Tensor:
        """Mix as `mix` does, at chosen pixels only and at the cost of those.

        Args:
            query: [B, D, N], one vector per point.
            value: [B, C, h, w].
            points: [B, N, 2], whole numbers: (y, x) of pixels of the output.

        Returns:
            [B, C, N], as `mix`.

        Raises:
            ValueError, TooLittleMemoryError: as `mix`; or a point lies outside the output.
        """
        self._check_points(query, points)
        self._check_value(value)
        plan = self.plan(compute_dtype(query, self.key, value), points)
        mixed: Tensor = _Mix.apply(query, self.key.flatten(2), value.flatten(2), plan)
        return mixed

    def weights_at(self, query: Tensor, points: Tensor) -> Tensor:
        """Return the weights themselves at chosen pixels; of several heads their mean.

        Args:
            query: [B, D, N], one vector per point.
            points: [B, N, 2], as in `mix_at`.

        Returns:
            [B, N, h, w], float32 or float64, each map of sum 1; zero outside a pixel's window. Not differentiable.

        Raises:
            ValueError, TooLittleMemoryError: as `mix_at`.
        """
        self._check_points(query, points)
        plan = self.plan(compute_dtype(query, self.key), points)
        query, key = query.detach(), self.key.detach().flatten(2)
        out = query.new_zeros(len(query), query.shape[2], key.shape[2], dtype=plan.dtype)  # [B, N, cells]
        scratch = Scratch(out)
        with torch.no_grad(), exact_products(query.device):
            for tile in plan.tiles(query, key, channels=1):
                weights = mean_of_heads(tile.weights(scratch))[..., 0]  # [B, n, K]
                rows = out[tile.images, tile.places[0, 0] : tile.places[-1, 0] + 1]  # [B, n, cells]
                rows.scatter_add_(2, tile.group.cells.expand(weights.shape), weights)
        return out.unflatten(2, self.windows.grid)

    def entropy(self, query: Tensor) -> Tensor:
        """Return the entropy of each pixel's weights, in nats; of several heads, that of the mean of their weights.

        Its exponential is how many candidates a pixel really draws from. A border cell that clamping repeats m times
        counts as m candidates, -w log(w / m) for their total weight w, so equal weights have the entropy
        log(number of places in the window).

        Args:
            query: [B, D, H, W], as in `mix`.

        Returns:
            [B, 1, H, W], float32 or float64; not differentiable.

        Raises:
            ValueError, TooLittleMemoryError: as `mix`.
        """
        self._check_query(query, self.windows.size)
        plan = self.plan(compute_dtype(query, self.key))
        query, key = query.detach().flatten(2), self.key.detach().flatten(2)
        out = query.new_empty(len(query), 1, query.shape[2], dtype=plan.dtype)
        scratch = Scratch(out)
        least = torch.finfo(plan.dtype).tiny  # whose logarithm is finite, for weights of 0
        with torch.no_grad(), exact_products(query.device):
            for tile in plan.tiles(query, key, channels=1):
                weights, log = (
                    mean_of_heads(tile.weights(scratch)),
                    tile.log_occurrences,
                )  # [B, n, K, P], [B, n, 1, K, P]
                # log m is the product of the coordinates after the vectors', the same in all heads. It is at least 0
                # but for candidates that do not occur, whose weight is none.
                counts = tile.keys[:, :, 0, tile.width :], tile.queries[:, :, 0, tile.width :]
                log_m = pair_products(*counts, scratch, "gradients") if log is None else log[:, :, 0]
                surprisal = log_m.clamp_(min=0).sub_(weights.clamp_min(least).log_())  # [B, n, K, P] = -log(w / m)
                values = surprisal.mul_(weights).sum(2, keepdim=True)  # [B, n, 1, P]
                write_pixels(out[tile.images], values, self.windows, tile.where)
        return out.unflatten(2, self.windows.size)

    def keep(self, query: Tensor, like: Tensor, most: int) -> KeptWeights | None:
        """Compute the weights of all pixels, and keep them for several mixes.

        Args:
            query: [B, D, H, W], as in `mix`.
            like: [B, C, h, w], of the type of the values that will be mixed, and of as many channels.
            most: bytes that the weights may take.

        Returns:
            What mixes as `mix` does, but not differentiably; None where the weights take more.

        Raises:
            ValueError, TooLittleMemoryError: as `mix`.
        """
        self._check_query(query, self.windows.size)
        self._check_value(like)
        plan = self.plan(compute_dtype(query, self.key, like))
        left = most - query[:, 0].numel() * self.windows.most_candidates * plan.dtype.itemsize  # for indices
        if left < 0:
            return None
        channels, tiles = plan.channel_chunks(like.shape[1])[0].stop, []
        for tile in _weight_tiles(query, self.key, plan, channels):
            tiles.append(dataclasses.replace(tile, weights=tile.weights.clone()))
            left -= tile.index_bytes
            if left < 0:
                return None
        return KeptWeights(self.windows, tuple(tiles), channels)

    def tiles(self, query: Tensor, like: Tensor) -> Iterator[KeptTile]:
        """Compute the weights of all pixels, some groups after the other.

        Args:
            query: as in `keep`.
            like: likewise.

        Yields:
            Groups with their weights, which the next ones overwrite. Not differentiable.

        Raises:
            ValueError, TooLittleMemoryError: as `mix`.
        """
        self._check_query(query, self.windows.size)
        self._check_value(like)
        plan = self.plan(compute_dtype(query, self.key, like))
        return _weight_tiles(query, self.key, plan, plan.channel_chunks(like.shape[1])[0].stop)

    def averaged(self, query: Tensor, kept: KeptWeights | None = None, valid: Tensor | None = None) -> Stencil:
        """Return what maps values to the cell means of their mix, of one image, without mixing anything.

        Args:
            query: [1, D, H, W], as in `mix`.
            kept: the weights, where they are known.
            valid: boolean [1, 1, h, w], the cells that the weights are renormalised over; None for all.

        Raises:
            ValueError, TooLittleMemoryError: as `mix`.
        """
        self._check_query(query, self.windows.size)
        if kept is not None:
            return averaged_mix(kept.tiles, self.windows, kept.tiles[0].weights, valid)
        plan = self.plan(compute_dtype(query, self.key))
        tiles = _weight_tiles(query, self.key, plan, channels=1)
        return averaged_mix(tiles, self.windows, query.new_empty(0, dtype=plan.dtype), valid)

    def part(self, rows: slice, columns: slice) -> Attention:
        """Return the attention of a rectangle of the output alone."""
        return dataclasses.replace(self, windows=self.windows.part(rows, columns))

    def plan(self, dtype: torch.dtype, points: Tensor | None = None) -> Plan:
        """Return the parameters without the tensors, to compute in a type, perhaps at `points` [B, N, 2] only."""
        embed = self.embed or DotProduct(self.key.shape[1])
        return Plan(self.windows, embed, self.reach, self.heads, self.memory, dtype, points)

    def _check_query(self, query: Tensor, places: tuple[int, ...]) -> None:
        check_shape("query", query, (len(self.key), "D" if self.embed else self.key.shape[1], *places))
        if self.embed is not None and query.requires_grad:
            raise ValueError("query requires a gradient; accepted: one that does not, where there is an embedding")

    def _check_value(self, value: Tensor) -> None:
        check_shape("value", value, (len(self.key), "C", *self.windows.grid))

    def _check_points(self, query: Tensor, points: Tensor) -> None:
        check_shape("points", points, (len(self.key), "N", 2))
        self._check_query(query, (points.shape[1],))
        outside = ((points < 0) | (points >= points.new_tensor(self.windows.size))).any(-1)
        if outside.any():
            height, width = self.windows.size
            count = f"{int(outside.sum())} of {outside.numel()}"
            raise ValueError(f"points lie outside the output, {count}; accepted: pixels of {height} × {width}")


def _weight_tiles(query: Tensor, key: Tensor, plan: Plan, channels: int) -> Iterator[KeptTile]:
    """Yield groups with the means of their heads' weights, which the next ones overwrite."""
    query, key = query.detach().flatten(2), key.detach().flatten(2)
    scratch = Scratch(query.new_empty(0, dtype=plan.dtype))
    with torch.no_grad(), exact_products(query.device):
        for tile in plan.tiles(query, key, channels=channels):
            yield KeptTile(tile.images, tile.where, tile.group.cells, mean_of_heads(tile.weights(scratch)))


def _write_mix(query: Tensor, key: Tensor, value: Tensor, plan: Plan, out: Tensor) -> None:
    """Write the mix to `out` [B, C, pixels]; all tensors are flat."""
    scratch = Scratch(value.new_empty(0, dtype=plan.dtype))
    with exact_products(query.device):
        for channels in plan.channel_chunks(value.shape[1]):
            for tile in plan.tiles(query, key, channels=channels.stop - channels.start):
                weights = mean_of_heads(tile.weights(scratch))  # [B, n, K, P]
                mixed = tile.values(value[:, channels]) @ weights  # [B, n, C, P]
                write_pixels(out[tile.images, channels], mixed, plan.windows, tile.where)


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, plan: Plan) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.plan = plan
        out = pages.new_empty(value, (*value.shape[:2], query.shape[2]))  # [B, C, pixels]
        _write_mix(query, key, value, plan, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        plan: Plan = ctx.plan
        dquery, dkey, dvalue = (
            torch.zeros_like(tensor, dtype=plan.dtype) if needed else None
            for tensor, needed in zip((query, key, value), ctx.needs_input_grad[:3], strict=True)
        )
        scratch = Scratch(value.new_empty(0, dtype=plan.dtype))
        with exact_products(query.device):
            for channels in plan.channel_chunks(value.shape[1]):
                for tile in plan.tiles(query, key, channels=channels.stop - channels.start):
                    queries, keys = tile.queries[..., : tile.width, :], tile.keys[..., : tile.width, :]
                    weights = tile.weights(scratch)  # [B, n, heads, K, P]
                    g = read_pixels(dout[tile.images, channels], plan.windows, tile.where)  # [B, n, C, P]
                    g = g.to(plan.dtype)
                    if dvalue is not None:
                        dvalues = (g @ mean_of_heads(weights).mT).transpose(1, 2)  # [B, C, n, K]
                        scatter_add(dvalue[tile.images, channels], tile.group.cells, dvalues)
                    if dquery is not None or dkey is not None:
                        values = tile.values(value[:, channels])  # [B, n, C, K]
                        dweights = pair_products(values, g, scratch, "gradients")  # [B, n, K, P]
                        dweights = dweights.div_(plan.heads).unsqueeze(2)  # of each head: [B, n, 1, K, P]
                        dlogits = weights * (dweights - (weights * dweights).sum(3, keepdim=True))
                        if dquery is not None:
                            dqueries = (keys @ dlogits).flatten(2, 3).transpose(1, 2)  # [B, D, n, P]
                            scatter_add(dquery[tile.images], tile.places, dqueries)
                        if dkey is not None:
                            dkeys = (queries @ dlogits.mT).flatten(2, 3).transpose(1, 2)  # [B, D, n, K]
                            constants = plan.embed.constants(tile.group, tile.images)
                            dcells = plan.embed.key_gradient(dkeys, tile.group, constants)  # [B, G, n, K]
                            scatter_add(dkey[tile.images], tile.group.cells, dcells)
        gradients = zip((dquery, dkey, dvalue), (query, key, value), strict=True)
        return *(None if gradient is None else gradient.to(tensor.dtype) for gradient, tensor in gradients), None


def check_out(out: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a tensor that cannot hold a result of a shape."""
    check_shape("out", out, shape)
    if out.stride(2) != shape[3] * out.stride(3) or not out.is_floating_point():
        raise ValueError(
            f"out is of {out.dtype} with strides {out.stride()}; accepted: floating point, its rows one after the other"
        )


def check_shape(name: str, tensor: Tensor, shape: tuple[int | str, ...]) -> None:
    """Refuse a tensor of another shape; letters stand for sides of any length."""
    wanted = [side if isinstance(side, int) else None for side in shape]
    if tensor.ndim != len(shape) or any(side not in (None, n) for side, n in zip(wanted, tensor.shape, strict=True)):
        raise ValueError(f"{name} has the shape {list(tensor.shape)}; accepted: [{', '.join(map(str, shape))}]")
