"""AnyUp's pyramid windows and implicit part, written out from their formulas for one image: loops over pixels."""

import math

import torch

from oracles.anyup import attention
from oracles.averages import cell_means


def mixed(state, query, key, features, window_ratio=0.1, pyramid=(), implicit=False):
    """query [D, H, W], key [D, h, w] and features [C, h, w] to [C, H, W]; and the weights of cells, [H, W, h, w]."""
    (d, height, width), grid = query.shape, features.shape[1:]
    own = attention(query, key, ratio=window_ratio)  # [H, W, h, w]
    scaled = query / math.sqrt(d // 4)  # so that a head's product is its logit
    scales, mixes = [own], [torch.einsum("yxij,cij->cyx", own, features)]
    if implicit:
        mixes[0] = mixes[0] + detail(state, scaled, features, own)
    for n, ratio in enumerate(pyramid):
        sides = tuple(max(1, round(side * min(1, window_ratio / ratio))) for side in grid)
        factors = state["pyramid.temperatures"][n].exp().repeat_interleave(len(key) // 4)
        coarse_key, coarse = (cell_means(maps[None], sides)[0] for maps in (key * factors.view(-1, 1, 1), features))
        weights = attention(query, coarse_key, ratio=ratio)
        mixes.append(torch.einsum("yxij,cij->cyx", weights, coarse))
        units = torch.eye(grid[0] * grid[1], dtype=key.dtype).view(1, -1, *grid)  # which cells make up a larger one
        scales.append(torch.einsum("yxij,kij->yxk", weights, cell_means(units, sides)[0]).unflatten(2, grid))
    out, weights = torch.zeros_like(mixes[0]), torch.zeros_like(own)
    for y in range(height):
        for x in range(width):
            shares = [1.0]
            if pyramid:
                logits = state["pyramid.weigh.weight"] @ scaled[:, y, x] + state["pyramid.weigh.bias"]
                raised = [max(float(logit), 0.0) for logit in logits]
                raised = [each / max(1.0, sum(raised)) for each in raised]
                shares = [1 - sum(raised), *raised]
            out[:, y, x] = sum(share * mix[:, y, x] for share, mix in zip(shares, mixes, strict=True))
            weights[y, x] = sum(share * each[y, x] for share, each in zip(shares, scales, strict=True))
    return out, weights


def detail(state, query, features, weights):
    """What the implicit part adds to a mix with these weights: [C, H, W]."""
    (_, height, width), (channels, h, w) = query.shape, features.shape
    slopes = differences(features, 0), differences(features, 1)
    out = torch.zeros(channels, height, width, dtype=features.dtype)
    for y in range(height):
        for x in range(width):
            place = torch.tensor([(y + 0.5) * h / height - 0.5, (x + 0.5) * w / width - 0.5], dtype=query.dtype)
            angles = 2 * math.pi * place
            hidden = (
                state["implicit.of_query.weight"] @ query[:, y, x]
                + state["implicit.of_query.bias"]
                + state["implicit.of_place.weight"] @ torch.cat([angles.sin(), angles.cos()])
            )
            last = state["implicit.last.weight"] @ (hidden * torch.sigmoid(hidden)) + state["implicit.last.bias"]
            fusion, gates = torch.tanh(last[0]), 1 + last[1:]
            for i in range(h):
                for j in range(w):
                    distance = place - torch.tensor([i, j])
                    plane = sum(gates[axis] * distance[axis] * slopes[axis][:, i, j] for axis in (0, 1))
                    out[:, y, x] += fusion * weights[y, x, i, j] * plane
    return out


def differences(features, axis):
    """Differences of neighbours along an axis of cells, central ones where there are two: [C, h, w]."""
    out, maps = torch.zeros_like(features), features.movedim(axis + 1, 1)
    side = maps.shape[1]
    for n in range(side):
        before, after = max(n - 1, 0), min(n + 1, side - 1)
        if after > before:
            out.movedim(axis + 1, 1)[:, n] = (maps[:, after] - maps[:, before]) / (after - before)
    return out
