"""The degradation's kernels and filters as the formulas have them, pixel by pixel."""

import math

import numpy as np


def bessel_j1(z, steps=2000):
    """J₁(z) by its integral, (1/π) ∫₀^π cos(τ - z sin τ) dτ."""
    tau = (np.arange(steps) + 0.5) * math.pi / steps
    return np.cos(tau - z * np.sin(tau)).mean()


def kernel(described, width):
    """One `Kernel` on a grid of `width` (Real-ESRGAN, sections 3.1 and 3.3)."""
    values = np.zeros((width, width))
    sigma_x = described.sigma_x
    sigma_y = sigma_x if described.sigma_y is None else described.sigma_y
    c, s = math.cos(described.rotation or 0), math.sin(described.rotation or 0)
    turn = np.array([[c, -s], [s, c]])
    reach = described.size // 2
    for y in range(-reach, reach + 1):
        for x in range(-reach, reach + 1):
            if described.kind == "none":
                value = 1
            elif described.kind == "low_pass":
                r, cutoff = math.hypot(x, y), described.cutoff
                value = cutoff * bessel_j1(cutoff * r) / (2 * math.pi * r) if r else cutoff**2 / (4 * math.pi)
            else:
                covariance = turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T
                square = np.array([x, y]) @ np.linalg.inv(covariance) @ np.array([x, y])
                if described.kind.startswith("plateau"):
                    value = 1 / (1 + square**described.beta)
                else:
                    value = math.exp(-0.5 * square ** (described.beta or 1))
            values[width // 2 + y, width // 2 + x] = value
    return values / values.sum()


def filtered(image, weights):
    """image [C, H, W] and weights [kh, kw], to [C, H, W]; the border is a mirror."""
    rows, columns = weights.shape[0] // 2, weights.shape[1] // 2
    padded = np.pad(image, ((0, 0), (rows, rows), (columns, columns)), mode="reflect")
    out = np.empty_like(image)
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            window = padded[:, y : y + weights.shape[0], x : x + weights.shape[1]]
            out[:, y, x] = (window * weights).sum((1, 2))
    return out


def unsharp_mask(image, size, sigma, weight, threshold):
    """image [C, H, W] in 0..1, as Real-ESRGAN sharpens its targets."""
    offsets = range(-(size // 2), size // 2 + 1)
    gaussian = np.array([[math.exp(-(x**2 + y**2) / (2 * sigma**2)) for x in offsets] for y in offsets])
    gaussian /= gaussian.sum()
    residual = image - filtered(image, gaussian)
    mask = filtered((np.abs(residual) * 255 > threshold).astype(float), gaussian)
    sharp = np.clip(image + weight * residual, 0, 1)
    return mask * sharp + (1 - mask) * image
