"""Surface normals and their angles, written out pixel by pixel."""

import math

import numpy as np


def plane_normal(depth, y, x, radius):
    """Of the plane that fits z = a x + b y + c best around a pixel."""
    rows, values = [], []
    for j in range(y - radius, y + radius + 1):
        for i in range(x - radius, x + radius + 1):
            rows.append([i, j, 1])
            values.append(depth[j, i])
    (a, b, _), *_ = np.linalg.lstsq(np.array(rows, float), np.array(values, float), rcond=None)
    length = math.sqrt(a * a + b * b + 1)
    return np.array([-a / length, -b / length, 1 / length])


def angle(first, second):
    """In degrees."""
    cosine = sum(a * b for a, b in zip(first, second, strict=True))
    lengths = math.sqrt(sum(a * a for a in first)) * math.sqrt(sum(b * b for b in second))
    return math.degrees(math.acos(max(-1, min(1, cosine / lengths))))
