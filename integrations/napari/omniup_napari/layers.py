"""Upsample the data of layers: what the widget does, without napari.

An image layer is [H, W], or [H, W, 3 or 4] where it is RGB. The other layer is [h, w], [C, h, w] as napari shows
channels one by one, or RGB; what lies along its other axes are channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import omniup
from omniup import InputError, Progress


class Layer(Protocol):
    """What is needed of a layer of napari.

    Attributes:
        data: its array, or what NumPy makes an array of.
        name: as the viewer lists it.
        scale: length of a pixel along each axis of the world.
        translate: place of the first pixel likewise.
    """

    data: Any
    name: str
    scale: Any
    translate: Any


LayerData = tuple[NDArray[Any], dict[str, Any], str]
"""A new layer: its array, its attributes and its kind."""


def upsample_layer(
    image: Layer,
    signal: Layer,
    method: str,
    signal_type: str,
    progress: Callable[[Progress], None] | None = None,
) -> LayerData:
    """Bring a layer to the resolution of an image layer that shows the same.

    Args:
        image: at full resolution.
        signal: at low resolution: labels, a map, or features.
        method: one of `omniup.methods()`.
        signal_type: as for `omniup.upsample`; a layer of labels is labels.
        progress: called after each step of methods and signals that take several; what it raises ends the work.

    Returns:
        The layer, of the signal's kind, with the place and the pixels of the image layer.

    Raises:
        InputError: an argument cannot be accepted.
    """
    guidance = guidance_of(image)
    is_labels, is_rgb = hasattr(signal, "selected_label"), getattr(signal, "rgb", False)
    cells = _as_tensor(signal)
    if is_rgb:
        cells = cells.movedim(-1, 0)  # [3 or 4, h, w]
    if cells.ndim not in (2, 3):
        raise InputError("signal", "has the shape {shape}", "[h, w] or [C, h, w]", shape=list(cells.shape))
    size = guidance.shape[2], guidance.shape[3]
    low = cells[None] if cells.ndim == 3 else cells[None, None]  # [1, C, h, w]
    prepared = omniup.upsampler(method).prepare(guidance, (low.shape[2], low.shape[3]), progress=progress)
    made = prepared.render(low, "labels" if is_labels else signal_type, layout="channels_first", progress=progress)
    full = made[0] if cells.ndim == 3 else made[0, 0]  # [C, H, W] or [H, W]
    array = (full.movedim(0, -1) if is_rgb else full).numpy()
    before = array.ndim - len(size) if not is_rgb else 0
    attributes: dict[str, Any] = {
        "name": f"{signal.name} ({method})",
        "scale": (1.0,) * before + tuple(float(each) for each in image.scale[-2:]),
        "translate": (0.0,) * before + tuple(float(each) for each in image.translate[-2:]),
    }
    if not is_labels:
        attributes["rgb"] = is_rgb
    return array, attributes, "labels" if is_labels else "image"


def guidance_of(image: Layer) -> Tensor:
    """Return an image layer's pixels as guidance, [1, 1 or 3, H, W] in 0..1: between its contrast limits.

    Raises:
        InputError: it is neither one image nor RGB.
    """
    pixels = _as_tensor(image)
    if getattr(image, "rgb", False):
        pixels = pixels[..., :3].movedim(-1, 0)  # [3, H, W]
        low, high = (0.0, 255.0) if pixels.dtype == torch.uint8 else (0.0, 1.0)  # as napari shows RGB
    else:
        low, high = (float(each) for each in getattr(image, "contrast_limits", (0.0, 1.0)))
        pixels = pixels[None]  # [1, H, W]
    if pixels.ndim != 3:
        raise InputError("image", "has the shape {shape}", "[H, W] or RGB", shape=list(pixels.shape[1:]))
    return ((pixels[None].float() - low) / max(high - low, 1e-12)).clamp(0, 1)


def _as_tensor(layer: Layer) -> Tensor:
    """Copy a layer's data to a tensor; of unsigned integers that torch computes little with, to signed ones."""
    array = np.asarray(layer.data)
    if array.dtype.kind == "u" and array.dtype != np.uint8:
        array = array.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(array).copy())
