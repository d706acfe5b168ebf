"""The one engine: every output pixel is a softmax-weighted mean of the LR values in its window.

    out(p) = Σ_q w(p, q) value(q),    w(p, ·) = softmax over the window of ⟨query(p), key(q)⟩

The pixels are worked through in groups that share their candidates (`groups.py`), so a group is a small dense
attention: two matrix products and a softmax. Weights are made, used and forgotten while they lie in the cache. The
backward pass makes them anew, and what is of their size there is in closed form:

    dlogit = w ⊙ (dw - Σ_q w dw),    dw(p, q) = ⟨dout(p), value(q)⟩

so nothing of the size pixels × candidates outlives its group, forward or backward. Where there are several heads, each
has its share of query and key and a softmax of its own, and w is the mean of their weights.

Logits are computed in full float32, or in float64 where the input is: the terms of a Gaussian's exponent cancel, and a
reduced format (TF32, bfloat16, autocast) would leave noise. Vectors lie channels first, [.., D, P] and [.., D, K]:
products with one short side are several times faster so.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from omniup.mixing.groups import read, scatter_add, write
from omniup.mixing.tiles import (
    DEFAULT_MEMORY,
    DotProduct,
    Embedding,
    Scratch,
    Work,
    exact,
    mean,
    pair_products,
    precision,
    softmax,
)
from omniup.mixing.windows import Windows


def mix(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    windows: Windows,
    *,
    embed: Embedding | None = None,
    reach: Tensor | None = None,
    heads: int = 1,
    memory: int = DEFAULT_MEMORY,
    out: Tensor | None = None,
) -> Tensor:
    """Blend low-resolution values with softmax weights, window by window.

    Args:
        query: [B, D, H, W], one vector per output pixel; with `embed`, whatever that takes.
        key: [B, D, h, w], one vector per low-resolution cell; with `embed`, whatever that takes.
        value: [B, C, h, w], what is blended; any floating-point type.
        windows: which cells each output pixel may draw from.
        embed: how logits come from `query` and `key`; by default their inner product.
        reach: [B, 1, h, w], for discs: a radius for each cell, in cells, brought to the pixels bilinearly. A pixel
            draws from where dy² + dx² <= radius², but not beyond `windows.radius`. Not differentiable.
        heads: into how many equal parts the D coordinates are cut, one after the other. Each part makes weights of its
            own, and their mean is what blends.
        memory: bytes of scratch space beyond inputs, outputs and gradients of inputs; the work is cut to fit.
        out: [B, C, H, W], where the result goes, in any floating-point type; then nothing is differentiable.

    Returns:
        [B, C, H, W] in the type of `value`. Every output lies in the convex hull of its window's values. Differentiable
        (once) in key and value, and without `embed` in query.

    Raises:
        ValueError: shapes disagree, or the query of an embedding asks for a gradient.
        TooLittleMemoryError: one pixel's window alone exceeds `memory`.

    Example:
        >>> windows = Windows.square(size=(8, 8), grid=(2, 2), radius=1)
        >>> mix(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 2, 2), torch.ones(1, 5, 2, 2), windows).shape
        torch.Size([1, 5, 8, 8])
    """
    _check(query, key, value, windows, embed, reach, heads)
    _check_size(query, windows)
    kind = precision(query, key, value)
    work = Work(windows, embed or DotProduct(query.shape[1]), reach, memory, kind, heads=heads)
    flat = query.flatten(2), key.flatten(2), value.flatten(2)
    if out is not None:
        _check_out(out, (*value.shape[:2], *windows.size))
        with torch.no_grad():
            _blend(*flat, work, out.flatten(2))
        return out
    mixed: Tensor = _Mix.apply(*flat, work)
    return mixed.unflatten(2, windows.size)


def mix_at(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    windows: Windows,
    points: Tensor,
    *,
    embed: Embedding | None = None,
    reach: Tensor | None = None,
    heads: int = 1,
    memory: int = DEFAULT_MEMORY,
) -> Tensor:
    """`mix` at chosen pixels only, at the cost of those.

    Args:
        query: [B, D, N], one vector per point.
        key: [B, D, h, w].
        value: [B, C, h, w].
        windows: which cells each output pixel may draw from.
        points: [B, N, 2], whole numbers: (y, x) of pixels of the output.
        embed: as in `mix`.
        reach: as in `mix`.
        heads: as in `mix`.
        memory: as in `mix`.

    Returns:
        [B, C, N], as `mix`.

    Raises:
        ValueError: as `mix`; or a point lies outside the output.
    """
    _check(query, key, value, windows, embed, reach, heads)
    _check_points(query, windows, points)
    kind = precision(query, key, value)
    work = Work(windows, embed or DotProduct(query.shape[1]), reach, memory, kind, points, heads)
    out: Tensor = _Mix.apply(query, key.flatten(2), value.flatten(2), work)
    return out


def weights_at(
    query: Tensor,
    key: Tensor,
    windows: Windows,
    points: Tensor,
    *,
    embed: Embedding | None = None,
    reach: Tensor | None = None,
    heads: int = 1,
    memory: int = DEFAULT_MEMORY,
) -> Tensor:
    """The weights themselves, at chosen pixels.

    Args:
        query: [B, D, N], one vector per point.
        key: [B, D, h, w].
        windows: which cells each output pixel may draw from.
        points: [B, N, 2], as in `mix_at`.
        embed: as in `mix`.
        reach: as in `mix`.
        heads: as in `mix`.
        memory: as in `mix`.

    Returns:
        [B, N, h, w], float32 or float64, each summing to 1; zero outside a pixel's window. Not differentiable.

    Raises:
        ValueError: as `mix_at`.
    """
    _check(query, key, key, windows, embed, reach, heads)
    _check_points(query, windows, points)
    kind = precision(query, key)
    work = Work(windows, embed or DotProduct(query.shape[1]), reach, memory, kind, points, heads)
    query, key = query.detach(), key.detach().flatten(2)
    out = query.new_zeros(len(query), query.shape[2], key.shape[2], dtype=kind)  # [B, N, cells]
    pairs, shares = Scratch(out), Scratch(out)
    with torch.no_grad(), exact(query.device):
        for tile in work.tiles(query, key, channels=1):
            weights = mean(softmax(pair_products(tile.keys, tile.queries, pairs), shares))[..., 0]  # [B, n, K]
            rows = out[tile.images, tile.places[0, 0] : tile.places[-1, 0] + 1]  # [B, n, cells]
            rows.scatter_add_(2, tile.group.cells.expand(weights.shape), weights)
    return out.unflatten(2, windows.grid)


def entropy(
    query: Tensor,
    key: Tensor,
    windows: Windows,
    *,
    embed: Embedding | None = None,
    reach: Tensor | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Tensor:
    """Entropy of each pixel's weights, in nats; its exponential is how many candidates a pixel really draws from.

    A border cell that clamping repeats counts as that many candidates, so equal weights have the entropy
    log(number of places in the window).

    Args:
        query: [B, D, H, W], as in `mix`.
        key: [B, D, h, w], as in `mix`.
        windows: as in `mix`.
        embed: as in `mix`.
        reach: as in `mix`.
        memory: as in `mix`.

    Returns:
        [B, 1, H, W], float32 or float64; not differentiable.

    Raises:
        ValueError: as `mix`.
    """
    _check(query, key, key, windows, embed, reach)
    _check_size(query, windows)
    work = Work(windows, embed or DotProduct(query.shape[1]), reach, memory, precision(query, key))
    query, key = query.detach().flatten(2), key.detach().flatten(2)
    out = query.new_empty(len(query), 1, query.shape[2], dtype=work.dtype)
    pairs, shares = Scratch(out), Scratch(out)
    with torch.no_grad(), exact(query.device):
        for tile in work.tiles(query, key, channels=1):
            # The logits hold log m of a candidate that occurs m times, and its weight is that of all m together.
            logits = pair_products(tile.keys, tile.queries, pairs)  # [B, n, 1, K, P]
            total = logits.logsumexp(3)  # [B, n, 1, P]
            weights = softmax(logits, shares)  # [B, n, 1, K, P]
            # Without log m:
            plain = pair_products(tile.keys[..., : tile.width, :], tile.queries[..., : tile.width, :], pairs)
            values = total - (weights * plain).sum(3)  # [B, n, 1, P] = -Σ w log(w / m)
            write(out[tile.images], values, windows, tile.group, tile.places)
    return out.unflatten(2, windows.size)


def _blend(query: Tensor, key: Tensor, value: Tensor, work: Work, out: Tensor) -> None:
    """Write the mix to `out` [B, C, pixels]; the others are flat too."""
    like = value.new_empty(0, dtype=work.dtype)
    pairs, shares = Scratch(like), Scratch(like)
    with exact(query.device):
        for channels in work.slabs(value.shape[1]):
            for tile in work.tiles(query, key, channels=channels.stop - channels.start):
                weights = mean(softmax(pair_products(tile.keys, tile.queries, pairs), shares))  # [B, n, K, P]
                mixed = tile.values(value[:, channels]) @ weights  # [B, n, C, P]
                write(out[tile.images, channels], mixed, work.windows, tile.group, tile.places)


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, work: Work) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.work = work
        out = value.new_empty(*value.shape[:2], query.shape[2])  # [B, C, pixels]
        _blend(query, key, value, work, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        work: Work = ctx.work
        dquery, dkey, dvalue = (
            torch.zeros_like(tensor, dtype=work.dtype) if needed else None
            for tensor, needed in zip((query, key, value), ctx.needs_input_grad[:3], strict=True)
        )
        like = value.new_empty(0, dtype=work.dtype)
        pairs, shares = Scratch(like), Scratch(like)
        with exact(query.device):
            for channels in work.slabs(value.shape[1]):
                for tile in work.tiles(query, key, channels=channels.stop - channels.start):
                    queries, keys = tile.queries[..., : tile.width, :], tile.keys[..., : tile.width, :]
                    weights = softmax(pair_products(tile.keys, tile.queries, pairs), shares)  # [B, n, heads, K, P]
                    g = read(dout[tile.images, channels], work.windows, tile.group, tile.places)  # [B, n, C, P]
                    g = g.to(work.dtype)
                    if dvalue is not None:
                        dvalues = (g @ mean(weights).mT).transpose(1, 2)  # [B, C, n, K]
                        scatter_add(dvalue[tile.images, channels], tile.group.cells, dvalues)
                    if dquery is not None or dkey is not None:
                        dweights = pair_products(tile.values(value[:, channels]), g, pairs)  # [B, n, K, P]
                        dweights = dweights.div_(work.heads).unsqueeze(2)  # of each head: [B, n, 1, K, P]
                        dlogits = weights * (dweights - (weights * dweights).sum(3, keepdim=True))
                        if dquery is not None:
                            dqueries = (keys @ dlogits).flatten(2, 3).transpose(1, 2)  # [B, D, n, P]
                            scatter_add(dquery[tile.images], tile.places, dqueries)
                        if dkey is not None:
                            dkeys = (queries @ dlogits.mT).flatten(2, 3).transpose(1, 2)  # [B, D, n, K]
                            dcells = work.embed.key_gradient(dkeys, tile.group, tile.images)  # [B, G, n, K]
                            scatter_add(dkey[tile.images], tile.group.cells, dcells)
        gradients = zip((dquery, dkey, dvalue), (query, key, value), strict=True)
        return *(None if gradient is None else gradient.to(tensor.dtype) for gradient, tensor in gradients), None


def _check_size(query: Tensor, windows: Windows) -> None:
    if query.shape[2:] != windows.size:
        raise ValueError(f"query is {tuple(query.shape)}: its last two sides must be {windows.size}")


def _check_out(out: Tensor, shape: tuple[int, ...]) -> None:
    if out.shape != shape or out.stride(2) != shape[3] * out.stride(3) or not out.is_floating_point():
        raise ValueError(
            f"out is {tuple(out.shape)}: accepted is {shape}, floating point, its rows one after the other"
        )


def _check_points(query: Tensor, windows: Windows, points: Tensor) -> None:
    if points.shape != (query.shape[0], query.shape[2], 2):
        raise ValueError(f"points is {tuple(points.shape)}: query {tuple(query.shape)} asks for [B, N, 2]")
    outside = ((points < 0) | (points >= points.new_tensor(windows.size))).any(-1)
    if outside.any():
        raise ValueError(f"points: {int(outside.sum())} of {outside.numel()} lie outside the output, {windows.size}")


def _check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    windows: Windows,
    embed: Embedding | None,
    reach: Tensor | None,
    heads: int = 1,
) -> None:
    for name, maps in (("key", key), ("value", value)):
        if maps.ndim != 4 or maps.shape[2:] != windows.grid or len(maps) != len(query):
            raise ValueError(f"{name} is {tuple(maps.shape)}: accepted is [{len(query)}, channels, *{windows.grid}]")
    if reach is not None and (windows.radius is None or reach.shape != (len(query), 1, *windows.grid)):
        raise ValueError(f"reach is {tuple(reach.shape)}: accepted is [{len(query)}, 1, *{windows.grid}], for discs")
    if embed is not None and query.requires_grad:
        raise ValueError("query requires a gradient: with an embedding only key and value are differentiable")
    if embed is None and query.shape[1] != key.shape[1]:
        raise ValueError(f"query has {query.shape[1]} channels and key {key.shape[1]}: accepted are equal numbers")
    if heads < 1 or (embed.width if embed else query.shape[1]) % heads:
        raise ValueError(f"heads is {heads}: accepted are numbers that divide the {query.shape[1]} coordinates")
