# ruff: noqa: N803, the spec's names
"""Rendering with Gaussian kernels as the spec's pseudo-code has it (sections 4.3 and 5.4), offset by offset.

Strides along y and x may differ and need not be whole. Tensors [B, ., ., .]; differentiable by autograd.
"""

import math
from math import floor

import torch

from oracles.windows import bilinear, floor_centre, own_cell


def spec_render(V_lr, I_hr, I_lr, sigma_x, sigma_y, theta, sigma_r, R):
    """The preset `spec`: a square of cells around floor(u)."""
    py, px = pixels(I_hr)
    qy0 = centres(floor_centre, py, I_hr.shape[2], V_lr.shape[2])
    qx0 = centres(floor_centre, px, I_hr.shape[3], V_lr.shape[3])
    offsets = [(dy, dx) for dy in range(-R, R + 1) for dx in range(-R, R + 1)]
    everywhere = torch.ones(1, len(py), dtype=torch.bool)
    return render(V_lr, I_hr, I_lr, (sigma_x, sigma_y, theta, sigma_r), (qy0, qx0), offsets, lambda dy, dx: everywhere)


def paper_render(V_lr, I_hr, I_lr, sigma_x, sigma_y, theta, sigma_r, R=8):
    """The preset `paper`: a disc of cells around the pixel's own, no wider there than two sigmas and R."""
    py, px = pixels(I_hr)
    qy0 = centres(own_cell, py, I_hr.shape[2], V_lr.shape[2])
    qx0 = centres(own_cell, px, I_hr.shape[3], V_lr.shape[3])
    offsets = [(dy, dx) for dy in range(-R, R + 1) for dx in range(-R, R + 1)]
    reach = squared_radii(sigma_x, sigma_y, I_hr.shape[2:], R)
    return render(
        V_lr, I_hr, I_lr, (sigma_x, sigma_y, theta, sigma_r), (qy0, qx0), offsets, lambda dy, dx: dy**2 + dx**2 <= reach
    )


def squared_radii(sigma_x, sigma_y, size, R):
    """[B, H W]: the whole part of each pixel's squared radius; dy² + dx² <= radius² asks for no more."""
    cells = (2 * torch.maximum(sigma_x, sigma_y).detach()).ceil().clamp(1, R)
    return torch.tensor(
        [[floor(radius**2) for row in bilinear(image[0].tolist(), size) for radius in row] for image in cells]
    )


def render(V_lr, I_hr, I_lr, parameters, centre, offsets, allowed):
    B, _, H, W = I_hr.shape
    h, w = V_lr.shape[2:]
    stride_y, stride_x = H / h, W / w
    py, px = pixels(I_hr)
    Ip = I_hr[:, :, py, px]  # [B, G, N]

    logw_list, val_list = [], []
    for dy, dx in offsets:
        own = allowed(dy, dx)  # [B, N]
        if not own.any():
            continue  # weights of 0
        qy = (centre[0] + dy).clamp(0, h - 1)
        qx = (centre[1] + dx).clamp(0, w - 1)
        sx, sy, th, sr = (map_[:, 0, qy, qx] for map_ in parameters)  # [B, N]
        Dx = (px.to(Ip) + 0.5) - (qx.to(Ip) + 0.5) * stride_x
        Dy = (py.to(Ip) + 0.5) - (qy.to(Ip) + 0.5) * stride_y
        c, t = th.cos(), th.sin()
        dxp = c * Dx + t * Dy
        dyp = -t * Dx + c * Dy
        log_ws = -0.5 * ((dxp / sx) ** 2 + (dyp / sy) ** 2)
        Iq = I_lr[:, :, qy, qx]
        diff2 = ((Ip - Iq) ** 2).sum(dim=1)
        log_wr = -diff2 / (2 * sr**2)
        logw_list.append(torch.where(own, log_ws + log_wr, -math.inf))
        val_list.append(V_lr[:, :, qy, qx])

    weights = torch.softmax(torch.stack(logw_list), dim=0)  # [K, B, N]
    out = (weights.unsqueeze(2) * torch.stack(val_list)).sum(dim=0)  # [B, C, N]
    return out.reshape(B, -1, H, W)


def pixels(image):
    H, W = image.shape[2:]
    index = torch.arange(H * W)
    return index // W, index % W


def centres(centre_of, index, pixels_, cells):
    return torch.tensor([centre_of(int(i), pixels_, cells) for i in index])
