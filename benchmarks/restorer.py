"""How well the small restorer takes noise and JPEG away, beside classical denoisers, and what it costs.

    python benchmarks/restorer.py --tune DIR/bsds500/train --data DIR/bsds500/val

Photographs are reduced by `scale` (area), get Gaussian noise of 5 to 10 grey levels, and are compressed at a quality
of 30 to 60, drawn with seed 0; denoisers work on the picture as it is, and what they make is enlarged bicubically.
Their settings are the best of a grid on the first photographs of --tune. Differences to bicubic are paired; behind ±
stands the standard error of their mean.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from measure import gained, photograph, show
from omniup.evaluation.measuring import cost
from omniup.evaluation.metrics import psnr, ssim
from omniup.files import image_tensor, read_image
from omniup.files.jpeg_quality import jpeg_quality
from omniup.restoration import Restorer
from omniup.visualize import to_picture

TUNED_ON = 12
"""Photographs that the denoisers' settings are chosen on."""

Pixels = NDArray[np.uint8]
Denoise = Callable[[Pixels], Pixels]
"""A picture [H, W, 3] to one with less noise."""


def non_local_means(pixels: Pixels, strength: float, colour: float) -> Pixels:
    """Average similar patches (Buades et al. 2005), as OpenCV does it for colour pictures."""
    import cv2

    return np.asarray(cv2.fastNlMeansDenoisingColored(pixels, None, strength, colour, 7, 21), np.uint8)


def total_variation(pixels: Pixels, weight: float) -> Pixels:
    """Minimise total variation (Chambolle 2004), as scikit-image does it."""
    from skimage.restoration import denoise_tv_chambolle

    return _bytes(denoise_tv_chambolle(pixels / 255, weight=weight, channel_axis=2))


def wavelets(pixels: Pixels, sigma: float) -> Pixels:
    """Shrink wavelet coefficients by BayesShrink, as scikit-image does it."""
    from skimage.restoration import denoise_wavelet

    made = denoise_wavelet(pixels / 255, sigma=sigma / 255, convert2ycbcr=True, rescale_sigma=True, channel_axis=2)
    return _bytes(made)


GRIDS: Mapping[str, list[Denoise]] = {
    "OpenCV's non-local means": [
        partial(non_local_means, strength=strength, colour=colour)
        for strength in (2, 3, 4, 6, 8)
        for colour in (5, 10, 20)
    ],
    "scikit-image's total variation": [
        partial(total_variation, weight=weight) for weight in (0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05)
    ],
    "scikit-image's wavelets": [partial(wavelets, sigma=sigma) for sigma in (2, 3, 4, 6, 8, 10, 14)],
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder of photographs to measure on")
    parser.add_argument("--tune", type=Path, required=True, help="a folder to choose the denoisers' settings on")
    parser.add_argument("--count", type=int, default=100, help="photographs that are measured")
    parser.add_argument("--model", default="small", help="as for `omniup restore`")
    arguments = parser.parse_args()
    restorer, device = Restorer.from_pretrained(arguments.model), torch.device("cpu")
    for scale in (1, 2):
        tuning = list(_pictures(arguments.tune, TUNED_ON, scale))
        best = {name: max(grid, key=lambda denoise: _mean_psnr(denoise, tuning)) for name, grid in GRIDS.items()}
        rows = compare(restorer, best, _pictures(arguments.data, arguments.count, scale), scale)
        show(f"JPEG of 30 to 60 and noise of 5 to 10, scale {scale}", ["", "PSNR", "SSIM", "settings"], rows, device)
    show(
        "Photographs as they are",
        ["", "PSNR to the input"],
        untouched(restorer, arguments.data, arguments.count),
        device,
    )
    show("1 megapixel, scale 1", ["precision", "seconds", "peak beyond the picture"], costs(arguments.model), device)


def compare(
    restorer: Restorer, denoisers: Mapping[str, Denoise], pictures: Iterator[tuple[Tensor, bytes]], scale: int
) -> list[list[str]]:
    """Measure bicubic interpolation, denoisers and the restorer on pictures: a row each."""
    found: dict[str, list[tuple[float, float]]] = {}
    for target, file in pictures:
        image = read_image(file)
        made = {"degraded, bicubic": _enlarged(image, target)}
        for name, denoise in denoisers.items():
            made[name] = _enlarged(_denoised(denoise, image), target)
        damage = restorer.estimate(image, quality=jpeg_quality(file))
        made["the small restorer"] = restorer(image, scale=scale, damage=damage)
        for name, picture in made.items():
            found.setdefault(name, []).append((psnr(picture, target), ssim(picture, target)))
    (bicubic, *others) = found
    rows = [[bicubic, *(f"{statistics.mean(values):{form}}" for values, form in _columns(found[bicubic])), ""]]
    for name in others:
        row = [name]
        for (values, form), (before, _) in zip(_columns(found[name]), _columns(found[bicubic]), strict=True):
            row.append(f"{gained(values, before, form)} of {len(values)}")
        chosen = denoisers[name].keywords if name in denoisers else {}  # type: ignore[attr-defined]
        rows.append([*row, ", ".join(f"{key} {value}" for key, value in chosen.items())])
    return rows


def untouched(restorer: Restorer, folder: Path, count: int) -> list[list[str]]:
    """Measure how much photographs without any damage change, with and without what their files' tables tell."""
    found: dict[str, list[float]] = {"quality from the file's tables": [], "quality estimated": []}
    for path in sorted(folder.glob("*.jpg"))[:count]:
        image = read_image(path)
        for name, quality in zip(found, (jpeg_quality(path), None), strict=True):
            damage = restorer.estimate(image, quality=quality)
            found[name].append(psnr(restorer(image, damage=damage), image))
    return [[name, f"{statistics.mean(values):.1f} dB, least {min(values):.1f}"] for name, values in found.items()]


def costs(model: str) -> list[list[str]]:
    """Measure a picture of a megapixel."""
    image, rows = photograph(1000, 1000, torch.device("cpu")), []
    for precision in ("fp32", "bf16"):
        restorer = Restorer.from_pretrained(model, precision=precision)
        restorer(image[:, :, :64, :64])
        with cost(torch.device("cpu")) as found:
            began = time.perf_counter()
            restorer(image)
            seconds = time.perf_counter() - began
        rows.append([precision, f"{seconds:.1f}", f"{(found.peak_bytes or 0) / 2**20:.0f} MB"])
    return rows


def _pictures(folder: Path, count: int, scale: int) -> Iterator[tuple[Tensor, bytes]]:
    """Degrade photographs: the target, cut to whole cells of `scale`, and the degraded picture's JPEG file."""
    generator = torch.Generator().manual_seed(0)
    for path in sorted(folder.glob("*.jpg"))[:count]:
        image = read_image(path)
        height, width = (side // scale * scale for side in image.shape[2:])
        target = image[:, :, :height, :width]
        small = F.avg_pool2d(target, scale)
        sigma = 5 + 5 * torch.rand((), generator=generator).item()
        quality = int(torch.randint(30, 61, (), generator=generator))
        noisy = small + torch.randn(small.shape, generator=generator) * sigma / 255
        file = io.BytesIO()
        to_picture(noisy).save(file, "JPEG", quality=quality)
        yield target, file.getvalue()


def _mean_psnr(denoise: Denoise, pictures: list[tuple[Tensor, bytes]]) -> float:
    return statistics.mean(
        psnr(_enlarged(_denoised(denoise, read_image(file)), target), target) for target, file in pictures
    )


def _enlarged(image: Tensor, target: Tensor) -> Tensor:
    size = (target.shape[2], target.shape[3])
    return F.interpolate(image, size, mode="bicubic").clamp(0, 1) if image.shape != target.shape else image


def _columns(measured: list[tuple[float, float]]) -> list[tuple[list[float], str]]:
    return [([each[0] for each in measured], ".2f"), ([each[1] for each in measured], ".4f")]


def _denoised(denoise: Denoise, image: Tensor) -> Tensor:
    """Denoise an image [1, 3, H, W] in 0..1."""
    return image_tensor(Image.fromarray(denoise(np.asarray(to_picture(image)))))


def _bytes(image: NDArray[np.float32]) -> Pixels:
    made: Pixels = (image * 255).round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(made)


if __name__ == "__main__":
    main()
