"""Correct the colours of a restored picture by those of the picture it was made from.

A network that invents detail also shifts colours, by a little over wide areas. So the coarse part of the result is
exchanged: for that of the original (wavelet reconstruction), or for its mean and contrast (AdaIN).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError

LEVELS = 5
"""Number of blurs, each twice as wide as the last: detail is what is finer than some 2⁵ pixels."""


def wavelet_decomposition(image: Tensor) -> tuple[Tensor, Tensor]:
    """Take a picture apart into detail and what is left of it when it is blurred.

    Each of the five levels blurs what the last one left with a binomial kernel, dilated to 1, 2, 4, 8 and 16 pixels;
    beyond the border the outermost pixels are repeated.

    Args:
        image: [B, C, H, W], floating point.

    Returns:
        The high and the low frequencies, each [B, C, H, W]. Their sum is the image.

    Raises:
        InputError: it is not of this shape, or not of floating-point numbers.
    """
    _check("image", image)
    low = image
    for level in range(LEVELS):
        low = _blur(low, 2**level)  # [B, C, H, W]
    return image - low, low


def wavelet_reconstruction(content: Tensor, style: Tensor) -> Tensor:
    """Join the detail of one picture with the colours of another.

    Args:
        content: [B, C, H, W], floating point: what is drawn.
        style: [B, C, H, W]: in which colours.

    Returns:
        [B, C, H, W]: the high frequencies of `content` and the low ones of `style`. It may leave their range a little.

    Raises:
        InputError: they are not of this shape, or of different ones, or not of floating-point numbers.

    Example:
        >>> import torch
        >>> from omniup.restoration import wavelet_reconstruction
        >>> drawn, colours = torch.rand(1, 3, 32, 48), torch.full((1, 3, 32, 48), 0.5)
        >>> wavelet_reconstruction(drawn, colours).mean().round(decimals=1)
        tensor(0.5000)
    """
    _check_pair(content, style)
    high, _ = wavelet_decomposition(content)
    _, low = wavelet_decomposition(style)
    return high + low


def adaptive_instance_normalisation(content: Tensor, style: Tensor) -> Tensor:
    """Give one picture the mean and the standard deviation of another, channel by channel (AdaIN, arXiv 1703.06868).

    Args:
        content: [B, C, H, W], floating point: what is drawn. A channel that is constant becomes the mean of `style`.
        style: [B, C, H', W']: in which colours.

    Returns:
        [B, C, H, W]. It may leave the range of both.

    Raises:
        InputError: they are not of these shapes, or not of floating-point numbers.
    """
    _check_pair(content, style, same_size=False)
    content_std, content_mean = torch.std_mean(content, dim=(2, 3), correction=0, keepdim=True)  # [B, C, 1, 1]
    style_std, style_mean = torch.std_mean(style, dim=(2, 3), correction=0, keepdim=True)  # [B, C, 1, 1]
    smallest = torch.finfo(content.dtype).eps  # deviations below it are rounding, and not to be blown up
    return (content - content_mean) * (style_std / content_std.clamp_min(smallest)) + style_mean


def keep(content: Tensor, style: Tensor) -> Tensor:
    """Return the picture with the colours that the network gave it."""
    return content


COLOURS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "wavelet": wavelet_reconstruction,
    "adain": adaptive_instance_normalisation,
    "none": keep,
}
"""Colour corrections by name; each takes the restored picture and the one that has the colours."""


def _blur(image: Tensor, d: int) -> Tensor:
    """Convolve with [1 2 1]ᵀ[1 2 1] / 16, dilated to `d` pixels: along one axis, then along the other."""
    padded = F.pad(image, (d, d, d, d), mode="replicate")  # [B, C, H + 2d, W + 2d]
    down = (padded[:, :, : -2 * d] + 2 * padded[:, :, d:-d] + padded[:, :, 2 * d :]) / 4  # [B, C, H, W + 2d]
    return (down[..., : -2 * d] + 2 * down[..., d:-d] + down[..., 2 * d :]) / 4  # [B, C, H, W]


def _check(name: str, image: Tensor) -> None:
    if image.ndim != 4 or image.numel() == 0 or not image.is_floating_point():
        raise InputError(
            name,
            "is {dtype} of the shape {shape}",
            "floating point [B, C, H, W]",
            dtype=image.dtype,
            shape=list(image.shape),
        )


def _check_pair(content: Tensor, style: Tensor, *, same_size: bool = True) -> None:
    _check("content", content)
    _check("style", style)
    compared = 4 if same_size else 2
    if content.shape[:compared] != style.shape[:compared]:
        raise InputError(
            "style",
            "has the shape {style}, and content {content}",
            "the same shape" if same_size else "the same batch and channels",
            style=list(style.shape),
            content=list(content.shape),
        )
