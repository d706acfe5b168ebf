"""Reconstruct a photograph from its own low-resolution version, and upsample its features with the same weights.

Every way of upsampling is given the same low-resolution image and features, so that only the methods differ.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor
from torch.nn import functional as F

from omniup.encoders import Encoding
from omniup.encoders.preparation import nearest_cells
from omniup.evaluation import reconstruction_metrics
from omniup.mixing import DEFAULT_MEMORY
from omniup.upsamplers import (
    Bicubic,
    Bilinear,
    GaussianKernels,
    JointBilateral,
    Prepared,
    PyramidBilateral,
    UpsampleAnything,
)
from omniup.upsamplers.progress import ProgressLike
from omniup.upsamplers.representation import ShortRepr

Size = tuple[int, int]

Stage: TypeAlias = Callable[[str], AbstractContextManager[None]]
"""Takes the name of a stage, and surrounds it."""

LONGEST = 512
"""The longest side, in pixels, that a photograph keeps unless the user says otherwise."""

SSIM_WINDOW = 11
"""No side may be shorter, in pixels."""

WORTHWHILE = 0.1
"""The gain, in dB, below which a fit has hardly changed the picture."""


@dataclass(frozen=True, eq=False, repr=False)
class Reconstruction(ShortRepr):
    """The results of a reconstruction.

    Attributes:
        image: [1, 3, H, W], the photograph at the size that was worked on.
        cells: [1, 3, h, w], its low-resolution version.
        encoding: features [1, C, h, w] and where they come from.
        kernels: fitted to the image.
        fixed: the kernels that they are compared with.
        concentration: [1, 1, H, W], of the fitted kernels' weights: 1 where one cell has all.
        images: reconstructions [1, 3, H, W] by the way they were made: bilinear, bicubic, fixed, fitted, pyramid.
        features: [1, C, H, W] likewise, without bicubic.
        metrics: l1_recon, psnr_recon and ssim_recon of each of the images.
    """

    image: Tensor
    cells: Tensor
    encoding: Encoding
    kernels: GaussianKernels
    fixed: GaussianKernels
    concentration: Tensor
    images: dict[str, Tensor]
    features: dict[str, Tensor]
    metrics: dict[str, dict[str, float]]

    @property
    def gain(self) -> float:
        """Gain of the fit over fixed kernels, in dB of PSNR."""
        return self.metrics["fitted"]["psnr_recon"] - self.metrics["fixed"]["psnr_recon"]


def reconstruct(
    image: Tensor,
    method: UpsampleAnything,
    *,
    stride: int,
    encode: Callable[[Tensor, Size], Encoding],
    baseline: JointBilateral | None = None,
    stage: Stage,
    progress: ProgressLike = None,
    memory: int = DEFAULT_MEMORY,
) -> Reconstruction:
    """Fit kernels to an image, and upsample its low-resolution version and its features in all ways.

    Args:
        image: [1, 3, H, W] with sides that the stride divides.
        method: what to fit with.
        stride: pixels per cell.
        encode: makes features [1, C, h, w] of the image for a grid (h, w).
        baseline: the fixed kernels to compare with; by default those of the demo's specification.
        stage: surrounds each stage: encode, fit, render image, render features, concentration, metrics.
        progress: called before each step of the fit; what it raises ends the job. True shows a bar.
        memory: bytes of working space.
    """
    size = image.shape[2], image.shape[3]
    grid = size[0] // stride, size[1] // stride
    cells = method.cell_image(image, grid)
    with stage("encode"):
        encoding = encode(image, grid)
    with stage("fit"):
        kernels = method.prepare(image, grid, progress=progress, memory=memory)

    fixed = (baseline or JointBilateral()).prepare(image, grid)
    ways: dict[str, Prepared] = {
        "bilinear": Bilinear().prepare(image, grid),
        "bicubic": Bicubic().prepare(image, grid),
        "fixed": fixed,
        "fitted": kernels,
        "pyramid": PyramidBilateral().prepare(image, grid, memory=memory),
    }
    with stage("render image"):
        # Values and not a measurement: `cell_image` samples the image without smoothing, so the cells are no
        # area-averages, and back-projection would add their aliasing. On sample:coffee at a stride of 16, PSNR is
        # 24.0 dB as values and 22.0 dB as a measurement, of which SSIM alone is the higher (0.74 and 0.85).
        images = {way: prepared.render(cells, "values", memory=memory) for way, prepared in ways.items()}
    with stage("render features"):
        features = {
            way: prepared.render(encoding.features, "features", memory=memory)
            for way, prepared in ways.items()
            if way != "bicubic"
        }
    with stage("concentration"):
        concentration = kernels.confidence(memory=memory)  # without a signal
    with stage("metrics"):
        metrics = {way: reconstruction_metrics(made, image) for way, made in images.items()}
    return Reconstruction(image, cells, encoding, kernels, fixed, concentration, images, features, metrics)


def working_image(image: Tensor, stride: int, longest: int | None, *, square: bool = False) -> Tensor:
    """Resize an image [1, 3, H, W] so that the stride divides both sides and the proportions stay, as nearly as can be.

    Args:
        image: in 0..1.
        stride: in pixels.
        longest: of the sides afterwards, in pixels, to the nearest multiple; None for the image's own, up to `LONGEST`.
        square: give up the proportions and make both sides the longest.

    Returns:
        [1, 3, H', W'], of 256 levels, so that a PNG holds it exactly.
    """
    longest = longest or min(max(image.shape[2:]), LONGEST)
    scale = longest / max(image.shape[2:])
    least = -(-SSIM_WINDOW // stride)
    wanted = (longest, longest) if square else (round(scale * side) for side in image.shape[2:])
    height, width = (stride * max(least, nearest_cells(side, stride)) for side in wanted)
    if image.shape[2:] != (height, width):
        image = F.interpolate(image, (height, width), mode="bilinear", antialias=True)
    return (255 * image).round().clamp(0, 255) / 255
