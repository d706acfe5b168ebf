"""Several attentions with slopes and coefficients, written out pixel by pixel; in the type of the inputs."""

import torch

from oracles.windows import relative_window


def joint_mix(query, keys, values, coefficients, ratios, heads=1):
    """query [D, H, W], keys [D, h, w], values [J, C, h, w], coefficients [J of all, H, W] to [C, H, W]."""
    size = query.shape[1:]
    out = query.new_zeros(values[0].shape[1], *size)
    for y in range(size[0]):
        for x in range(size[1]):
            factors = iter(coefficients[:, y, x])
            for key, value, ratio in zip(keys, values, ratios, strict=True):
                grid = key.shape[1:]
                cells = relative_window(y, x, size, grid, ratio)
                share = len(query) // heads
                weights = torch.stack(
                    [
                        torch.stack([query[part, y, x] @ key[part, i, j] for i, j in cells]).softmax(0)
                        for part in (slice(head * share, (head + 1) * share) for head in range(heads))
                    ]
                ).mean(0)
                place = (y + 0.5) * grid[0] / size[0] - 0.5, (x + 0.5) * grid[1] / size[1] - 0.5  # in cells
                for term in range(len(value)):
                    factor = next(factors)
                    for weight, (i, j) in zip(weights, cells, strict=True):
                        distance = (1, place[0] - i, place[1] - j)[term]
                        out[:, y, x] += factor * weight * distance * value[term, :, i, j]
    return out
