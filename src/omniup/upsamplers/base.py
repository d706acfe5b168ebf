"""What every method shares: the protocol that all speak, the registry that knows them, the checks at the door."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

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


class Upsampler(Protocol):
    """A method with its settings."""

    def __call__(
        self, image: ImageLike, signal: Tensor, size: Size | None = None, *, memory: int = DEFAULT_MEMORY
    ) -> Tensor:
        """Bring a low-resolution signal of an image to full resolution.

        Args:
            image: the guidance: a PIL image; an array [H, W] or [H, W, G]; a tensor [B, G, H, W]. Floating point in
                0..1, or 8-bit integers.
            signal: [B, C, h, w], floating point.
            size: (H', W') of the result, in pixels; the image's own by default.
            memory: bytes of working memory beyond inputs and outputs.

        Returns:
            [B, C, H', W'], in the signal's type and on its device.

        Raises:
            InputError: an argument cannot be accepted; the message names it.
        """


@dataclasses.dataclass(frozen=True)
class Method:
    """A registered method.

    Attributes:
        name: what users call it.
        summary: one line on what it does.
        build: makes the upsampler from its settings.
        settings: the settings that `build` takes, with their defaults.
        paths: those of them that may name a file, which whoever is not to read this machine's files must not do; with
            the names that stand for something else, and are safe.
    """

    name: str
    summary: str
    build: Callable[..., Upsampler]
    settings: Mapping[str, Any]
    paths: Mapping[str, Collection[str]]


_METHODS: dict[str, Method] = {}
_Build = TypeVar("_Build", bound=Callable[..., Upsampler])


def register(
    name: str,
    summary: str,
    settings: Mapping[str, Any] | None = None,
    paths: Mapping[str, Collection[str]] | None = None,
) -> Callable[[_Build], _Build]:
    """Make a method known under a name.

    Args:
        name: what users call it.
        summary: one line on what it does.
        settings: its settings with their defaults; by default the keyword arguments of what is registered.
        paths: those that may name a file, as in `Method`; none by default.
    """

    def add(build: _Build) -> _Build:
        parameters = inspect.signature(build).parameters.values()
        found = {parameter.name: parameter.default for parameter in parameters} if settings is None else settings
        _METHODS[name] = Method(name, summary, build, found, paths or {})
        return build

    return add


def methods() -> dict[str, Method]:
    """Every method by its name.

    Example:
        >>> import omniup
        >>> omniup.methods()["bilinear"].summary
        'linear interpolation between the four nearest cells; does not look at the image'
    """
    return dict(_METHODS)


def upsampler(method: str, /, **settings: Any) -> Upsampler:
    """Build a method by name.

    Raises:
        InputError: no such method, or it has no such setting; the message lists what there is.
    """
    if not isinstance(method, str) or method not in _METHODS:
        raise InputError(f"method is {method!r}: accepted are {', '.join(sorted(_METHODS))}")
    accepted = _METHODS[method].settings
    if unknown := sorted(settings.keys() - accepted.keys()):
        known = f"accepted are {', '.join(accepted)}" if accepted else "it takes none"
        raise InputError(f"settings of {method}: there is no {', '.join(unknown)}; {known}")
    return _METHODS[method].build(**settings)


def upsample(
    image: ImageLike,
    signal: Tensor | NDArray[Any],
    *,
    method: str = "upsample_anything",
    size: Size | None = None,
    memory: int | str = DEFAULT_MEMORY,
    **settings: Any,
) -> Tensor:
    """Bring anything computed from an image at low resolution to full resolution, sharp along the image's edges.

    Args:
        image: the image that the signal was computed from: PIL; array [H, W] or [H, W, G]; tensor [B, G, H, W].
        signal: [B, C, h, w]: features, class probabilities, depth, masks.
        method: one of `methods()`.
        size: (H', W') of the result, in pixels; the image's own by default.
        memory: working memory beyond inputs and outputs: bytes, or a text such as `"512MB"` or `"1GB"`.
        **settings: of the method: see `methods()[method].settings`.

    Returns:
        [B, C, H', W'], in the signal's type and on its device.

    Raises:
        InputError: an argument cannot be accepted; the message names it.

    Example:
        >>> import omniup, torch
        >>> image, depth = torch.rand(1, 3, 64, 96), torch.rand(1, 1, 4, 6)
        >>> omniup.upsample(image, depth, method="joint_bilateral").shape
        torch.Size([1, 1, 64, 96])
    """
    if isinstance(signal, np.ndarray):
        signal = _from_numpy(signal, "signal")
    return upsampler(method, **settings)(image, signal, size, memory=parse_memory(memory))


def parse_memory(memory: int | str) -> int:
    """Bytes from a number or a text: 1 KB is 1024 bytes, and so on.

    Raises:
        InputError: not a positive amount.

    Example:
        >>> parse_memory("1.5GB")
        1610612736
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", str(memory).lower())
    amount = int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " ")) if match else 0
    if amount < 1:
        raise InputError(f"memory is {memory!r}: accepted are bytes or texts such as 512MB and 1.5GB")
    return amount


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Turn the engine's complaint about its memory into one about the caller's argument.

    Raises:
        InputError: the memory does not suffice.
    """
    try:
        yield
    except TooLittleMemoryError as error:
        raise InputError(f"{error}; accepted is more") from error


def as_guidance(image: ImageLike, *, device: torch.device | None = None, name: str = "image") -> Tensor:
    """Check an image and bring it to the form that the methods compute with.

    Args:
        image: PIL; array [H, W] or [H, W, G]; tensor [B, G, H, W]. Floating point in 0..1, or 8-bit integers.
        device: where the result should be; by default where the image is.
        name: what to call it in messages.

    Returns:
        [B, G, H, W], float32 or float64, in 0..1.

    Raises:
        InputError: wrong rank or type, an empty side, values that are not finite or outside 0..1.
    """
    if isinstance(image, Image.Image):
        return image_tensor(image).to(device)
    if isinstance(image, np.ndarray):
        if image.ndim not in (2, 3):
            raise InputError(f"{name} is an array of shape {list(image.shape)}: accepted are [H, W] and [H, W, G]")
        image = _from_numpy(image, name).reshape(*image.shape[:2], -1).permute(2, 0, 1)[None]
    _check_tensor(image, name, "a PIL image, a numpy array or a torch tensor")
    _check_shape(image, name, "[B, G, H, W]")
    image = image.detach().to(device)
    if image.dtype == torch.uint8:
        return image.float() / 255
    if not image.is_floating_point():
        raise InputError(f"{name} is of type {image.dtype}: accepted are floating point in 0..1 and 8-bit integers")
    low, high = (bound.item() for bound in image.aminmax())
    if not (low >= 0 and high <= 1):  # so put, NaN is refused too
        raise InputError(f"{name} has values from {low:.6g} to {high:.6g}: accepted is 0..1")
    return image if image.dtype == torch.float64 else image.float()


def check_signal(signal: Tensor, name: str = "signal") -> None:
    """Check what is to be upsampled.

    Raises:
        InputError: not a floating-point tensor [B, C, h, w], an empty side, or values that are not finite.
    """
    _check_tensor(signal, name, "a torch tensor [B, C, h, w]")
    _check_shape(signal, name, "[B, C, h, w]")
    if not signal.is_floating_point():
        raise InputError(f"{name} is of type {signal.dtype}: accepted is floating point")
    low, high = (bound.item() for bound in signal.detach().aminmax())  # one pass that makes no copy; NaN passes through
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int((~torch.isfinite(signal)).sum())
        raise InputError(f"{name} has {bad} values of {signal.numel()} that are not finite")


def check_size(size: Size, grid: Size, name: str = "size") -> None:
    """Check the size of a result against the grid that it comes from.

    Args:
        size: (H, W), in pixels.
        grid: (h, w), in cells.
        name: what to call `size` in messages.

    Raises:
        InputError: not two positive whole numbers, or smaller than the grid.
    """
    if not (isinstance(size, (tuple, list)) and len(size) == 2 and all(type(n) is int and n >= 1 for n in size)):
        raise InputError(f"{name} is {size!r}: accepted are two whole numbers of at least 1, (height, width)")
    if grid[0] > size[0] or grid[1] > size[1]:
        raise InputError(
            f"signal is {grid[0]} × {grid[1]}, larger than the image or the size asked for, {size[0]} × {size[1]}: "
            "accepted are signals of at most that size"
        )


def check_inputs(image: ImageLike, signal: Tensor, size: Size | None) -> tuple[Tensor, Size]:
    """The checks that every method makes on its arguments.

    Args:
        image: as in `Upsampler`.
        signal: as in `Upsampler`.
        size: as in `Upsampler`.

    Returns:
        The guidance [B, G, H, W], float32 or float64 in 0..1, on the signal's device; and the size of the result.

    Raises:
        InputError: as in `Upsampler`.
    """
    check_signal(signal)
    guidance = as_guidance(image, device=signal.device)
    if len(guidance) != len(signal):
        raise InputError(f"signal is a batch of {len(signal)} and image of {len(guidance)}: accepted are equal batches")
    size = size or (guidance.shape[2], guidance.shape[3])
    check_size(size, (signal.shape[2], signal.shape[3]))
    return guidance, size


def check_points(points: Tensor, batch: int, size: Size) -> Tensor:
    """Check chosen pixels.

    Args:
        points: [B, N, 2] or [N, 2], whole numbers, (y, x).
        batch: B.
        size: (H, W), what they must lie in.

    Returns:
        [B, N, 2].

    Raises:
        InputError: another type or shape, or some lie outside.
    """
    if not isinstance(points, Tensor) or points.is_floating_point() or points.ndim not in (2, 3):
        raise InputError("points: accepted are whole numbers, a tensor [B, N, 2] or [N, 2]")
    points = points.long()
    points = points.expand(batch, -1, -1) if points.ndim == 2 else points
    if len(points) != batch or points.shape[2] != 2:
        raise InputError(f"points has the shape {list(points.shape)}: accepted is [{batch}, N, 2]")
    if ((points < 0) | (points >= points.new_tensor(size))).any():
        raise InputError(f"points: some lie outside the image of {size[0]} × {size[1]}")
    return points


def resize(guidance: Tensor, size: Size) -> Tensor:
    """Bring guidance [B, G, H, W] to the size of the result: bilinear, smoothed first where it shrinks."""
    if guidance.shape[2:] == size:
        return guidance
    return F.interpolate(guidance, size, mode="bilinear", antialias=True).clamp_(0, 1)  # against rounding


def check_number(name: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    """Check a setting.

    Raises:
        InputError: not a number, not whole where that is asked for, or outside low..high.
    """
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        numbers = "whole numbers" if whole else "numbers"
        raise InputError(f"{name} is {value!r}: accepted are {numbers} from {low:g} to {high:g}")


def _from_numpy(array: NDArray[Any], name: str) -> Tensor:
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise InputError(f"{name} is an array of {array.dtype}: accepted are floating point and integers")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.require(native, requirements=["C", "W"]))  # torch shares memory and wants it writable


def _check_tensor(value: object, name: str, accepted: str) -> None:
    if not isinstance(value, Tensor):
        raise InputError(f"{name} is a {type(value).__name__}: accepted is {accepted}")


def _check_shape(tensor: Tensor, name: str, accepted: str) -> None:
    if tensor.ndim != 4:
        raise InputError(f"{name} has the shape {list(tensor.shape)}: accepted is {accepted}")
    if 0 in tensor.shape:
        raise InputError(f"{name} has the shape {list(tensor.shape)}, which is empty: accepted is {accepted}")
