"""The main job: bring a photograph back from its own low-resolution version, and features along with it.

Everything that is compared mixes the same low-resolution image and features, so what differs is the weights alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.nn import functional as F

from omniup.cli.report import Report
from omniup.encoders import Encoding, encode
from omniup.encoders.preparation import nearest_cells
from omniup.errors import InputError
from omniup.evaluation import reconstruction_metrics
from omniup.upsamplers import Bicubic, Bilinear, GaussianKernels, JointBilateral, UpsampleAnything

Size = tuple[int, int]

LONGEST = 512
"""The longest side, in pixels, that a photograph keeps unless the user says otherwise."""

SSIM_WINDOW = 11
"""No side may be shorter, in pixels."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What came out.

    Attributes:
        image: [1, 3, H, W], the photograph at the size that was worked on.
        cells: [1, 3, h, w], its low-resolution version.
        encoding: features [1, C, h, w] and where they come from.
        kernels: fitted to the image.
        confidence: [1, 1, H, W], of the fitted kernels.
        images: reconstructions [1, 3, H, W] by the way they were made: bilinear, bicubic, fixed, fitted.
        features: [1, C, H, W] likewise, without bicubic.
        metrics: l1_recon, psnr_recon and ssim_recon of each of the images.
    """

    image: Tensor
    cells: Tensor
    encoding: Encoding
    kernels: GaussianKernels
    confidence: Tensor
    images: dict[str, Tensor]
    features: dict[str, Tensor]
    metrics: dict[str, dict[str, float]]

    @property
    def gain(self) -> float:
        """What the fit gains over fixed kernels, in dB of PSNR."""
        return self.metrics["fitted"]["psnr_recon"] - self.metrics["fixed"]["psnr_recon"]


def reconstruct(
    image: Tensor, method: UpsampleAnything, *, stride: int, encoder: str, memory: int, report: Report
) -> Reconstruction:
    """Fit kernels to an image, and bring its low-resolution version and its features up in four ways.

    Args:
        image: [1, 3, H, W] with sides that the stride divides.
        method: what to fit with.
        stride: pixels per cell.
        encoder: the name of what makes the features.
        memory: bytes of working space.
        report: is told the stages.

    Raises:
        InputError: there is no such encoder, or it cannot be had.
    """
    size = image.shape[2], image.shape[3]
    grid = size[0] // stride, size[1] // stride
    cells = method.cell_image(image, grid)
    with report.stage("encode"):
        try:
            encoding = encode(image, encoder, grid=grid)
        except InputError as error:
            raise InputError(f"--encoder {encoder}: {error}") from error
    with report.stage("fit"), report.fitting(method.iterations) as progress:
        kernels = method.fit(image, grid, progress=progress, memory=memory)

    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "bilinear": partial(Bilinear(), image),
        "bicubic": partial(Bicubic(), image),
        "fixed": partial(JointBilateral().kernels(image, grid).render, memory=memory),
        "fitted": partial(kernels.render, memory=memory),
    }
    with report.stage("render image"):
        images = {way: render(cells) for way, render in ways.items()}
    with report.stage("render features"):
        features = {way: ways[way](encoding.features) for way in ("bilinear", "fixed", "fitted")}
    with report.stage("confidence"):
        confidence = kernels.confidence(memory=memory)
    with report.stage("metrics"):
        metrics = {way: reconstruction_metrics(made, image) for way, made in images.items()}
    return Reconstruction(image, cells, encoding, kernels, confidence, images, features, metrics)


def working_image(image: Tensor, stride: int, longest: int | None) -> Tensor:
    """Resize an image [1, 3, H, W] so that the stride divides both sides and the proportions stay, as nearly as can be.

    Args:
        image: in 0..1.
        stride: in pixels.
        longest: of the sides afterwards, in pixels, to the nearest multiple; None for the image's own, up to `LONGEST`.

    Returns:
        [1, 3, H', W'], of 256 levels, so that a PNG holds it exactly.
    """
    longest = longest or min(max(image.shape[2:]), LONGEST)
    scale = longest / max(image.shape[2:])
    least = -(-SSIM_WINDOW // stride)
    height, width = (stride * max(least, nearest_cells(round(scale * side), stride)) for side in image.shape[2:])
    if image.shape[2:] != (height, width):
        image = F.interpolate(image, (height, width), mode="bilinear", antialias=True)
    return (255 * image).round().clamp(0, 255) / 255
