"""JPEG's block transform as ITU-T T.81 defines it (A.3.3), coefficient by coefficient, rounded where libjpeg rounds."""

import math

import numpy as np


def wave(frequency, pixel):
    """The cosine of a frequency at one of eight pixels, with the factor that makes the transform orthonormal."""
    scale = 1 / 2 if frequency else 1 / math.sqrt(8)
    return scale * math.cos((2 * pixel + 1) * frequency * math.pi / 16)


def forward(block):
    """The coefficients of block [8, 8]: across in quarters of √8 times their size, then down in eighths."""
    coefficients = np.empty((8, 8))
    for u in range(8):
        across = [nearest(4 * math.sqrt(8) * sum(wave(u, x) * block[y, x] for x in range(8))) for y in range(8)]
        for v in range(8):
            down = sum(wave(v, y) * across[y] for y in range(8)) / (4 * math.sqrt(8))
            coefficients[v, u] = nearest(8 * down) / 8
    return coefficients


def inverse(coefficients):
    """The levels of coefficients [8, 8]: down, then across."""
    levels = np.empty((8, 8))
    for y in range(8):
        down = [nearest(4 * math.sqrt(8) * sum(wave(v, y) * coefficients[v, u] for v in range(8))) for u in range(8)]
        for x in range(8):
            levels[y, x] = nearest(sum(wave(u, x) * down[u] for u in range(8)) / (4 * math.sqrt(8)))
    return levels.clip(-128, 127)


def quantised(block, steps):
    """The levels that come back of block [8, 8] with steps [8, 8]; halves of a step are rounded away from 0."""
    coefficients = forward(block)
    for at in np.ndindex(8, 8):
        whole = math.floor(abs(coefficients[at]) / steps[at] + 1 / 2)
        coefficients[at] = math.copysign(whole * steps[at], coefficients[at])
    return inverse(coefficients)


def nearest(number):
    """Halves up, and what is one but for rounding is one."""
    return math.floor(number + 1 / 2 + 1e-9)
