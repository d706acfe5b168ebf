"""Features of a network, brought up: cells that are alike calm each other first, then colours sharpen a cubic spline.

    out = F y' + ½ (U y' - F S U y')        F bicubic, U guided by the image, S what lies at the cells' centres

U is convex and smears what is thin; F is smooth and knows nothing of the image. What U has beyond its own cubic is the
detail that it owes to the image, and half of it is added. So results have at the cells' centres, nearly, what the
network said there: it said it of these places, not of means over cells.

Before, noise goes: y' is a bilateral filter of y on its own grid (Tomasi & Manduchi 1998), by distances of features.
Results are held to the interval of the signal's values, channel by channel: a cubic would overshoot it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing import DEFAULT_MEMORY

DETAIL = 0.5
"""How much of the image's detail is added."""

RADIUS = 3
"""Of the disc of cells that may calm a cell."""

ALIKE = 0.35
"""How far apart features count as alike: the width of a Gaussian, for a mean distance of 1 between neighbours."""


CACHED = 2**24
"""Bytes that are worked on at once: more is slower."""


def render_features(render: Callable[[Tensor], Tensor], signal: Tensor, *, memory: int = DEFAULT_MEMORY) -> Tensor:
    """Upsample features.

    Args:
        render: mixes, guided by the image: [B, C, h, w] to [B, C, H, W], linearly.
        signal: [B, C, h, w].
        memory: bytes of working memory beyond inputs and outputs.

    Returns:
        [B, C, H, W], in the signal's type; within the interval of the signal's values in each image and channel.
        Stretching and shifting all features alike does so to the result.
    """
    exactly = signal.to(torch.promote_types(signal.dtype, torch.float32))
    grid = signal.shape[2], signal.shape[3]
    calm = calmed(exactly, memory=memory)  # [B, C, h, w]
    out = render(calm.to(signal.dtype))  # [B, C, H, W]
    size = out.shape[2], out.shape[3]
    rows, columns = (_cubic(cells, side).to(exactly) for cells, side in zip(grid, size, strict=True))
    for channels in _slices(signal.shape[1], 3 * exactly.itemsize * len(signal) * math.prod(size), memory):
        value = exactly[:, channels]
        mixed = out[:, channels].to(exactly)
        rest = calm[:, channels] - DETAIL * F.interpolate(mixed, grid, mode="bilinear")  # of the four nearest pixels
        half = (rows @ rest).flatten(0, 1)  # [B C, H, w]
        whole = torch.baddbmm(mixed.flatten(0, 1), half, columns.T.expand(len(half), -1, -1), beta=DETAIL)
        least, most = value.amin((2, 3), keepdim=True), value.amax((2, 3), keepdim=True)
        out[:, channels] = whole.view_as(mixed).clamp(least, most)
    return out


def calmed(signal: Tensor, *, memory: int = DEFAULT_MEMORY) -> Tensor:
    """Average each cell with those around it that are like it.

    Args:
        signal: [B, C, h, w], float32 or float64.
        memory: bytes of working memory beyond the signal, the result, and a number for each pair of cells.

    Returns:
        [B, C, h, w], each cell a convex mix; the channels of an image choose together.
    """
    weights = _likeness(signal, memory)  # [29, B, 1, h, w]
    total = weights.sum(0)
    out = torch.empty_like(signal)
    for channels in _slices(signal.shape[1], 4 * signal.itemsize * signal[:, 0].numel(), memory):
        value = signal[:, channels]
        mixed = torch.zeros_like(value)
        for weight, other in zip(weights, _neighbours(value), strict=True):
            mixed = mixed + weight * other
        out[:, channels] = mixed / total
    return out


def _likeness(signal: Tensor, memory: int) -> Tensor:
    """How much each cell's neighbours are like it, itself among them: [29, B, 1, h, w] in 0..1, 0 beyond the border."""
    centred = signal - signal.mean((2, 3), keepdim=True)  # or squares would cancel
    squares = centred.square().sum(1, keepdim=True)  # [B, 1, h, w]
    products = torch.zeros(1).to(signal)
    for channels in _slices(signal.shape[1], 3 * signal.itemsize * signal[:, 0].numel(), memory):
        value = centred[:, channels]
        products = products + torch.stack([(value * other).sum(1, keepdim=True) for other in _neighbours(value)])
    inside = torch.stack(list(_neighbours(torch.ones_like(squares))))  # [29, B, 1, h, w]
    distances = (squares + torch.stack(list(_neighbours(squares))) - 2 * products).clamp_min(0) * inside
    nearest = torch.tensor([dy * dy + dx * dx == 1 for dy, dx in _DISC], device=signal.device)
    mean = distances[nearest].sum((0, 2, 3, 4)) / inside[nearest].sum((0, 2, 3, 4)).clamp_min(1)  # [B]
    width = ALIKE**2 * mean.clamp_min(1e-30).view(-1, 1, 1, 1)
    return inside * (-distances / (2 * width)).exp()


_DISC = [
    (dy, dx)
    for dy in range(-RADIUS, RADIUS + 1)
    for dx in range(-RADIUS, RADIUS + 1)
    if dy * dy + dx * dx <= RADIUS * RADIUS
]


def _neighbours(maps: Tensor) -> Iterator[Tensor]:
    """The maps [B, C, h, w], moved by each step of the disc; zero beyond the border."""
    height, width = maps.shape[2:]
    padded = F.pad(maps, (RADIUS,) * 4)
    for dy, dx in _DISC:
        yield padded[:, :, RADIUS + dy : RADIUS + dy + height, RADIUS + dx : RADIUS + dx + width]


def _cubic(cells: int, side: int) -> Tensor:
    """What each of `side` pixels takes of each cell: [side, cells]. The product of two is faster than torch's own."""
    return F.interpolate(torch.eye(cells, dtype=torch.float64)[None, None], (side, cells), mode="bicubic")[0, 0]


def _slices(channels: int, each: int, memory: int) -> Iterator[slice]:
    """Cut channels into pieces that half of the memory holds, and a cache better; a channel is so many bytes."""
    at_once = max(1, min(memory // 2, CACHED) // each)
    return (slice(start, start + at_once) for start in range(0, channels, at_once))
