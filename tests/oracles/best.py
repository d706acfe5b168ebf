"""The preset `best`, pixel by pixel and in plain numbers: kernels, stages, features, power means, back-projection."""

import math

import torch

from oracles.windows import disc_window

SIGMA, SIGMA_R, SPREAD, RADIUS = 0.7, 0.025, 0.3, 2
FIRST, RESOLVED = 0.65, 12
CHROMA = 3.0
DETAIL, CALM, NEAR, ALIKE = 0.5, 0.5, 4, 0.4


def oklab(red, green, blue):
    """Of one sRGB colour, after B. Ottosson (2020), the chroma stretched."""
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (red, green, blue))
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    medium = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        CHROMA * (1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short),
        CHROMA * (0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short),
    )


def means(image, grid):
    """[C, H, W] to [C, h, w], each pixel by the part of it that lies in the cell."""
    _, height, width = image.shape
    out = image.new_zeros(len(image), *grid)
    for i in range(grid[0]):
        for j in range(grid[1]):
            total = 0.0
            for y in range(height):
                for x in range(width):
                    part = overlap(i, grid[0], y, height) * overlap(j, grid[1], x, width)
                    total += part
                    out[:, i, j] += part * image[:, y, x]
            out[:, i, j] /= total
    return out


def overlap(cell, cells, pixel, pixels):
    stride = pixels / cells
    return max(0.0, min((cell + 1) * stride, pixel + 1) - max(cell * stride, pixel))


def mix(image, signal, sigma_r=SIGMA_R, sigma=SIGMA):
    """[3, H, W], [C, h, w] to [C, H, W]: one stage."""
    _, height, width = image.shape
    grid = tuple(signal.shape[1:])
    if len(image) == 3:
        image = torch.tensor(
            [[oklab(*image[:, y, x].tolist()) for x in range(width)] for y in range(height)], dtype=image.dtype
        ).permute(2, 0, 1)
    cells = means(image, grid)
    spread = (means(image**2, grid) - cells**2).mean(0)
    stride_y, stride_x = height / grid[0], width / grid[1]
    out = signal.new_zeros(len(signal), height, width)
    for y in range(height):
        for x in range(width):
            weights, values = [], []
            for i, j in disc_window(y, x, (height, width), grid, RADIUS):
                dy, dx = (y + 0.5) / stride_y - (i + 0.5), (x + 0.5) / stride_x - (j + 0.5)
                distance = float(((image[:, y, x] - cells[:, i, j]) ** 2).sum())
                variance = sigma_r**2 + SPREAD * max(0.0, float(spread[i, j]))
                weights.append(-(dy**2 + dx**2) / (2 * sigma**2) - distance / (2 * variance))
                values.append(signal[:, i, j])
            most = max(weights)
            weights = [math.exp(weight - most) for weight in weights]
            out[:, y, x] = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    return out


def staged(image, signal):
    """The mix of predictions: to grids twice and four times as fine, where those still have cells of two pixels."""
    _, height, width = image.shape
    for _ in range(2):
        finer = 2 * signal.shape[1], 2 * signal.shape[2]
        if 2 * finer[0] > height or 2 * finer[1] > width:
            break
        signal = mix(means(image, finer), signal)
    return mix(image, signal)


def prediction_of_features(image, signal):
    """Calmed; then a cubic spline, and half of what the guided mix has beyond its own; held to the signal's values."""
    _, height, width = image.shape
    grid = tuple(signal.shape[1:])
    calm = calmed(signal)
    guided = staged(image, calm)
    rest = calm - DETAIL * at_centres(guided, grid)
    out = signal.new_zeros(len(signal), height, width)
    for y in range(height):
        for x in range(width):
            out[:, y, x] = DETAIL * guided[:, y, x]
            for i, down in cubic(y, height, grid[0]):
                for j, across in cubic(x, width, grid[1]):
                    out[:, y, x] += down * across * rest[:, i, j]
    least, most = signal.amin((1, 2)), signal.amax((1, 2))
    return torch.maximum(torch.minimum(out, most[:, None, None]), least[:, None, None])


def calmed(signal):
    """Each cell half-way to the mean of those within 4 cells, weighted by how near their features are."""
    cells = [(i, j) for i in range(signal.shape[1]) for j in range(signal.shape[2])]

    def squared(p, q):
        return float(((signal[:, p[0], p[1]] - signal[:, q[0], q[1]]) ** 2).sum())

    def steps(p, q):
        return (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2

    beside = [squared(p, q) for p in cells for q in cells if steps(p, q) == 1]
    out = torch.zeros_like(signal)
    for p in cells:
        near = [q for q in cells if steps(p, q) <= NEAR**2]
        if beside:
            variance = ALIKE**2 * sum(beside) / len(beside)
            weights = [math.exp(-squared(p, q) / (2 * variance)) for q in near]
        else:
            weights = [1.0]  # for the one cell that there is
        mean = sum(w * signal[:, i, j] for w, (i, j) in zip(weights, near, strict=True)) / sum(weights)
        out[:, p[0], p[1]] = (1 - CALM) * signal[:, p[0], p[1]] + CALM * mean
    return out


def at_centres(image, grid):
    """[C, H, W] to [C, h, w]: between the pixels nearest to each cell's centre, linearly."""
    _, height, width = image.shape
    out = image.new_zeros(len(image), *grid)
    for i in range(grid[0]):
        for j in range(grid[1]):
            y, x = (i + 0.5) * height / grid[0] - 0.5, (j + 0.5) * width / grid[1] - 0.5
            for row in (math.floor(y), math.floor(y) + 1):
                for column in (math.floor(x), math.floor(x) + 1):
                    part = (1 - abs(y - row)) * (1 - abs(x - column))
                    out[:, i, j] += part * image[:, min(row, height - 1), min(column, width - 1)]
    return out


def cubic(pixel, pixels, cells):
    """Keys' kernel with a = -0.75: places and weights of four cells, those beyond the border being its own."""
    a, place = -0.75, (pixel + 0.5) * cells / pixels - 0.5
    for cell in range(math.floor(place) - 1, math.floor(place) + 3):
        t = abs(place - cell)
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        yield min(max(cell, 0), cells - 1), near if t <= 1 else a * (t**3 - 5 * t**2 + 8 * t - 4)


def power_mean(image, roots, sigma):
    """The eighth roots of shares, mixed and made shares again; `roots` are weighted already."""
    powers = mix(image, roots, sigma=sigma) ** 8
    return powers / powers.sum(0)


def weighted_roots(shares):
    """Cells count as much as the largest of their shares."""
    return shares.max(0).values * shares.clamp(min=1e-6) ** (1 / 8)


def sharpness(shares):
    """Thrice the square of the jump between neighbours, weighted by itself, against what sure shares jump by."""
    squares = total = 0.0
    _, height, width = shares.shape
    for y in range(height):
        for x in range(width):
            for below, right in ((1, 0), (0, 1)):
                if y + below < height and x + right < width:
                    jump = (shares[:, y + below, x + right] - shares[:, y, x]).abs()
                    squares += float((jump**2).sum())
                    total += float(jump.sum())
    sure = sum(float((shares[:, y, x] ** 2).sum()) for y in range(height) for x in range(width)) / (height * width)
    return 3 * (squares / (sure * total)) ** 2 if total else 0.0


def prediction_of_shares(image, shares, side=None):
    """Three stages of power means, the first of narrower kernels; fine cells averaged with what larger ones give."""
    _, height, width = image.shape
    levels = [(shares, 1.0)]  # and what each of them counts; the coarsest first
    side = side or math.sqrt(height * width / shares[0].numel())
    sharp = max(sharpness(shares), side / RESOLVED)
    while sharp < 1 and len(levels) < 3:
        finer, _ = levels[0]
        levels[0] = finer, sharp**2
        levels.insert(0, (means(finer, (math.ceil(finer.shape[1] / 2), math.ceil(finer.shape[2] / 2))), 1.0))
        sharp *= 2
    sigma = FIRST * SIGMA
    roots = weighted_roots(levels[0][0])
    for stage in (1, 2):
        if stage < len(levels):
            own, part = levels[stage]
            up = weighted_roots(power_mean(means(image, own.shape[1:]), roots, sigma))
            roots = part * weighted_roots(own) + (1 - part) * up
        elif 4 * roots.shape[1] <= height and 4 * roots.shape[2] <= width:
            finer = 2 * roots.shape[1], 2 * roots.shape[2]
            roots = weighted_roots(power_mean(means(image, finer), roots, sigma))
        else:
            break
        sigma = SIGMA
    return power_mean(image, roots, sigma)


def back_projected(image, signal, sigma_r, steps, start=None):
    """Values with the means that they should have, nearly."""
    out = mix(image, signal, sigma_r) if start is None else start
    for _ in range(steps):
        out = out + mix(image, signal - means(out, signal.shape[1:]), sigma_r)
    return out


def back_projected_shares(image, shares, sigma_r, steps):
    """The same for shares: what the means lack goes into the roots, averaged with what went there before."""

    def powers(mixed):
        high = mixed.clamp(min=0) ** 8
        return high / high.sum(0)

    roots = shares.clamp(min=1e-6) ** (1 / 8)
    added = 0 * roots
    for _ in range(steps):
        added = 0.5 * added + 0.5 * (shares - means(powers(mix(image, roots, sigma_r)), shares.shape[1:]))
        roots = roots + added
    return powers(mix(image, roots, sigma_r))
