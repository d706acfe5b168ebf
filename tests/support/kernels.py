"""Random images, signals and Gaussian kernels."""

import dataclasses

import torch

from omniup import GaussianKernels
from omniup.upsamplers import Window

SPEC, PAPER = Window("square", 2), Window("disc", 8, 2.0)


def uniform(generator, *shape, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def smooth_image(size, *, channels=3, batch=1, seed=0, dtype=torch.float64):
    """Soft shapes and a little noise, [batch, channels, *size] in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = uniform(generator, batch, channels, 4, 4)
    image = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    return (0.9 * image + 0.1 * uniform(generator, batch, channels, *size)).to(dtype)


def random_kernels(size, grid, window, *, sigma=(0.5, 20.0), sigma_r=(0.05, 0.8), channels=3, batch=1, seed=0):
    """Kernels of all widths and angles, float64."""
    generator = torch.Generator().manual_seed(seed)
    maps = batch, 1, *grid
    low, high = (torch.tensor(width, dtype=torch.float64).log().item() for width in sigma)
    return GaussianKernels(
        sigma_x=uniform(generator, *maps, low=low, high=high).exp(),
        sigma_y=uniform(generator, *maps, low=low, high=high).exp(),
        theta=uniform(generator, *maps, low=-3.1, high=3.1),
        sigma_r=uniform(generator, *maps, low=sigma_r[0], high=sigma_r[1]),
        guidance=uniform(generator, batch, channels, *size),
        cell_guidance=uniform(generator, batch, channels, *grid),
        window=window,
    )


def random_signal(grid, *, channels=4, batch=1, seed=0, dtype=torch.float64):
    return uniform(torch.Generator().manual_seed(seed), batch, channels, *grid, low=-1).to(dtype)


def cast(kernels, dtype):
    """The same kernels in another precision."""
    names = ("sigma_x", "sigma_y", "theta", "sigma_r", "guidance", "cell_guidance")
    return dataclasses.replace(kernels, **{name: getattr(kernels, name).to(dtype) for name in names})


def parameters(kernels):
    return kernels.sigma_x, kernels.sigma_y, kernels.theta, kernels.sigma_r


def equal(a, b):
    """Whether two kernels are the same to the last bit."""
    names = ("sigma_x", "sigma_y", "theta", "sigma_r", "guidance", "cell_guidance")
    tensors = [(getattr(a, name), getattr(b, name)) for name in names]
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in tensors) and a.window == b.window
