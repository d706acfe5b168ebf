"""The domain transform with normalized convolution, pixel by pixel (Gastal & Oliveira 2011, eqs. 11, 14, 15)."""

import math

import torch


def smooth(maps, image, sigma, sigma_r, iterations):
    """maps [C, H, W] and image [G, H, W], float64; sigma along columns and along rows."""
    for k in range(1, iterations + 1):
        for axis in (1, 0):
            wide = sigma[axis] * math.sqrt(3) * 2 ** (iterations - k) / math.sqrt(4**iterations - 1)
            turned, colours = (each if axis == 1 else each.mT for each in (maps, image))
            rows = [
                smooth_row(turned[:, row], colours[:, row], sigma[axis] / sigma_r, math.sqrt(3) * wide)
                for row in range(turned.shape[1])
            ]
            maps = torch.stack(rows, 1) if axis == 1 else torch.stack(rows, 1).mT
    return maps


def smooth_row(values, colours, stretch, radius):
    """values [C, W]: each the mean of those that are no farther than the radius, a path over the colours being long."""
    length = values.shape[1]

    def distance(p, q):
        path = range(min(p, q) + 1, max(p, q) + 1)
        return sum(1 + stretch * float((colours[:, u] - colours[:, u - 1]).abs().sum()) for u in path)

    near = [[q for q in range(length) if distance(p, q) <= radius] for p in range(length)]
    return torch.stack([values[:, each].mean(1) for each in near], 1)
