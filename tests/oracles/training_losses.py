"""The losses of training, pixel by pixel, as the paper words them."""

import math


def distance(prediction, target, *, flat):
    """1 - cos plus the squared error of values scaled by the target's own range, the mean over pixels.

    prediction and target [B, C, h, w] in float64.
    """
    pixels = [
        (prediction[b, :, y, x].tolist(), target[b, :, y, x].tolist())
        for b in range(target.shape[0])
        for y in range(target.shape[2])
        for x in range(target.shape[3])
    ]
    least = flat * sum(max(t) - min(t) for _, t in pixels) / len(pixels)
    total = 0.0
    for p, t in pixels:
        dot = sum(a * b for a, b in zip(p, t, strict=True))
        cosine = dot / (math.sqrt(sum(a * a for a in p)) * math.sqrt(sum(b * b for b in t)))
        low, span = min(t), max(max(t) - min(t), least) + 1e-6
        squares = [((a - low) / span - (b - low) / span) ** 2 for a, b in zip(p, t, strict=True)]
        total += 1 - cosine + sum(squares) / len(squares)
    return total / len(pixels)


def cell_means(maps, grid):
    """Means of [B, C, H, W] over the cells of a grid that divides the sides: [B, C, h, w]."""
    height, width = (side // cells for side, cells in zip(maps.shape[2:], grid, strict=True))
    out = maps.new_empty(*maps.shape[:2], *grid)
    for y in range(grid[0]):
        for x in range(grid[1]):
            cell = maps[:, :, y * height : (y + 1) * height, x * width : (x + 1) * width]
            out[:, :, y, x] = cell.sum((2, 3)) / (height * width)
    return out
