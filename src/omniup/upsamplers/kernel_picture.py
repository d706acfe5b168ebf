"""Draw Gaussian kernels as ellipses on their image: what a notebook shows of them."""

from __future__ import annotations

import math
from io import BytesIO

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

SIDE = 384
"""The longer side of the picture, in pixels."""

ACROSS = 24
"""The most ellipses along a side; of a finer grid, every second cell is drawn, or every third …"""

CORNERS = 24
"""Corners of the polygon that stands for an ellipse."""


def kernel_picture(sigma_x: Tensor, sigma_y: Tensor, theta: Tensor, guidance: Tensor) -> Image.Image:
    """Draw an ellipse of one sigma for each cell.

    Args:
        sigma_x: [1, 1, h, w], along the first axis, in pixels of the guidance.
        sigma_y: [1, 1, h, w], along the second.
        theta: [1, 1, h, w], the angle of the first axis, in radians.
        guidance: [1, G, H, W] in 0..1; of other than three channels, their mean is drawn in grey.
    """
    height, width = guidance.shape[2:]
    zoom = SIDE / max(height, width)
    size = max(1, round(height * zoom)), max(1, round(width * zoom))
    colours = guidance if guidance.shape[1] == 3 else guidance.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    picture = F.interpolate(colours.detach().float().cpu(), size, mode="bilinear", antialias=True)  # [1, 3, H', W']
    pixels = (picture[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()  # [H', W', 3]
    drawn = Image.fromarray(pixels)
    draw = ImageDraw.Draw(drawn)
    rows, columns = theta.shape[2:]
    step = -(-max(rows, columns) // ACROSS)
    turn = torch.arange(CORNERS) * (2 * math.pi / CORNERS)  # [K]
    for row in range(step // 2, rows, step):
        for column in range(step // 2, columns, step):
            along, across, angle = (each[0, 0, row, column].detach().cpu() for each in (sigma_x, sigma_y, theta))
            u, v = along * turn.cos(), across * turn.sin()  # [K] each
            x = (column + 0.5) * width / columns + u * angle.cos() - v * angle.sin()
            y = (row + 0.5) * height / rows + u * angle.sin() + v * angle.cos()
            draw.polygon(torch.stack([x * zoom, y * zoom], dim=1).flatten().tolist(), outline=(255, 214, 10))
    return drawn


def png(picture: Image.Image) -> bytes:
    """Encode a picture as a PNG file."""
    file = BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
