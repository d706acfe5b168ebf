"""Upsample by fixed joint bilateral kernels (Kopf et al. 2007): the same Gaussian at every cell, nothing is fitted."""

from __future__ import annotations

import dataclasses

from torch.nn import functional as F

from omniup.upsamplers.base import Upsampler, check_image
from omniup.upsamplers.checks import DEFAULT_MEMORY, ImageLike, Size, check_number, resize
from omniup.upsamplers.gaussian_kernels import SIGMA_R_RANGE, SIGMA_RANGE, GaussianKernels, Window
from omniup.upsamplers.local import Local
from omniup.upsamplers.progress import ProgressLike
from omniup.upsamplers.registry import register
from omniup.upsamplers.signal_types import SignalType


@register(
    "joint_bilateral",
    "the same Gaussian kernel at every cell, in space and in colour; nothing is fitted",
    summary_zh="每个单元使用同一个空间与颜色高斯核；不做拟合",
)
@dataclasses.dataclass(frozen=True)
class JointBilateral(Upsampler, Local):
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

    def render_cost(self, size: Size, grid: Size, signal_type: str) -> int:
        """Estimate the work of a mix: see `Upsampler.render_cost`."""
        return Window("square", self.radius).pairs(size, grid)

    def reach(self, signal_type: SignalType) -> int:
        """Return how many cells around that of a pixel its result depends on: see `Local.reach`."""
        return self.radius + 1  # windows are centred on the cell whose centre is the last before the pixel

    def prepare(
        self,
        image: ImageLike,
        grid: Size,
        size: Size | None = None,
        *,
        progress: ProgressLike = None,
        memory: int | str = DEFAULT_MEMORY,
    ) -> GaussianKernels:
        """Place the same kernel at every cell; see `Upsampler`."""
        guidance, size = check_image(image, grid, size)
        guidance = resize(guidance, size)  # [B, G, H, W]
        values = (self.sigma_x, self.sigma_y, self.theta, self.sigma_r)
        sigma_x, sigma_y, theta, sigma_r = (guidance.new_full((len(guidance), 1, *grid), value) for value in values)
        cells = F.interpolate(guidance, (grid[0], grid[1]), mode="bilinear")  # [B, G, h, w]
        window = Window("square", self.radius)
        return GaussianKernels(sigma_x, sigma_y, theta, sigma_r, guidance, cells, window)
