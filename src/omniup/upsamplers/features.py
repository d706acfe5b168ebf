"""Features of a network, brought up: cells that are alike calm each other, and the image adds detail to a cubic spline.

    out = F y' + ½ (U y' - F S U y')        F bicubic, U guided by the image, S what lies at the cells' centres

U is convex, and smears what is thin; F is smooth, and knows nothing of the image. What U has beyond its own cubic
spline is the detail that it owes to the image, and half of it is added. So at the cells' centres results are, nearly,
what the network said there: it spoke of these places, not of means over cells.

y' is the signal with half of its noise taken away, by a bilateral filter on its own grid (Tomasi & Manduchi 1998) that
compares features. Results are held to the interval of the signal's values, as a cubic spline overshoots.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.mixing import DEFAULT_MEMORY
from omniup.mixing.dtypes import exact

#: How much of the image's detail is added.
DETAIL = 0.5

#: How much of the way a cell goes to the mean of those that are like it.
CALM = 0.5

#: Of the disc of cells that are looked at, in cells.
RADIUS = 4

#: Which features are alike: the width of a Gaussian, of the root mean square distance between neighbours.
ALIKE = 0.4

#: Bytes that are worked on at once: more leave the cache.
CACHED = 2**24

_DISC = [
    (dy, dx)
    for dy in range(-RADIUS, RADIUS + 1)
    for dx in range(-RADIUS, RADIUS + 1)
    if dy * dy + dx * dx <= RADIUS * RADIUS
]


def render_features(render: Callable[[Tensor], Tensor], signal: Tensor, *, memory: int = DEFAULT_MEMORY) -> Tensor:
    """Upsample features.

    Args:
        render: mixes, guided by the image: [B, C, h, w] to [B, C, H, W].
        signal: [B, C, h, w].
        memory: bytes of working memory beyond inputs and outputs.

    Returns:
        [B, C, H, W], in the signal's type. Each channel of an image stays within the interval of its values; stretched
        and shifted features give stretched and shifted results.
    """
    exactly = signal.to(torch.promote_types(signal.dtype, torch.float32))
    calm = calmed(exactly, memory=memory)  # [B, C, h, w]
    out = render(calm.to(signal.dtype))  # [B, C, H, W]
    grid, size = signal.shape[2:], out.shape[2:]
    rows, columns = (_cubic(cells, side).to(exactly) for cells, side in zip(grid, size, strict=True))
    with exact(out.device):
        for channels in _slices(signal.shape[1], 3 * exactly.itemsize * len(signal) * math.prod(size), memory):
            value, mixed = exactly[:, channels], out[:, channels].to(exactly)
            centres = F.interpolate(mixed, grid, mode="bilinear")  # [B, C, h, w], of the nearest four pixels
            rest = calm[:, channels] - DETAIL * centres
            narrow = (rows @ rest).flatten(0, 1)  # [B C, H, w]
            added = torch.baddbmm(mixed.flatten(0, 1), narrow, columns.T.expand(len(narrow), -1, -1), beta=DETAIL)
            least, most = value.amin((2, 3), keepdim=True), value.amax((2, 3), keepdim=True)
            out[:, channels] = added.view_as(mixed).clamp(least, most)
    return out


def calmed(signal: Tensor, *, memory: int = DEFAULT_MEMORY) -> Tensor:
    """Bring each cell nearer to the mean of those around it that are like it.

    Args:
        signal: [B, C, h, w], float32 or float64.
        memory: bytes of working memory beyond the signal and a few of its size.

    Returns:
        [B, C, h, w], each cell a convex mix of cells of its image: all channels choose together.
    """
    batch, channels, height, width = signal.shape
    centred = signal - signal.mean((2, 3), keepdim=True)  # or squares would cancel; and divided, or overflow
    centred = centred / centred.detach().abs().amax((1, 2, 3), keepdim=True).clamp_min(torch.finfo(signal.dtype).tiny)
    down, across = (centred.diff(dim=dim).square().sum((1, 2, 3)) for dim in (2, 3))  # [B]
    neighbours = max(1, (height - 1) * width + height * (width - 1))
    variance = ALIKE**2 * ((down + across) / neighbours).clamp_min(1e-30).view(batch, 1, 1, 1)
    out = torch.empty_like(signal)
    for rows in _slices(height, 4 * signal.itemsize * batch * width * (channels + len(_DISC)), memory):
        first, last = max(0, rows.start - RADIUS), min(height, rows.stop + RADIUS)
        mean = _mean_of_alike(signal[:, :, first:last], centred[:, :, first:last], variance)
        out[:, :, rows] = torch.lerp(signal[:, :, rows], mean[:, :, rows.start - first : rows.stop - first], CALM)
    return out


def _mean_of_alike(signal: Tensor, centred: Tensor, variance: Tensor) -> Tensor:
    """Average [B, C, h, w] with the weights exp(-d² / 2 variance), d being distances of the centred features."""
    squares = centred.square().sum(1, keepdim=True)  # [B, 1, h, w]
    there = zip(*(_moved(maps) for maps in (signal, centred, squares, torch.ones_like(squares))), strict=True)
    total, out = torch.zeros_like(squares), torch.zeros_like(signal)
    for value, vector, square, inside in there:
        distances = squares + square - 2 * (centred * vector).sum(1, keepdim=True)
        weight = inside * (-distances.clamp_min(0) / (2 * variance)).exp()  # [B, 1, h, w]
        total, out = total + weight, out + weight * value
    return out / total


def _moved(maps: Tensor) -> Iterator[Tensor]:
    """What lies at each step of the disc from each cell of [B, C, h, w]; zero beyond the border."""
    height, width = maps.shape[2:]
    padded = F.pad(maps, (RADIUS,) * 4)
    for dy, dx in _DISC:
        yield padded[:, :, RADIUS + dy : RADIUS + dy + height, RADIUS + dx : RADIUS + dx + width]


def _cubic(cells: int, side: int) -> Tensor:
    """What each of `side` pixels takes of each cell, [side, cells]: a product is faster than torch's bicubic."""
    return F.interpolate(torch.eye(cells, dtype=torch.float64)[None, None], (side, cells), mode="bicubic")[0, 0]


def _slices(count: int, each: int, memory: int) -> Iterator[slice]:
    """Cut so many, of so many bytes each, into pieces that half of the memory holds, and the cache."""
    at_once = max(1, min(memory // 2, CACHED) // each)
    return (slice(start, min(start + at_once, count)) for start in range(0, count, at_once))
