"""The fast guided filter, one ridge regression a cell."""

import math

import numpy as np
import torch
from torch.nn import functional as F


def guided_filter(image, signal, radius, eps, valid=None):
    """image [G, H, W] and signal [C, h, w], float64, to [C, H, W].

    In each window of n cells, as far as it lies in the grid, minimise Σ (a·I + b - v)² + n eps |a|² over a and b;
    average a and b over the windows that hold a cell; bring both to the pixels bilinearly; apply them to the pixels'
    colours. Where `valid` [h, w] is given, the sums are over the valid cells of a window, or over all if it has none.
    """
    G, H, W = image.shape
    C, h, w = signal.shape

    colour = np.empty((h, w, G))  # the mean of the pixels that a cell covers, whole or in part
    for i in range(h):
        for j in range(w):
            rows = slice(i * H // h, math.ceil((i + 1) * H / h))
            columns = slice(j * W // w, math.ceil((j + 1) * W / w))
            colour[i, j] = image[:, rows, columns].mean((1, 2)).numpy()

    def window(i, j):
        return [
            (y, x)
            for y in range(max(i - radius, 0), min(i + radius + 1, h))
            for x in range(max(j - radius, 0), min(j + radius + 1, w))
        ]

    a, b = np.empty((C, G, h, w)), np.empty((C, h, w))
    for i in range(h):
        for j in range(w):
            cells = window(i, j)
            if valid is not None:
                cells = [place for place in cells if valid[place]] or cells
            X = np.array([colour[place] for place in cells])
            for c in range(C):
                y = np.array([float(signal[c][place]) for place in cells])
                rows = np.vstack([X - X.mean(0), math.sqrt(len(cells) * eps) * np.eye(G)])
                right = np.concatenate([y - y.mean(), np.zeros(G)])
                a[c, :, i, j] = np.linalg.lstsq(rows, right, rcond=None)[0]
                b[c, i, j] = y.mean() - a[c, :, i, j] @ X.mean(0)

    def averaged(maps):
        out = np.empty_like(maps)
        for i in range(h):
            for j in range(w):
                out[..., i, j] = sum(maps[..., y, x] for y, x in window(i, j)) / len(window(i, j))
        return out

    def to_pixels(maps):
        return F.interpolate(torch.from_numpy(averaged(maps)), (H, W), mode="bilinear", align_corners=False)

    slopes, offsets = to_pixels(a), to_pixels(b[None])[0]  # [C, G, H, W], [C, H, W]
    return (slopes * image).sum(1) + offsets
