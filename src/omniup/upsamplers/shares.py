"""Shares: signals that are not negative and whose channels add up to 1 in each cell, such as class probabilities.

Their mean over neighbouring cells blurs the border between two classes; the power mean does so less:

    out_k = x_k⁸ / Σ_j x_j⁸,    x = Σ_q w(p, q) y_q^⅛

It is close to the geometric mean, to which averages of logits lead, and has no trouble with shares of 0.

Where they are predictions, cells of which a network is not sure count less: their weights are multiplied by the largest
of their shares. And cells may be finer than what the network tells apart: then means over larger ones come first.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from omniup.upsamplers.stages import DOUBLINGS, Renderer, coarse_guidance, coarser_means, finer_grid, image_by_image

#: Cells of so many pixels, or more, are never finer than what a network tells apart: few look closer.
RESOLVED = 12

#: Smaller shares than this are taken for it: the root is infinitely steep at 0.
LEAST_SHARE = 1e-6

#: How far from 1 the shares of a cell may add up: what 16-bit numbers lose.
TOLERANCE = 0.01


def are_shares(signal: Tensor) -> bool:
    """Whether a signal [B, C, h, w] is not negative and its two or more channels add up to 1 in each cell."""
    signal = signal.detach()
    if signal.shape[1] < 2 or signal.min() < 0:
        return False
    return bool(((signal.sum(1, dtype=torch.float32) - 1).abs() <= TOLERANCE).all())


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
    render = partial(_render_shares, first, later, pixels)
    return image_by_image(render, guidance, exactly).to(signal.dtype)


def _render_shares(first: Renderer, later: Renderer, pixels: float, image: Tensor, shares: Tensor) -> Tensor:
    size = image.shape[2], image.shape[3]
    sharp = sharpness(shares).clamp_min(pixels / RESOLVED)  # unsure shares look as if borders were wide
    known = [shares]  # from the finest to the coarsest
    while sharp < 1 and len(known) <= DOUBLINGS:
        known.append(coarser_means(known[-1]))
        sharp = 2 * sharp
    roots = to_sure_roots(known.pop())  # [1, C, h, w]
    renderer = first
    for _ in range(DOUBLINGS):
        grid = roots.shape[2], roots.shape[3]
        finer = (known[-1].shape[2], known[-1].shape[3]) if known else finer_grid(grid, size)
        if finer is None:
            break
        render = renderer(coarse_guidance(image, finer), grid)
        roots = to_sure_roots(from_roots(render(roots)))
        if known:
            sharp = sharp / 2
            roots = torch.lerp(roots, to_sure_roots(known.pop()), sharp**2)
        renderer = later
    render = renderer(image, (roots.shape[2], roots.shape[3]))
    return from_roots(render(roots))


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


def to_roots(shares: Tensor) -> Tensor:
    """What shares are mixed by, [B, C, h, w]: their eighth roots, in float32 or float64."""
    exactly = shares.to(torch.promote_types(shares.dtype, torch.float32))
    return exactly.clamp_min(LEAST_SHARE).sqrt().sqrt().sqrt()


def to_sure_roots(shares: Tensor) -> Tensor:
    """What predictions of shares are mixed by: cells weigh as much as a network is sure of them."""
    roots = to_roots(shares)
    return shares.to(roots).amax(1, keepdim=True) * roots


def from_roots(mixed: Tensor) -> Tensor:
    """The shares of which `mixed` [B, C, H, W] are the eighth roots but for a factor; writes over it where it may."""
    if torch.is_grad_enabled() and mixed.requires_grad:
        powers = mixed.relu().square().square().square()
        return powers / powers.sum(1, keepdim=True).clamp_min(1e-30)
    powers = mixed.relu_().square_().square_().square_()
    return powers.div_(powers.sum(1, keepdim=True).clamp_min_(1e-30))
