"""The formulas of `pyramid_bilateral`, pixel by pixel and in plain numbers; its settings are arguments."""

import math

import torch

from oracles.windows import disc_window


def oklab(red, green, blue, chroma=1.0):
    """Of one sRGB colour, after B. Ottosson (2020), the chroma stretched."""
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (red, green, blue))
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    medium = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        chroma * (1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short),
        chroma * (0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short),
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


def mix(image, signal, settings):
    """Joint bilateral mixing with the variance within cells, one stage: [G, H, W], [C, h, w] to [C, H, W]."""
    _, height, width = image.shape
    grid = tuple(signal.shape[1:])
    if len(image) == 3:
        colours = [[oklab(*image[:, y, x].tolist(), settings.chroma) for x in range(width)] for y in range(height)]
        image = torch.tensor(colours, dtype=image.dtype).permute(2, 0, 1)
    cells = means(image, grid)
    spread = (means(image**2, grid) - cells**2).mean(0)
    stride_y, stride_x = height / grid[0], width / grid[1]
    out = signal.new_zeros(len(signal), height, width)
    for y in range(height):
        for x in range(width):
            weights, values = [], []
            for i, j in disc_window(y, x, (height, width), grid, settings.radius):
                dy, dx = (y + 0.5) / stride_y - (i + 0.5), (x + 0.5) / stride_x - (j + 0.5)
                distance = float(((image[:, y, x] - cells[:, i, j]) ** 2).sum())
                variance = settings.sigma_r**2 + settings.variance_weight * max(0.0, float(spread[i, j]))
                weights.append(-(dy**2 + dx**2) / (2 * settings.sigma**2) - distance / (2 * variance))
                values.append(signal[:, i, j])
            most = max(weights)
            weights = [math.exp(weight - most) for weight in weights]
            out[:, y, x] = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    return out


def coarse_to_fine(image, signal, stage, halvings=2):
    """Pass through grids of ever half the cells' size, as long as cells have two pixels, and on to the pixels."""
    _, height, width = image.shape
    for _ in range(halvings):
        finer = 2 * signal.shape[1], 2 * signal.shape[2]
        if 2 * finer[0] > height or 2 * finer[1] > width:
            break
        signal = stage(means(image, finer), signal)
    return stage(image, signal)


def power_mean(image, probabilities, settings):
    """The power mean of probabilities, where cells count as much as the largest of theirs: one stage."""
    order = 1 / settings.power
    roots = probabilities.max(0).values * probabilities.clamp(min=settings.min_probability) ** order
    powers = mix(image, roots, settings) ** settings.power
    return powers / powers.sum(0)


def features(mixed, signal, denoised, detail):
    """A cubic spline, and what a mix [C, H, W] has beyond that of its means; clamped to the signal's values."""
    _, height, width = mixed.shape
    grid = tuple(signal.shape[1:])
    rest = denoised - detail * means(mixed, grid)
    out = detail * mixed
    for y in range(height):
        for x in range(width):
            for i, down in cubic(y, height, grid[0]):
                for j, across in cubic(x, width, grid[1]):
                    out[:, y, x] += down * across * rest[:, i, j]
    least, most = signal.amin((1, 2)), signal.amax((1, 2))
    return torch.maximum(torch.minimum(out, most[:, None, None]), least[:, None, None])


def denoise(signal, radius, sigma, part):
    """Each cell part of the way to the mean of those around it, weighted by how near their features are."""
    cells = [(i, j) for i in range(signal.shape[1]) for j in range(signal.shape[2])]

    def squared(p, q):
        return float(((signal[:, p[0], p[1]] - signal[:, q[0], q[1]]) ** 2).sum())

    def steps(p, q):
        return (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2

    beside = [squared(p, q) for p in cells for q in cells if steps(p, q) == 1]
    out = torch.zeros_like(signal)
    for p in cells:
        near = [q for q in cells if steps(p, q) <= radius**2]
        if beside:
            variance = sigma**2 * sum(beside) / len(beside)
            weights = [math.exp(-squared(p, q) / (2 * variance)) for q in near]
        else:
            weights = [1.0]  # for the one cell that there is
        mean = sum(w * signal[:, i, j] for w, (i, j) in zip(weights, near, strict=True)) / sum(weights)
        out[:, p[0], p[1]] = (1 - part) * signal[:, p[0], p[1]] + part * mean
    return out


def cubic(pixel, pixels, cells):
    """Keys' kernel with a = -0.75: places and weights of four cells, those beyond the border being its own."""
    a, place = -0.75, (pixel + 0.5) * cells / pixels - 0.5
    for cell in range(math.floor(place) - 1, math.floor(place) + 3):
        t = abs(place - cell)
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        yield min(max(cell, 0), cells - 1), near if t <= 1 else a * (t**3 - 5 * t**2 + 8 * t - 4)


def back_projected(image, signal, steps, settings):
    """Values with the means that they should have, nearly."""
    out = mix(image, signal, settings)
    for _ in range(steps):
        out = out + mix(image, signal - means(out, signal.shape[1:]), settings)
    return out


def back_projected_probabilities(image, probabilities, steps, settings):
    """The same for probabilities: what the means lack goes into the roots, averaged with what went there before."""

    def powers(mixed):
        high = mixed.clamp(min=0) ** settings.power
        return high / high.sum(0)

    roots, step = (
        probabilities.clamp(min=settings.min_probability) ** (1 / settings.power),
        settings.back_projection_step,
    )
    added = 0 * roots
    for _ in range(steps):
        lacking = probabilities - means(powers(mix(image, roots, settings)), probabilities.shape[1:])
        added = (1 - step) * added + step * lacking
        roots = roots + added
    return powers(mix(image, roots, settings))


def detail_weights(details, residual, counts, ridge, prior, prior_cells):
    """Fit a residual [h, w] by two details with weights that are not negative, by the method of Lawson and Hanson."""
    from scipy.optimize import nnls

    known = counts > 0
    columns = torch.stack([detail[known] for detail in details], dim=1)
    energy = columns.square().sum(0).mean()
    pull = energy * prior_cells / known.sum()
    strength = energy * ridge + pull
    matrix = torch.cat([columns, strength.sqrt() * torch.eye(2).double()])
    target = torch.cat([residual[known], (prior * pull / strength.sqrt()).expand(2)])
    weights, _ = nnls(matrix.numpy(), target.numpy())
    return weights / max(1, weights.sum())
