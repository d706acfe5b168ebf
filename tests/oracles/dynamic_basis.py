"""The dynamic basis of AnyUp written out, for one image: loops over channels, and eigenvalues."""

import math

import torch

FLOOR = 1e-6


def changed_basis(state, features, image_part, image_size):
    """features [C, h, w] of length 1 at each cell and image_part [D, h, w] to the filters [M, 1, 5, 5] of the image."""
    pooled = image_part.mean((1, 2))
    guidance = (pooled - pooled.mean()) / (pooled.var(correction=0) + 1e-5).sqrt()
    seen = torch.cat([statistics(features, image_size), guidance])
    hidden = state["dynamic_basis.first.weight"] @ seen + state["dynamic_basis.first.bias"]
    change = state["dynamic_basis.last.weight"] @ (hidden * hidden.sigmoid()) + state["dynamic_basis.last.bias"]
    basis, directions = state["key_features_encoder.0.basis"], state["dynamic_basis.directions"]
    out, each = basis.clone(), change.view(len(basis), 1 + len(directions))
    for number in range(len(basis)):
        out[number] *= 1 + each[number, 0]
        for weight, direction in zip(each[number, 1:], directions, strict=True):
            out[number, 0] += weight * direction.view(5, 5)
    return out


def statistics(features, image_size):
    channels, height, width = features.shape
    features = features * math.sqrt(channels)
    moments, products, variance = [], torch.zeros(6, dtype=features.dtype), 0.0
    for channel in features:
        d = channel - channel.mean()
        deviation = (d.square().mean() + FLOOR).sqrt()
        skewness, kurtosis = ((d / deviation) ** 3).mean(), ((d / deviation) ** 4).mean()
        moments.append(torch.stack([channel.mean(), deviation, skewness.asinh(), (1 + kurtosis).log()]))
        variance = variance + deviation**2
        for lag in (1, 2, 3):
            if lag < height:
                products[lag - 1] += (d[lag:] * d[:-lag]).mean()
            if lag < width:
                products[lag + 2] += (d[:, lag:] * d[:, :-lag]).mean()
    moments = torch.stack(moments)
    spread = (moments.var(0, correction=0) + FLOOR).sqrt()
    cells = features[:, :: math.ceil(height / 32), :: math.ceil(width / 32)].flatten(1)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(cells, correction=0).view(channels, channels)) / channels
    rank = (eigenvalues.sum() ** 2 + FLOOR**3) / ((eigenvalues**2).sum() + FLOOR**3)
    sizes = torch.tensor([channels, image_size[0] / height, image_size[1] / width], dtype=features.dtype)
    logs = torch.cat([rank.view(1), sizes]).log2() / 4
    return torch.cat([moments.mean(0), spread, products / variance, logs])
