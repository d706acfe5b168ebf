"""Fixed joint bilateral upsampling (Kopf et al. 2007): the same Gaussian kernel at every cell, nothing is fitted."""

from __future__ import annotations

import dataclasses

from torch import Tensor
from torch.nn import functional as F

from omniup.mixing import DEFAULT_MEMORY
from omniup.upsamplers.base import ImageLike, Size, check_inputs, check_number, register, resize
from omniup.upsamplers.gaussian_kernels import SIGMA_R_RANGE, SIGMA_RANGE, GaussianKernels, Window


@register("joint_bilateral", "the same Gaussian kernel at every cell, in space and in colour; nothing is fitted")
@dataclasses.dataclass(frozen=True)
class JointBilateral:
    """Mixes the cells around a pixel by their distance in space and in colour (spec, section 7).

    Attributes:
        sigma_x: width in space along the kernel's first axis, in pixels.
        sigma_y: width along the second, in pixels.
        theta: angle of the first axis, in radians.
        sigma_r: width in colour, in guidance units.
        radius: of the square window, in cells.
    """

    sigma_x: float = 16.0
    sigma_y: float = 16.0
    theta: float = 0.0
    sigma_r: float = 0.12
    radius: int = 2

    def __post_init__(self) -> None:
        check_number("sigma_x", self.sigma_x, *SIGMA_RANGE)
        check_number("sigma_y", self.sigma_y, *SIGMA_RANGE)
        check_number("theta", self.theta, -100, 100)
        check_number("sigma_r", self.sigma_r, *SIGMA_R_RANGE)
        Window("square", self.radius)  # which checks the radius

    def __call__(
        self, image: ImageLike, signal: Tensor, size: Size | None = None, *, memory: int = DEFAULT_MEMORY
    ) -> Tensor:
        """Upsample; see `Upsampler`."""
        guidance, size = check_inputs(image, signal, size)
        return self.kernels(resize(guidance, size), (signal.shape[2], signal.shape[3])).render(signal, memory=memory)

    def kernels(self, guidance: Tensor, grid: Size) -> GaussianKernels:
        """The kernels for guidance [B, G, H, W] on a grid (h, w)."""
        values = (self.sigma_x, self.sigma_y, self.theta, self.sigma_r)
        sigma_x, sigma_y, theta, sigma_r = (guidance.new_full((len(guidance), 1, *grid), value) for value in values)
        cells = F.interpolate(guidance, grid, mode="bilinear")
        window = Window("square", self.radius)
        return GaussianKernels(sigma_x, sigma_y, theta, sigma_r, guidance, cells, window)
