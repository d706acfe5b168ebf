"""What a signal is decides how it is best brought up.

*Predictions* are what a network says of the cells: features, class probabilities. *Measurements* are means over the
cells of something that has a value at each pixel: depth, masks, an image. There the result can be held against the
signal, and what is missing be added (back-projection, Irani & Peleg 1991).

*Shares*, signals that are not negative and whose channels add up to 1 in each cell, are mixed as such, in either kind.
Their mean over neighbouring cells blurs the border between two classes; the power mean does so less:

    out_k = x_k⁸ / Σ_j x_j⁸,    x = Σ_q w(p, q) y_q^⅛

It is close to the geometric mean, to which averages of logits lead, and has no trouble with shares of 0. Cells of which
a network is not sure count less: their weights are multiplied by the largest of their shares.

Predictions are brought up in stages, to cells of half and of a quarter the size and then to the pixels: colours are
compared with those of ever smaller cells, which are less often mixtures. Shares may lie in finer cells than what their
network tells apart: then means over larger cells come first.

A back-projected result is no convex mix of the signal: it may overshoot, as what has these means over the cells must.
Shares stay shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.mixing import DEFAULT_MEMORY, cell_means
from omniup.upsamplers.base import Size
from omniup.upsamplers.guided_filter import GuidedFilter

Kind: TypeAlias = Literal["values", "prediction", "measurement"]
Render: TypeAlias = Callable[[Tensor], Tensor]
"""Brings a signal [B, C, h, w] to [B, C, H, W], linearly and each channel for itself."""

Renderer: TypeAlias = Callable[[Tensor, Size], Render]
"""Makes that of guidance [1, G, H, W] and a grid (h, w)."""

#: How often what is missing is added. Each time takes one more mix; past five little is.
STEPS = 5

#: How many stages there are before the last one, each doubling the grid.
DOUBLINGS = 2

#: Cells of so many pixels, or more, are never finer than what a network tells apart: few look closer.
RESOLVED = 12

#: Smaller shares than this are taken for it: the root is infinitely steep at 0.
LEAST_SHARE = 1e-6

#: How far from 1 the shares of a cell may add up: what 16-bit numbers lose.
TOLERANCE = 0.01


def check_labels(method: object) -> None:
    """Refuse to take labels for measurements: a label is no mean over a cell.

    Raises:
        InputError: the method, any at all, has a `kind` that says so.
    """
    if getattr(method, "kind", None) == "measurement":
        raise InputError("kind is 'measurement', and the signal is labels: accepted are values and prediction")


def are_shares(signal: Tensor) -> bool:
    """Whether a signal [B, C, h, w] is not negative and its two or more channels add up to 1 in each cell."""
    signal = signal.detach()
    if signal.shape[1] < 2 or signal.min() < 0:
        return False
    return bool(((signal.sum(1, dtype=torch.float32) - 1).abs() <= TOLERANCE).all())


def render_prediction(render: Render, signal: Tensor) -> Tensor:
    """Upsample what a network says of cells.

    Args:
        render: mixes.
        signal: [B, C, h, w]. Shares are mixed by their power mean, other signals by their mean.

    Returns:
        [B, C, H, W], in the signal's type.
    """
    if not are_shares(signal):
        return render(signal)
    return _shares(render(_sure_roots(signal))).to(signal.dtype)


def render_shares(first: Renderer, later: Renderer, guidance: Tensor, signal: Tensor, pixels: float) -> Tensor:
    """Upsample class probabilities that a network gives for cells, in stages.

    At each stage the cells' sides are halved, and what comes out are shares again. Where the cells are finer than what
    the network tells apart (see `sharpness`), means over larger ones come first, and are averaged with those over
    smaller ones as they get to their size.

    Args:
        first: makes the mix of the first stage.
        later: makes those of the others.
        guidance: [B, G, H, W].
        signal: [B, C, h, w], shares.
        pixels: the sides of a cell, in those of the image that the network saw.

    Returns:
        [B, C, H, W], shares, in the signal's type; each image of a batch for itself.
    """
    exactly = signal.to(torch.promote_types(signal.dtype, torch.float32))
    images = zip(guidance.split(1), exactly.split(1), strict=True)
    results = [_render_shares(first, later, *each, pixels) for each in images]
    return (torch.cat(results) if len(results) > 1 else results[0]).to(signal.dtype)  # one alone is not copied


def _render_shares(first: Renderer, later: Renderer, image: Tensor, shares: Tensor, pixels: float) -> Tensor:
    size = image.shape[2], image.shape[3]
    sharp = sharpness(shares).clamp_min(pixels / RESOLVED)  # unsure shares look as if borders were wide
    known = [shares]  # from the finest to the coarsest
    while sharp < 1 and len(known) <= DOUBLINGS:
        known.append(cell_means(known[-1], (-(-known[-1].shape[2] // 2), -(-known[-1].shape[3] // 2))))
        sharp = 2 * sharp
    roots = _sure_roots(known.pop())  # [1, C, h, w]
    renderer = first
    for _ in range(DOUBLINGS):
        grid = roots.shape[2], roots.shape[3]
        finer = (known[-1].shape[2], known[-1].shape[3]) if known else (2 * grid[0], 2 * grid[1])
        if not known and (2 * finer[0] > size[0] or 2 * finer[1] > size[1]):  # cells of less than two pixels
            break
        render = renderer(cell_means(image, finer).clamp_(0, 1), grid)  # clamped against rounding
        roots = _sure_roots(_shares(render(roots)))
        if known:
            sharp = sharp / 2
            roots = torch.lerp(roots, _sure_roots(known.pop()), sharp**2)
        renderer = later
    render = renderer(image, (roots.shape[2], roots.shape[3]))
    return _shares(render(roots))


def sharpness(shares: Tensor) -> Tensor:
    """How wide a cell is against what a network tells apart, as far as its borders between classes tell.

    From one class to another, shares of which the network is so sure that their squares add up to s jump by s in the
    mean; where a sharp border cuts cells in two, by s / √3 or more; and where borders take several cells, by as many
    times less. The square makes up for noise, which jumps as well.

    Args:
        shares: [1, C, h, w].

    Returns:
        A number, 3 (Σ d² / (s Σ |d|))² over the differences d of neighbours: about 1 or more where borders are sharp.
    """
    along = shares.diff(dim=2), shares.diff(dim=3)
    squares = along[0].square().sum() + along[1].square().sum()
    jumps = along[0].abs().sum() + along[1].abs().sum()
    sure = shares.square().sum(1).mean()
    return 3 * (squares / (sure * jumps).clamp_min(1e-30)).square()


def in_stages(renderer: Renderer, guidance: Tensor, grid: Size) -> Render:
    """Mix several times, from a grid to ever finer ones and at last to the pixels.

    Args:
        renderer: makes the mix of one stage.
        guidance: [B, G, H, W].
        grid: (h, w), of the signals.

    Returns:
        A mix too: convex, linear, each channel for itself.
    """
    size = guidance.shape[2], guidance.shape[3]
    stages = []
    for _ in range(DOUBLINGS):
        finer = 2 * grid[0], 2 * grid[1]
        if 2 * finer[0] > size[0] or 2 * finer[1] > size[1]:  # cells of less than two pixels: the last stage is near
            break
        stages.append(renderer(cell_means(guidance, finer).clamp_(0, 1), grid))  # clamped against rounding
        grid = finer
    stages.append(renderer(guidance, grid))
    return lambda signal: reduce(lambda mixed, stage: stage(mixed), stages, signal)


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
        mixed = _roots(exactly)  # [B, C, h, w]
        added = torch.zeros_like(mixed)
        out = _shares(render(mixed))
        for _ in range(steps):
            added = (added + exactly - cell_means(out, grid)) / 2
            mixed = mixed + added
            del out  # before the next is made: it is as large as the result
            out = _shares(render(mixed))
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
    return torch.cat(
        [
            _render_measurement(renderers, image, each, memory)
            for image, each in zip(guidance.split(1), signal.split(1), strict=True)
        ]
    )


def _render_measurement(renderers: Sequence[Renderer], image: Tensor, signal: Tensor, memory: int) -> Tensor:
    exactly = signal.to(torch.promote_types(signal.dtype, image.dtype))  # [1, C, h, w]
    grid = signal.shape[2], signal.shape[3]
    shares = are_shares(signal)
    coarse_image = cell_means(image, grid).clamp_(0, 1)  # against rounding
    coarse = cell_means(exactly, (-(-grid[0] // 2), -(-grid[1] // 2)))  # [1, C, h / 2, w / 2]
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


def _roots(shares: Tensor) -> Tensor:
    exactly = shares.to(torch.promote_types(shares.dtype, torch.float32))
    return exactly.clamp_min(LEAST_SHARE).sqrt().sqrt().sqrt()


def _sure_roots(shares: Tensor) -> Tensor:
    """What predictions of shares are mixed by: cells weigh as much as a network is sure of them."""
    roots = _roots(shares)
    return shares.to(roots).amax(1, keepdim=True) * roots


def _shares(mixed: Tensor) -> Tensor:
    """The shares of which `mixed` [B, C, H, W] are the eighth roots but for a factor; writes over it where it may."""
    if torch.is_grad_enabled() and mixed.requires_grad:
        powers = mixed.relu().square().square().square()
        return powers / powers.sum(1, keepdim=True).clamp_min(1e-30)
    powers = mixed.relu_().square_().square_().square_()
    return powers.div_(powers.sum(1, keepdim=True).clamp_min_(1e-30))
