"""AnyUp written out from its description (facts: paper, state dict), for one image: loops and dense attention."""

import math

import torch
from torch.nn import functional as F

from oracles.dynamic_basis import changed_basis
from oracles.windows import relative_window


def anyup(
    state, image, features, size, basis_layout="published", window_ratio=0.1, feature_path=True, dynamic_basis=False
):
    """image [3, H, W] in 0..1 and features [C, h, w] to [C, H', W']; all in the type of the state's tensors."""
    known = features if feature_path else torch.zeros_like(features)
    query, key = queries_and_keys(state, image, known, size, basis_layout, dynamic_basis and feature_path)
    weights = attention(query, key, ratio=window_ratio)  # [H', W', h, w]
    return torch.einsum("yxij,cij->cyx", weights, features)


def attention(query, key, heads=4, ratio=0.1):
    """Mean over the heads of the softmax over each pixel's window: [D, H', W'] and [D, h, w] to [H', W', h, w]."""
    (d, height, width), grid = query.shape, key.shape[1:]
    weights = torch.zeros(height, width, *grid, dtype=query.dtype)
    for y in range(height):
        for x in range(width):
            cells = relative_window(y, x, (height, width), grid, ratio)
            for share in range(0, d, d // heads):
                part = slice(share, share + d // heads)
                logits = torch.stack([query[part, y, x] @ key[part, i, j] for i, j in cells]) / math.sqrt(d // heads)
                for (i, j), weight in zip(cells, torch.softmax(logits, 0), strict=True):
                    weights[y, x, i, j] += weight / heads
    return weights


def queries_and_keys(state, image, features, size, layout="published", dynamic_basis=False):
    grid = features.shape[1:]
    mean, std = (
        torch.tensor(v, dtype=image.dtype).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    encoded = rotate(encoder(state, "image_encoder", (image - mean) / std), state["rope.freqs"])
    query = average(encoder(state, "query_encoder", encoded), size)
    image_part = average(encoder(state, "key_encoder", encoded), grid)
    normed = features / features.square().sum(0).sqrt().clamp(min=1e-12)
    basis = state["key_features_encoder.0.basis"]
    if dynamic_basis:
        basis = changed_basis(state, normed, image_part, image.shape[1:])
    features_part = feature_agnostic(normed, basis, layout)
    for number in (1, 2):
        features_part = residual_block(state, f"key_features_encoder.{number}", features_part)
    key = encoder(state, "aggregation", torch.cat([image_part, features_part]), mode="reflect")
    query = F.conv2d(query[None], state["cross_decode.conv2d.weight"], padding=1)[0]
    return tuple(project(state, maps, name, n) for n, (maps, name) in enumerate(((query, "norm_q"), (key, "norm_k"))))


def encoder(state, name, maps, mode=None):
    weight = state[f"{name}.0.weight"]
    for side in (1, 2) if mode else ():  # [C, h, w], one more cell on all sides; a side of one cell is repeated
        index = torch.arange(-1, maps.shape[side] + 1).abs()
        last = maps.shape[side] - 1
        maps = maps.index_select(side, torch.where(index > last, 2 * last - index, index).clamp(min=0))
    maps = F.conv2d(maps[None], weight)[0]
    for number in (1, 2):
        maps = residual_block(state, f"{name}.{number}", maps)
    return maps


def residual_block(state, name, maps):
    half = maps
    for norm, conv in ((0, 2), (3, 5)):
        groups = half.unflatten(0, (8, -1)).flatten(1)
        normed = (groups - groups.mean(1, keepdim=True)) / (groups.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        scale, shift = (state[f"{name}.block.{norm}.{kind}"].view(-1, 1, 1) for kind in ("weight", "bias"))
        normed = normed.view(half.shape) * scale + shift
        half = F.conv2d((normed * torch.sigmoid(normed))[None], state[f"{name}.block.{conv}.weight"])[0]
    return maps + half


def rotate(maps, freqs):
    d, height, width = maps.shape
    out = torch.empty_like(maps)
    ys, xs = (torch.linspace(0, 1, side, dtype=maps.dtype) for side in (height, width))
    for i in range(height):
        for j in range(width):
            angle = ys[i] * freqs[0] + xs[j] * freqs[1]
            x = maps[:, i, j]
            out[:, i, j] = x * angle.cos() + torch.cat([-x[d // 2 :], x[: d // 2]]) * angle.sin()
    return out


def average(maps, size):
    (height, width), out = maps.shape[1:], torch.empty(len(maps), *size, dtype=maps.dtype)
    for i in range(size[0]):
        for j in range(size[1]):
            rows = slice(i * height // size[0], -(-(i + 1) * height // size[0]))
            columns = slice(j * width // size[1], -(-(j + 1) * width // size[1]))
            out[:, i, j] = maps[:, rows, columns].mean((1, 2))
    return out


def feature_agnostic(features, basis, layout):
    """features [C, h, w] to [M, h, w]."""
    (channels, height, width), m = features.shape, len(basis)
    out = torch.empty(m, height, width, dtype=features.dtype)
    for i in range(height):
        for j in range(width):
            responses = torch.zeros(channels, m, dtype=features.dtype)
            taps = 0
            for dy in range(-2, 3):
                for dx in range(-2, 3):
                    if 0 <= i + dy < height and 0 <= j + dx < width:
                        responses += features[:, i + dy, j + dx, None] * basis[None, :, 0, dy + 2, dx + 2]
                        taps += 1
            responses = responses / taps
            if layout == "paper":
                out[:, i, j] = responses.softmax(1).mean(0)
            else:
                regrouped = torch.empty(m, channels, dtype=features.dtype)
                for channel in range(channels):
                    for filter_ in range(m):
                        n = channel * m + filter_
                        regrouped[n // channels, n % channels] = responses[channel, filter_]
                out[:, i, j] = regrouped.softmax(0).mean(1)
    return out


def project(state, maps, norm, part):
    eps = torch.finfo(maps.dtype).eps
    normed = (
        maps / (maps.square().mean(0) + eps).sqrt() * state[f"cross_decode.cross_attn.{norm}.weight"].view(-1, 1, 1)
    )
    name, d = "cross_decode.cross_attn.attention.in_proj", len(maps)
    weight, bias = state[f"{name}_weight"][part * d : (part + 1) * d], state[f"{name}_bias"][part * d : (part + 1) * d]
    return torch.einsum("ed,dyx->eyx", weight, normed) + bias.view(-1, 1, 1)
