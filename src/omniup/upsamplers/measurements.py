"""Measurements: means over the cells of something that has a value at each pixel: depth, masks, an image.

The result can be held against the signal, and what is missing be added (back-projection, Irani & Peleg 1991). It is no
convex mix of the signal then: it may overshoot, as what has these means over the cells must. Shares stay shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from omniup.mixing import DEFAULT_MEMORY, cell_means
from omniup.upsamplers.guided_filter import GuidedFilter
from omniup.upsamplers.shares import are_shares, from_roots, to_roots
from omniup.upsamplers.stages import Render, Renderer, coarse_guidance, coarser_means, image_by_image

#: How often what is missing is added. Each time takes one more mix; past five little is.
STEPS = 5


def back_project(render: Render, signal: Tensor, start: Tensor | None = None, *, steps: int = STEPS) -> Tensor:
    """Upsample means over cells so that the result has, nearly, these means.

    Values: what the means lack is upsampled and added, a few times. Shares: the same, in the numbers that are mixed,
    where this would overshoot: what is added is the mean of what is lacking and of what was added before.

    Args:
        render: mixes.
        signal: [B, C, h, w].
        start: [B, C, H, W], what to begin with in place of `render(signal)`; not for shares.
        steps: how often.

    Returns:
        [B, C, H, W], in the signal's type; shares where the signal is.
    """
    exactly = signal.to(torch.promote_types(signal.dtype, torch.float32))
    grid = signal.shape[2], signal.shape[3]
    if start is None and are_shares(signal):
        mixed = to_roots(exactly)  # [B, C, h, w]
        added = torch.zeros_like(mixed)
        out = from_roots(render(mixed))
        for _ in range(steps):
            added = (added + exactly - cell_means(out, grid)) / 2
            mixed = mixed + added
            del out  # before the next is made: it is as large as the result
            out = from_roots(render(mixed))
        return out.to(signal.dtype)
    out = render(exactly) if start is None else start
    for _ in range(steps):
        out = out + render(exactly - cell_means(out, grid))
    return out.to(signal.dtype)


def render_measurement(
    renderers: Sequence[Renderer], guidance: Tensor, signal: Tensor, *, memory: int = DEFAULT_MEMORY
) -> Tensor:
    """Upsample means over cells, in the way that would have served one scale further down.

    Guidance and signal are averaged over twice as large cells, and brought back with each renderer: the one that
    restores the signal best is taken. A linear model of the signal in the colours (`GuidedFilter`) takes part to the
    degree to which, channel by channel, it makes the restored signal better.

    Args:
        renderers: to choose from.
        guidance: [B, G, H, W], of the result's size.
        signal: [B, C, h, w].
        memory: bytes of working memory beyond inputs and outputs.

    Returns:
        [B, C, H, W], in the signal's type; each image of a batch for itself.
    """
    return image_by_image(partial(_render_measurement, renderers, memory), guidance, signal)


def _render_measurement(renderers: Sequence[Renderer], memory: int, image: Tensor, signal: Tensor) -> Tensor:
    exactly = signal.to(torch.promote_types(signal.dtype, image.dtype))  # [1, C, h, w]
    grid = signal.shape[2], signal.shape[3]
    shares = are_shares(signal)
    coarse_image = coarse_guidance(image, grid)
    coarse = coarser_means(exactly)  # [1, C, ⌈h/2⌉, ⌈w/2⌉]
    coarse_grid = coarse.shape[2], coarse.shape[3]

    def trial(renderer: Renderer) -> tuple[float, Tensor]:
        restored = back_project(renderer(coarse_image, coarse_grid), coarse)
        return float((restored - exactly).detach().square().mean()), restored

    trials = [trial(renderer) for renderer in renderers]
    place = min(range(len(trials)), key=lambda i: trials[i][0])
    render = renderers[place](image, grid)
    if shares:
        return back_project(render, signal)

    linear = GuidedFilter()
    renderer = renderers[place](coarse_image, coarse_grid)
    modelled = back_project(renderer, coarse, linear(coarse_image, coarse, grid))
    part = _best_part(trials[place][1], modelled, exactly)  # [1, C, 1, 1]

    size = image.shape[2], image.shape[3]
    out = signal.new_empty(1, signal.shape[1], *size)
    at_once = max(1, memory // (6 * exactly.itemsize * math.prod(size)))  # channels, half of the memory
    for start in range(0, signal.shape[1], at_once):
        channels = slice(start, start + at_once)
        value, share = exactly[:, channels], part[:, channels]
        begin = (1 - share) * render(value)
        if bool((share > 0).any()):
            begin = begin + share * linear(image, value, size, memory=memory // 2)
        out[:, channels] = back_project(render, value, begin)
    return out


def _best_part(plain: Tensor, other: Tensor, truth: Tensor) -> Tensor:
    """Which mix of two is nearest to the truth, channel by channel: the second one's part in 0..1, [B, C, 1, 1]."""
    better = other - plain
    gain = ((truth - plain) * better).sum((2, 3), keepdim=True)
    return (gain / better.square().sum((2, 3), keepdim=True).clamp_min(1e-30)).clamp(0, 1)
