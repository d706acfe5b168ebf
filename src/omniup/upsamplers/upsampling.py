"""Upsample in one call: `omniup.upsample`, for one image or many, whole or in part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from omniup.errors import InputError
from omniup.upsamplers.base import DEFAULT_METHOD, Upsampler, uncompiled
from omniup.upsamplers.checks import DEFAULT_MEMORY, Size, as_guidance, as_signal, as_tensor, chosen_size
from omniup.upsamplers.guidance_files import Picture, opened
from omniup.upsamplers.holes import check_valid
from omniup.upsamplers.layouts import arrange
from omniup.upsamplers.regions import Region, check_region, cut, inside, valid_inside
from omniup.upsamplers.registry import upsampler
from omniup.upsamplers.scattered import gather
from omniup.upsamplers.signal_files import as_file, read_signal_file

SignalLike: TypeAlias = "Tensor | NDArray[Any] | Image.Image | str | Path"


class Upsampled(NamedTuple):
    """A result and how far it can be trusted: tensors, or arrays where the signal is one.

    Attributes:
        result: [B, C, H, W].
        confidence: [B, 1, H, W] in 0..1; see `PreparedImage.confidence`.
    """

    result: Any
    confidence: Any


_Data = TypeVar("_Data", Tensor, NDArray[Any])


@overload
def upsample(image: Picture, signal: _Data, *, confidence: Literal[False] = False, **options: Any) -> _Data: ...


@overload
def upsample(
    image: Picture, signal: str | Path | Image.Image, *, confidence: Literal[False] = False, **options: Any
) -> Tensor: ...


@overload
def upsample(image: Picture, signal: SignalLike, *, confidence: Literal[True], **options: Any) -> Upsampled: ...


@overload
def upsample(
    image: Sequence[Picture], signal: Sequence[_Data], *, confidence: Literal[False] = False, **options: Any
) -> list[_Data]: ...


@overload
def upsample(
    image: Sequence[Picture],
    signal: Sequence[str | Path | Image.Image],
    *,
    confidence: Literal[False] = False,
    **options: Any,
) -> list[Tensor]: ...


@overload
def upsample(
    image: Sequence[Picture], signal: Sequence[SignalLike], *, confidence: Literal[True], **options: Any
) -> list[Upsampled]: ...


@uncompiled
def upsample(
    image: Picture | Sequence[Picture],
    signal: SignalLike | Sequence[SignalLike],
    *,
    method: str | Upsampler = DEFAULT_METHOD,
    signal_type: str = "auto",
    size: Size | int | None = None,
    grid: Size | None = None,
    layout: str = "auto",
    region: Region | None = None,
    valid: Tensor | NDArray[Any] | None = None,
    holes: str = "fill",
    consistency: float | str | None = "auto",
    confidence: bool = False,
    memory: int | str = DEFAULT_MEMORY,
    **settings: Any,
) -> Tensor | NDArray[Any] | Upsampled | list[Any]:
    """Upsample anything computed from an image to the image's resolution, sharp along the image's edges.

    The same as `upsampler(method, **settings).prepare(image, grid, size).render(signal, signal_type)`, with
    `consistency="auto"`.

    Args:
        image: the image that the signal was computed from: a path; PIL; array [H, W] or [H, W, G]; tensor
            [B, G, H, W]. One image may serve many signals. A list has images of any sizes, and `signal` then one signal
            for each.
        signal: [B, C, h, w]: features, class probabilities, depth, masks. Other shapes as in `layouts.py`: channels
            last, tokens [B, N, C], a single map [h, w]; and [B, T, C, h, w], T signals of each image. A path and a PIL
            image are read as by `omniup upsample`: palette pictures are labels, and files may name their holes.
        method: one of `methods()`, or what `upsampler` built, with its settings.
        signal_type: what the signal is: `"features"`, `"probabilities"`, `"labels"`, `"measurement"` (area-averages:
            depth, images), `"values"`, `"logits"`, `"directions"`, or `"auto"`; see `signal_types.py`.
        size: (H', W') of the result, in pixels, or its longer side; the image's own by default.
        grid: (h, w) of the signal, in cells, where its shape does not show it: of tokens.
        layout: `"channels_first"` or `"channels_last"`; `"auto"` goes by what fits the image.
        region: (top, left, height, width) of the part of the image that the signal covers, in pixels: a crop, or, with
            parts beyond the image, a picture that was padded. The result has the region's pixels that lie in the image.
        valid: which cells count, boolean [B, 1, h, w]; see `PreparedImage.render`. Where few do, one here and one
            there, as of a lidar's depth, they are averaged down to larger cells first; see `scattered.py`.
        holes: `"fill"` or `"keep"`: what becomes of pixels far from all valid cells; likewise.
        consistency: None, a number of steps, or `"full"`: how often what the result's means over the cells lack of the
            signal is added; see `PreparedImage.render`. By default as many as the method recommends: with AnyUp one for
            features and a part of one for probabilities, with others none.
        confidence: return how far the result can be trusted as well; see `PreparedImage.confidence`.
        memory: working memory beyond inputs and outputs: bytes, or a text such as `"512MB"` or `"1GB"`.
        **settings: of the method: see `methods()[method].settings`.

    Returns:
        [B, C, H', W'], in the signal's dtype and on its device: an array of an array, a tensor of a tensor; with
        `confidence`, an `Upsampled` of this and the confidence [B, 1, H', W']; of lists a list. Tensors are
        differentiable in the signal, but for labels; by some methods (`Method.image_gradient`) in the image too.

    Raises:
        InputError: an argument cannot be accepted; it is named.

    Example:
        >>> import omniup, torch
        >>> image, depth = torch.rand(1, 3, 64, 96), torch.rand(1, 1, 4, 6)
        >>> omniup.upsample(image, depth, method="joint_bilateral").shape
        torch.Size([1, 1, 64, 96])
        >>> omniup.upsample(image, depth, region=(0, 0, 64, 48)).shape  # of the left half alone
        torch.Size([1, 1, 64, 48])
        >>> result, trust = omniup.upsample(image, depth, confidence=True)
        >>> trust.shape
        torch.Size([1, 1, 64, 96])
    """
    options: dict[str, Any] = {"method": method, "signal_type": signal_type, "size": size, "grid": grid}
    options |= {"layout": layout, "region": region, "holes": holes, "consistency": consistency}
    options |= {"confidence": confidence, "memory": memory} | settings
    if isinstance(image, (list, tuple)):
        return _each(image, signal, valid, options)
    if isinstance(signal, (list, tuple)):
        raise InputError("signal", "is a list, and the image is none", "a list of as many images, or one array")
    if isinstance(signal, np.ndarray):
        made: Tensor | Upsampled = upsample(cast("Picture", image), as_tensor(signal), valid=valid, **options)
        if isinstance(made, Upsampled):
            return Upsampled(*(maps.detach().numpy() for maps in made))
        return made.detach().numpy()
    image = opened(cast("Picture", image))
    if isinstance(signal, (str, Path, Image.Image)):
        guidance = as_guidance(image)
        found = read_signal_file(
            as_file(signal),
            (guidance.shape[2], guidance.shape[3]),
            grid=grid,
            layout=layout,
            region=region,
            signal_type=signal_type,
        )
        options |= {"signal_type": found.signal_type, "layout": "channels_first", "grid": None}
        return upsample(guidance, found.values, valid=found.valid if valid is None else valid, **options)
    tensor = as_tensor(cast("Tensor", signal))
    guidance = as_guidance(image, device=tensor.device)
    if tensor.ndim == 5:
        return _frames(guidance, tensor, valid, options)
    whole = guidance.shape[2], guidance.shape[3]
    if region is not None and size is not None:
        raise InputError("size", "is given together with `region`", "one of the two")
    region = check_region(region, whole)
    guidance = cut(guidance, region)
    pixels = guidance.shape[2], guidance.shape[3]
    tensor = as_signal(arrange(tensor, pixels, images=len(guidance), grid=grid, layout=layout))
    cells = tensor.shape[2], tensor.shape[3]
    if grid is not None and cells != tuple(grid):
        problem = "is {grid}, and the signal has {h} × {w} cells"
        raise InputError("grid", problem, "the signal's own grid", grid=tuple(grid), h=cells[0], w=cells[1])
    _check_batches(tensor, guidance)
    valid = valid_inside(None if valid is None else check_valid(valid, tensor), region, whole, tensor)
    if valid is not None:
        tensor, valid = gather(tensor, valid, signal_type)
    cells = tensor.shape[2], tensor.shape[3]
    built = _built(method, settings)
    prepared = built.prepare(guidance, cells, chosen_size(size, whole), memory=memory)
    result = prepared.render(tensor, signal_type, valid=valid, holes=holes, consistency=consistency, memory=memory)
    maps = [result]
    if confidence:
        maps.append(prepared.confidence(tensor, signal_type, valid=valid, result=result, memory=memory))
    if region != (0, 0, *whole):
        rows, columns = inside(region, whole)
        maps = [each[:, :, rows, columns] for each in maps]
    return Upsampled(*maps) if confidence else maps[0]


def _built(method: str | Upsampler, settings: dict[str, Any]) -> Upsampler:
    """Build the method that a name means; one that is built has its settings."""
    if isinstance(method, str):
        return upsampler(method, **settings)
    if settings:
        problem = "is built already, and given together with {names}"
        raise InputError("method", problem, "its name, or no settings", names=", ".join(settings))
    return method


def _check_batches(signal: Tensor, guidance: Tensor) -> None:
    if len(guidance) not in (1, len(signal)):
        problem = "is a batch of {signals} and image of {images}"
        raise InputError("signal", problem, "equal batches, or one image", signals=len(signal), images=len(guidance))


def _each(images: Sequence[Picture], signals: Any, valid: Any, options: dict[str, Any]) -> list[Any]:
    """Upsample one signal for each image of a list; signals are a list, too, or a batch."""
    if isinstance(signals, (Tensor, np.ndarray)) and signals.ndim == 4 and len(signals) == len(images):
        signals = [signals[n : n + 1] for n in range(len(images))]
    if not isinstance(signals, (list, tuple)) or len(signals) != len(images):
        count = len(signals) if isinstance(signals, (list, tuple)) or getattr(signals, "ndim", 0) == 4 else 1
        problem = "is a list of {count}, and image one of {images}"
        raise InputError("signal", problem, "a signal for each image", count=count, images=len(images))
    if valid is not None and (not isinstance(valid, (list, tuple)) or len(valid) != len(images)):
        raise InputError("valid", "is no list of a mask for each image", "a list of masks, or none")
    masks = [None] * len(images) if valid is None else valid
    return [
        upsample(image, signal, valid=mask, **options)
        for image, signal, mask in zip(images, signals, masks, strict=True)
    ]


def _frames(guidance: Tensor, signal: Tensor, valid: Any, options: dict[str, Any]) -> Tensor | Upsampled:
    """Upsample T signals of each image: [B, T, C, h, w] to [B, T, C, H, W]."""
    _check_batches(signal, guidance)
    mask = torch.as_tensor(valid) if valid is not None else None
    if mask is not None and mask.ndim == 5:
        mask = mask.expand(*signal.shape[:2], -1, -1, -1)
    options["layout"] = "channels_first" if options["layout"] == "auto" else options["layout"]
    if len(guidance) == 1:  # which is prepared once
        flat = mask.flatten(0, 1) if mask is not None and mask.ndim == 5 else mask
        made = upsample(guidance, signal.flatten(0, 1), valid=flat, **options)
        if isinstance(made, Upsampled):
            return Upsampled(*(maps.unflatten(0, signal.shape[:2]) for maps in made))
        return made.unflatten(0, signal.shape[:2])
    parts = []
    for n, frames in enumerate(signal):
        own = mask[n] if mask is not None and mask.ndim == 5 else mask
        parts.append(upsample(guidance[n : n + 1], frames, valid=own, **options))
    if options["confidence"]:
        return Upsampled(*(torch.stack(maps) for maps in zip(*parts, strict=True)))
    return torch.stack(parts)
