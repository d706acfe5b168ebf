"""Check what callers give (image, signal, grid, size, points, numbers), and convert it for the methods."""

from __future__ import annotations

import contextlib
import logging
import math
import numbers
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.files import image_tensor
from omniup.mixing import DEFAULT_MEMORY, TooLittleMemoryError

ImageLike: TypeAlias = "Image.Image | NDArray[Any] | Tensor"
Size: TypeAlias = tuple[int, int]

__all__ = ["DEFAULT_MEMORY", "ImageLike", "Size"]

logger = logging.getLogger(__name__)

#: Distance beyond 0..1 of resized images: torch's bicubic filter overshoots an edge by 0.1, thin stripes by more.
OVERSHOOT = 0.2

_NORMALIZED = (-3.0, 3.5)
"""Limits of images normalised for networks: ImageNet's mean and deviation give -2.12..2.64, others -1..1."""

_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64, torch.complex32, torch.complex64, torch.complex128),
)
"""The types that torch computes in; complex ones are refused in words of their own."""

_IMAGES = "a PIL image, an array [H, W] or [H, W, G], or a tensor [B, G, H, W]"
_NUMBERS = "floating point and integers"

_COLOURS = 4
"""Channels of a picture, at most: so few that come last are no columns of an image whose channels come first."""


def as_guidance(image: ImageLike, *, device: torch.device | None = None, name: str = "image") -> Tensor:
    """Check an image and convert it to guidance.

    Args:
        image: PIL; array [H, W] or [H, W, G]; tensor [B, G, H, W]. Floating point in 0..1, or 8-bit integers. An array
            [G, H, W] and a tensor [B, H, W, G] are known by their shapes, and taken with a note in the log.
        device: where the guidance should be; by default where the image is.
        name: what to call it in errors.

    Returns:
        [B, G, H, W], float32 or float64, in 0..1; differentiable in the image.

    Raises:
        InputError: wrong rank or type, an empty side, values that are not finite or outside 0..1.
    """
    if isinstance(image, Image.Image):
        return image_tensor(image).to(device)
    if isinstance(image, np.ndarray):
        if image.ndim not in (2, 3):
            raise InputError(name, "has the shape {shape}", "arrays [H, W] and [H, W, G]", shape=list(image.shape))
        image = channels_first(_from_numpy(image, name), name)[None]
    if not isinstance(image, Tensor):
        raise InputError(name, "is a {type}", _IMAGES, type=type(image).__name__)
    _check_shape(image, name, "[B, G, H, W]")
    if image.shape[3] <= _COLOURS < image.shape[1]:
        logger.warning("%s: the shape %s is taken for [B, H, W, G]", name, list(image.shape))
        image = image.permute(0, 3, 1, 2)
    image = image.to(device)
    if image.dtype == torch.uint8:
        return image.float().div_(255)
    if not image.is_floating_point():
        raise InputError(
            name,
            "is of type {dtype}",
            "floating point in 0..1 and 8-bit integers; omniup.scale_bands gives the first",
            dtype=image.dtype,
        )
    low, high = bounds(image)
    image = image if image.dtype == torch.float64 else image.float()
    if low >= 0 and high <= 1:
        return image
    if low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        logger.warning("%s: values from %.3g to %.3g, clamped to 0..1", name, low, high)
        return image.clamp(0, 1)
    raise _other_units(name, low, high)


def channels_first(image: Tensor, name: str = "image") -> Tensor:
    """Arrange an image [H, W], [H, W, G] or [G, H, W] as [G, H, W]; the log says if the channels come first.

    They do where theirs is the shortest side, unless as few as a picture's channels come last.
    """
    if image.ndim == 2:
        return image[None]
    first, middle, last = image.shape
    if last > _COLOURS and first < min(middle, last):
        logger.warning("%s: the shape %s is taken for [G, H, W]", name, list(image.shape))
        return image
    return image.permute(2, 0, 1)


def _other_units(name: str, low: float, high: float) -> InputError:
    """Refuse guidance with such values, and say what makes guidance in 0..1 of them."""
    if not (math.isfinite(low) and math.isfinite(high)):
        accepted = "finite values in 0..1"
    elif low >= -OVERSHOOT * 255 and 10 < high <= (1 + OVERSHOOT) * 255:
        accepted = "0..1, which is image / 255 where black is 0 and white 255"
    elif _NORMALIZED[0] <= low < 0 and high <= _NORMALIZED[1]:
        accepted = "0..1, which is image * std + mean of an image that was normalised for a network"
    else:
        accepted = "0..1, which omniup.scale_bands(image) gives for the bands of a sensor"
    return InputError(name, "has values from {low:.6g} to {high:.6g}", accepted, low=low, high=high)


def as_signal(signal: Tensor | NDArray[Any], name: str = "signal") -> Tensor:
    """Check that a signal is a tensor or an array of numbers [B, C, h, w].

    Raises:
        InputError: it is something else, or has an empty side.
    """
    signal = as_tensor(signal, name)
    _check_shape(signal, name, "[B, C, h, w]")
    return signal


def as_tensor(signal: Tensor | NDArray[Any], name: str = "signal") -> Tensor:
    """Check that a signal of any shape is a tensor or an array of real numbers.

    Raises:
        InputError: it is something else.
    """
    if isinstance(signal, np.ndarray):
        signal = _from_numpy(signal, name)
    if not isinstance(signal, Tensor):
        raise InputError(name, "is a {type}", "a tensor or an array [B, C, h, w]", type=type(signal).__name__)
    _check_dense(signal, name)
    if signal.is_complex():
        raise InputError(name, "is of type {dtype}", _NUMBERS, dtype=signal.dtype)
    return signal


def check_finite(signal: Tensor, name: str = "signal") -> Tensor:
    """Check that a signal [B, C, h, w] is finite everywhere, and return it.

    Raises:
        InputError: some values are not.
    """
    if signal.is_floating_point():
        low, high = bounds(signal)
        if not (math.isfinite(low) and math.isfinite(high)):
            bad = int((~torch.isfinite(signal)).sum())
            problem = "has {bad} values of {all} that are not finite"
            raise InputError(name, problem, "finite values, and a mask `valid` of them", bad=bad, all=signal.numel())
    return signal


def bounds(values: Tensor) -> tuple[float, float]:
    """Return the least and the largest value, NaN if any is: in one pass, and waiting for a GPU once."""
    extremes = values.detach().aminmax()
    low, high = torch.stack((extremes.min, extremes.max)).tolist()
    return low, high


def check_size(size: Size, grid: Size, name: str = "size") -> Size:
    """Check the size of a result against the grid that it comes from.

    Args:
        size: (H, W), in pixels.
        grid: (h, w), in cells.
        name: what to call `size` in errors.

    Returns:
        The size, a tuple.

    Raises:
        InputError: not two positive whole numbers, or smaller than the grid.
    """
    sides: Any = size
    if isinstance(sides, (np.ndarray, Tensor)) and sides.ndim == 1:
        sides = sides.tolist()
    if not (isinstance(sides, (tuple, list)) and len(sides) == 2 and all(_is_whole(side) for side in sides)):
        raise InputError(name, "is {value!r}", "two whole numbers of at least 1, (height, width)", value=size)
    size = int(sides[0]), int(sides[1])
    if grid[0] > size[0] or grid[1] > size[1]:
        problem = "is {h} × {w}, larger than the image or the size asked for, {H} × {W}"
        raise InputError("signal", problem, "signals of at most that size", h=grid[0], w=grid[1], H=size[0], W=size[1])
    return size


def chosen_size(size: Any, whole: Size) -> Any:
    """Choose both sides by the longer one, where a size is one number.

    Args:
        size: (H, W), or the longer side; None stays.
        whole: (H, W) of the image, whose proportions the other side keeps.

    Returns:
        (H, W) of a number; anything else as it is, for `check_size`.

    Raises:
        InputError: a number below 1.
    """
    if isinstance(size, bool) or not isinstance(size, numbers.Integral):
        return size
    longest = int(size)
    if longest < 1:
        raise InputError("size", "is {value!r}", "(height, width), or the longer side, from 1 on", value=size)
    height, width = (max(1, (2 * side * longest + max(whole)) // (2 * max(whole))) for side in whole)
    return height, width


def check_points(points: Tensor, batch: int, size: Size) -> Tensor:
    """Check chosen pixels.

    Args:
        points: [B, N, 2] or, for the same in each image, [N, 2]; whole numbers, (y, x).
        batch: B.
        size: (H, W) that they must lie in.

    Returns:
        [B, N, 2].

    Raises:
        InputError: another type or shape, or some lie outside.
    """
    if isinstance(points, Tensor):
        _check_dense(points, "points")
    if not isinstance(points, Tensor) or points.is_floating_point() or points.ndim not in (2, 3):
        raise InputError("points", "is no tensor of points", "whole numbers, [B, N, 2] or [N, 2]")
    points = points.long()
    points = points.expand(batch, -1, -1) if points.ndim == 2 else points
    if len(points) != batch or points.shape[2] != 2:
        raise InputError("points", "has the shape {shape}", "[{batch}, N, 2]", shape=list(points.shape), batch=batch)
    if ((points < 0) | (points >= points.new_tensor(size))).any():
        raise InputError("points", "has some outside the image", "(y, x) within {H} × {W}", H=size[0], W=size[1])
    return points


def check_number(name: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    """Check a setting that is a number.

    Raises:
        InputError: not a number, not whole where that is asked for, or outside low..high.
    """
    if not isinstance(value, bool) and isinstance(value, int if whole else (int, float)) and low <= value <= high:
        return
    accepted = "whole numbers from {low:g} to {high:g}" if whole else "numbers from {low:g} to {high:g}"
    raise InputError(name, "is {value!r}", accepted, value=value, low=low, high=high)


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Check a setting that is one of a few.

    Raises:
        InputError: it is none of them.
    """
    if not any(value is choice or (type(value) is type(choice) and value == choice) for choice in choices):
        raise InputError(name, "is {value!r}", "{choices}", value=value, choices=", ".join(map(str, choices)))


def parse_memory(memory: int | str) -> int:
    """Convert a number or a text to bytes: 1 KB is 1024 bytes, and so on.

    Raises:
        InputError: not a positive amount.

    Example:
        >>> parse_memory("1.5GB")
        1610612736
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", str(memory).lower())
    amount = int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " ")) if match else 0
    if amount < 1:
        raise InputError("memory", "is {value!r}", "bytes, or texts such as 512MB and 1.5GB", value=memory)
    return amount


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Convert the engine's complaint about its memory to one about the caller's argument.

    Raises:
        InputError: the memory does not suffice.
    """
    try:
        yield
    except TooLittleMemoryError as error:
        raise InputError("memory", "is {reason}", "more", reason=str(error).removeprefix("memory is ")) from error


def resize(guidance: Tensor, size: Size) -> Tensor:
    """Resize guidance [B, G, H, W] to the result's size: bilinear, antialiased where it shrinks."""
    if guidance.shape[2:] == size:
        return guidance
    return F.interpolate(guidance, size, mode="bilinear", antialias=True).clamp_(0, 1)  # against rounding


def _from_numpy(array: NDArray[Any], name: str) -> Tensor:
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise InputError(name, "is an array of {dtype}", _NUMBERS, dtype=array.dtype)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.require(native, requirements=["C", "W"]))  # torch shares memory and wants it writable


def _is_whole(side: object) -> bool:
    """Return whether something is a whole number of at least 1, of Python or NumPy."""
    return not isinstance(side, bool) and isinstance(side, numbers.Integral) and int(side) >= 1


def _check_dense(tensor: Tensor, name: str) -> None:
    """Refuse tensors whose values cannot be read one by one, and types that torch does not compute in."""
    if torch._C._functorch.is_batchedtensor(tensor):
        raise InputError(name, "is mapped over by torch.vmap", "batches [B, C, h, w], without vmap")
    if tensor.is_nested:
        raise InputError(name, "is a nested tensor", "tensors of one shape")
    if tensor.layout != torch.strided:
        raise InputError(name, "is a sparse tensor", "dense tensors, which tensor.to_dense() gives")
    if tensor.device.type == "meta":
        raise InputError(name, "is on the device meta, which holds no values", "tensors with values")
    if tensor.dtype not in _DTYPES:
        raise InputError(name, "is of type {dtype}", _NUMBERS, dtype=tensor.dtype)


def _check_shape(tensor: Tensor, name: str, accepted: str) -> None:
    _check_dense(tensor, name)
    if tensor.ndim != 4:
        raise InputError(name, "has the shape {shape}", accepted, shape=list(tensor.shape))
    if 0 in tensor.shape:
        raise InputError(name, "has the shape {shape}, which is empty", accepted, shape=list(tensor.shape))
