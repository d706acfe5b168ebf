# ruff: noqa: N803, the spec's names
"""Test-time optimisation as the spec (section 5) and the authors' code have it: autograd and torch.optim.Adam."""

import math

import torch
from torch.nn import functional as F

from oracles.rendering import paper_render, spec_render

EPS = 1e-6


def inverse_softplus(y):
    return math.log(math.expm1(y))


def spec_fit(
    image, grid, *, steps, R=2, lr=1e-3, sigma=16.0, sigma_r=0.12, sigma_limits=(1.0, 64.0), sigma_r_limits=(0.01, 1.0),
    lambda1=0.0, lambda2=0.0, variation=False, lambda3=0.0,
):  # fmt: skip
    """The preset `spec`, for one image [1, G, H, W]: the losses before each step, and the maps after the last."""
    I_lr = F.interpolate(image, grid, mode="bilinear", align_corners=False)
    raw_sx, raw_sy, raw_th, raw_sr = (
        torch.full((1, 1, *grid), start, dtype=image.dtype, requires_grad=True)
        for start in (*[inverse_softplus(sigma - EPS)] * 2, 0.0, inverse_softplus(sigma_r - EPS))
    )
    adam = torch.optim.Adam([raw_sx, raw_sy, raw_th, raw_sr], lr=lr)

    def maps():
        return (
            (F.softplus(raw_sx) + EPS).clamp(*sigma_limits),
            (F.softplus(raw_sy) + EPS).clamp(*sigma_limits),
            math.pi * raw_th.tanh(),
            (F.softplus(raw_sr) + EPS).clamp(*sigma_r_limits),
        )

    sx0, sy0, _, sr0 = (map_.detach() for map_ in maps())  # the start, with the rounding of the way to raw and back
    losses = []
    for _ in range(steps):
        sx, sy, th, sr = maps()
        loss = (spec_render(I_lr, image, I_lr, sx, sy, th, sr, R) - image).abs().mean()
        losses.append(loss.item())
        loss = loss + lambda1 * ((sx - sx0).abs() + (sy - sy0).abs()).mean()
        if variation:
            h, w = grid
            steps_y = sum((th[0, 0, i + 1, j] - th[0, 0, i, j]).abs() for i in range(h - 1) for j in range(w))
            steps_x = sum((th[0, 0, i, j + 1] - th[0, 0, i, j]).abs() for i in range(h) for j in range(w - 1))
            loss = loss + lambda2 * (steps_y + steps_x) / (h * w)
        else:
            loss = loss + lambda2 * th.abs().mean()
        loss = loss + lambda3 * (sr - sr0).abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return losses, tuple(map_.detach() for map_ in maps())


def paper_fit(image, grid, *, steps, R=8, lr=1e-1, sigma=16.0, sigma_r=0.12):
    """The preset `paper`, likewise."""
    hr_lr = F.interpolate(image, grid, mode="bicubic", align_corners=False)
    I_lr = F.interpolate(image, grid, mode="bilinear", align_corners=False)
    raw_sx, raw_sy, raw_th, raw_sr = (
        torch.full((1, 1, *grid), start, dtype=image.dtype, requires_grad=True)
        for start in (math.log(sigma), math.log(sigma), 0.0, math.log(sigma_r))
    )
    adam = torch.optim.Adam([raw_sx, raw_sy, raw_th, raw_sr], lr=lr)
    schedule = torch.optim.lr_scheduler.ExponentialLR(adam, gamma=(1e-8) ** (1 / 5100))

    def maps():
        return raw_sx.exp(), raw_sy.exp(), math.pi * raw_th.tanh(), raw_sr.exp()

    losses = []
    for _ in range(steps):
        loss = (paper_render(hr_lr, image, I_lr, *maps(), R) - image).abs().mean()
        losses.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    return losses, tuple(map_.detach() for map_ in maps())
