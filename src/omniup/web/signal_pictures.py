"""Draw an upsampled signal beside what it was made from, and make the files that a user takes along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from omniup.files import write_signal
from omniup.files.georeference import write_tiff
from omniup.upsamplers.checks import as_guidance
from omniup.visualize import Panel, class_colours, heat_map, label_picture, pca_rgb, to_picture
from omniup.web.pictures import data_url, scale
from omniup.web.runs import Maker, picture_maker, tensor_maker
from omniup.web.schemas import Scale

if TYPE_CHECKING:
    from omniup.web.upsampling import Order

TRUST = "viridis"
"""The colour map of a confidence."""

PICTURED = 512
"""The longest side of the pictures of the answer, in pixels; the files have all of them."""

MOST_BANDS = 64
"""Channels of a result that a TIFF holds; of features that have no place on the earth, an array is enough."""

_WHITE = 2**16 - 1
_BOX = Image.Resampling.BOX


@dataclass(frozen=True)
class Drawn:
    """Pictures and files of a result.

    Attributes:
        images: data URLs, at most `PICTURED` pixels wide and high.
        scale: of a map's colours; None where there is none.
        difference: of the colours of the difference to bilinear interpolation; None of classes, which differ or not.
        confidence: of the colours of the confidence.
        sixteen_bits: the values that stand for 0 and 65535 in result_16bit.png; None where that holds them as they are.
        makers: write each file.
        now: names of the files to be made at once: what they are made from is not kept.
    """

    images: dict[str, str]
    scale: Scale | None
    difference: Scale | None
    confidence: Scale
    sixteen_bits: tuple[float, float] | None
    makers: dict[str, Maker]
    now: tuple[str, ...]


def draw(order: Order, guidance: Tensor, result: Tensor, plain: Tensor, confidence: Tensor) -> Drawn:
    """Draw a result.

    Args:
        order: what was asked for.
        guidance: [1, G, H, W], the part of the image that the result covers.
        result: [1, C, H, W].
        plain: [1, C, H, W], the same signal by bilinear interpolation.
        confidence: [1, 1, H, W].
    """
    size = _shown_size((result.shape[2], result.shape[3]))
    shown = size[::-1]
    differs = _shrunk(_difference(order, result, plain), size)
    low_picture, (picture, plain_picture), key = _pictures(
        order, result, F.interpolate(plain.float(), size, mode="nearest-exact").to(plain.dtype)
    )
    most = max(float(differs.flatten().quantile(0.999)), 1e-12)
    panel = Panel("", differs, limits=(0.0, 1.0 if _has_classes(order) else most))
    sixteen, limits = _sixteen_bits(order, result)
    makers: dict[str, Maker] = {
        "result.npy": tensor_maker(lambda: result),
        "result.png": picture_maker(picture),
        "confidence.npy": tensor_maker(lambda: confidence),
        "confidence.png": picture_maker(_grey(confidence)),
    }
    now = tuple(makers)
    if sixteen is not None:
        makers["result_16bit.png"] = _later(sixteen)
    if result.shape[1] <= MOST_BANDS or order.place:
        place = order.place
        makers["result.tif"] = _later(lambda values, path: write_tiff(path, values, place))
    images = {
        "image": _guidance_picture(guidance).resize(shown, _BOX),
        "low": low_picture.resize(shown, Image.Resampling.NEAREST, _cells(order)),
        "bilinear": plain_picture,
        "result": picture.resize(shown, _BOX),
        "difference": heat_map(differs, panel.limits),
        "confidence": heat_map(_shrunk(confidence, size), (0, 1), TRUST),
    }
    return Drawn(
        images={name: data_url(each) for name, each in images.items()},
        scale=key,
        difference=None if _has_classes(order) else scale(panel),
        confidence=scale(Panel("", confidence, limits=(0, 1), colours=TRUST)),
        sixteen_bits=limits,
        makers=makers,
        now=now,
    )


def _shrunk(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Average a map [1, 1, H, W] down to what is shown of it."""
    return F.interpolate(values, size, mode="area")


def _later(write: Callable[[Tensor, Path], None]) -> Maker:
    """Return a maker that writes from result.npy beside it, so that the result need not stay in memory."""
    return lambda path: write(torch.from_numpy(np.load(path.with_name("result.npy"), allow_pickle=False)), path)


def _has_classes(order: Order) -> bool:
    return order.kind in ("labels", "probabilities")


def _difference(order: Order, result: Tensor, plain: Tensor) -> Tensor:
    """Compare a result with bilinear interpolation: [1, 1, H, W]; 0 or 1 of classes, 1 - cosine of features."""
    if order.kind == "labels":
        return (result != plain).float()
    if order.kind == "probabilities":
        return (result.argmax(1, keepdim=True) != plain.argmax(1, keepdim=True)).float()
    if order.kind == "features":
        return 1 - F.cosine_similarity(result.float(), plain.float(), dim=1)[:, None]
    return (result.double() - plain.double()).abs().mean(1, keepdim=True).float()


def _sixteen_bits(
    order: Order, result: Tensor
) -> tuple[Callable[[Tensor, Path], None] | None, tuple[float, float] | None]:
    """Return what writes a PNG of 16 bits, and the values at its ends; of whole numbers these are 0 and 65535."""

    def write(values: Tensor, path: Path) -> None:
        write_signal(path, values, bits=16)

    if order.kind == "probabilities":
        return lambda values, path: write(values.argmax(1, keepdim=True), path), None
    if order.kind not in ("labels", "map"):
        return None, None
    low, high = (bound.item() for bound in result.double().aminmax())
    values = order.signal.values
    is_whole = not values.is_floating_point() or bool((values == values.round()).all())
    if is_whole and low >= 0 and 2 <= high <= _WHITE:
        return write, None
    if order.kind == "labels":
        return (write, None) if low >= 0 and high <= _WHITE else (None, None)
    span = (high - low) or 1.0
    return lambda values, path: write((values.double() - low) * (_WHITE / span), path), (low, low + span)


def _shown_size(size: tuple[int, int]) -> tuple[int, int]:
    shrink = min(1.0, PICTURED / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _cells(order: Order) -> tuple[float, float, float, float]:
    """Return the part of the grid that lies in the image: left, top, right and bottom, in cells."""
    (rows, columns), (height, width), (h, w) = order.part, order.size, order.signal.grid
    return (
        columns.start * w / width,
        rows.start * h / height,
        columns.stop * w / width,
        rows.stop * h / height,
    )


def _guidance_picture(guidance: Tensor) -> Image.Image:
    """Draw guidance of any number of channels: its first three bands, or the first."""
    return to_picture(as_guidance(guidance[:, :3] if guidance.shape[1] >= 3 else guidance[:, :1]))


def _grey(confidence: Tensor) -> Image.Image:
    """Draw a confidence [1, 1, H, W] from black to white."""
    return Image.fromarray((255 * confidence[0, 0]).round().byte().cpu().numpy())


def _pictures(order: Order, *results: Tensor) -> tuple[Image.Image, tuple[Image.Image, ...], Scale | None]:
    """Draw the signal, and results [1, C, H, W], each at its own size, with the scale of their colours."""
    low = order.signal.values
    if order.kind == "map":
        key = scale(Panel("", low))  # all on one scale, the signal's
        return heat_map(low, (key.low, key.high)), tuple(heat_map(each, (key.low, key.high)) for each in results), key
    if order.kind == "colours":
        brightest = 255 if float(low.max()) > 1 else 1
        return to_picture(low / brightest), tuple(to_picture(each / brightest) for each in results), None
    if order.kind == "features":
        low, *highs = pca_rgb(low, *results)
        return to_picture(low), tuple(map(to_picture, highs)), None
    if order.kind == "labels":
        places = [torch.searchsorted(order.known, labels) for labels in (low, *results)]  # as places in `known`
    else:
        places = [each.argmax(1, keepdim=True) for each in (low, *results)]
    colours = _class_colours(order)
    pictures = [label_picture(each, colours) for each in places]
    return pictures[0], tuple(pictures[1:]), None


def _class_colours(order: Order) -> NDArray[np.uint8]:
    """Return the colours that the labels came with, or else our own."""
    if order.kind == "probabilities":
        return class_colours(order.signal.values.shape[1])
    palette = order.signal.palette
    if palette is None:
        return class_colours(len(order.known))
    table = np.zeros((256, 3), np.uint8)  # a palette may end before the last label
    table[: len(palette) // 3] = np.array(palette, np.uint8).reshape(-1, 3)
    return table[order.known.numpy()]
