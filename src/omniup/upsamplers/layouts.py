"""Read arrays and tensors of several layouts as signals [B, C, h, w]: channels last, tokens, single maps.

| shape | read as |
|---|---|
| [B, C, h, w], [C, h, w] | channels first |
| [B, h, w, C], [h, w, C] | channels last |
| [B, N, C], [N, C] with a grid | tokens of a transformer, row by row, after class and register tokens |
| [h, w] | one channel |

`auto` takes the reading that fits the image. With four sides that is channels first where that fits at all; with three,
two readings that fit are refused, with both named.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

from torch import Tensor

from omniup.errors import InputError
from omniup.upsamplers.checks import check_size

Layout: TypeAlias = Literal["auto", "channels_first", "channels_last"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

#: No cell of a channels-first grid is more times longer than wide, or wider than long: of an image that a network saw
#: as a square.
LONGEST_CELL = 2.5
#: No cell is longer of a grid that is one of several readings, unless that is a square.
LONGEST_GUESSED_CELL = 1.25
SHORTEST_GUESSED_SIDE = 4
#: Factor by which the cells of the better of two readings are nearer to squares.
CLEARLY = 1.05
#: Class and register tokens that transformers have before those of the cells.
EXTRA_TOKENS = (0, 1, 2, 4, 5, 8)
MOST_EXTRA_TOKENS = 64
#: Fewer are no tokens, unless a grid is given.
FEWEST_TOKENS = 16
#: The longest token; transformers have up to some 8,000 channels.
LONGEST_TOKEN = 2**13


logger = logging.getLogger(__name__)


class Reading(NamedTuple):
    """One reading of a shape.

    Attributes:
        name: of the layout: channels_first, channels_last, tokens or map.
        grid: (h, w), in cells.
        extra: of tokens: how many come before those of the cells.
    """

    name: str
    grid: tuple[int, int]
    extra: int = 0

    def __str__(self) -> str:
        rows, columns = self.grid
        before = f" after {self.extra} others" if self.extra else ""
        return f"{self.name} with a grid of {rows} × {columns}{before}"


def arrange(
    signal: Tensor,
    size: tuple[int, int],
    *,
    images: int = 1,
    grid: tuple[int, int] | None = None,
    layout: str = "auto",
) -> Tensor:
    """Arrange a signal as [B, C, h, w].

    Args:
        signal: of a shape in the table above.
        size: (H, W) of its image, in pixels.
        images: how many images there are.
        grid: (h, w) of the signal, where that is known.
        layout: one of `LAYOUTS`.

    Returns:
        A view [B, C, h, w]. The log says how the shape was read, where it is not channels first.

    Raises:
        InputError: no reading fits, or several do.

    Example:
        >>> import torch
        >>> tokens = torch.rand(1, 257, 768)  # a class token and those of 16 × 16 patches
        >>> arrange(tokens, (224, 224)).shape
        torch.Size([1, 768, 16, 16])
    """
    return arranged(signal, find_reading(signal.shape, size, images=images, grid=grid, layout=layout))


def find_reading(
    shape: Sequence[int],
    size: tuple[int, int],
    *,
    images: int = 1,
    grid: tuple[int, int] | None = None,
    layout: str = "auto",
) -> Reading:
    """Choose the one reading of a shape; arguments, log and refusals as of `arrange`."""
    if layout not in LAYOUTS:
        raise InputError("layout", "is {value!r}", "{choices}", value=layout, choices=", ".join(LAYOUTS))
    shape = list(shape)
    accepted = "[B, C, h, w], [B, h, w, C], [C, h, w], [h, w, C], [h, w] and tokens [B, N, C]"
    if 0 in shape:
        raise InputError("signal", "has the shape {shape}, which is empty", accepted, shape=shape)
    if not 2 <= len(shape) <= 4:
        raise InputError("signal", "has the shape {shape}", accepted, shape=shape)
    readings = _readings(shape, size, images, grid, layout)
    if not readings:
        assert grid is not None  # without one there is always a reading
        problem = "has the shape {shape}, which does not fit a grid of {h} × {w}"
        raise InputError("signal", problem, "signals of that grid", shape=shape, h=grid[0], w=grid[1])
    if len(readings) > 1:
        problem, accepted = "has the shape {shape}, which is {readings}", "`layout` or `grid`, which say how to read it"
        raise InputError("signal", problem, accepted, shape=shape, readings=" or ".join(map(str, readings)))
    reading = readings[0]
    if layout == "auto" and reading.name in ("channels_last", "tokens"):
        logger.warning("signal: the shape %s is taken for %s", shape, reading)
    return reading


def check_declared(
    shape: Sequence[int], size: tuple[int, int], *, grid: tuple[int, int] | None = None, layout: str = "auto"
) -> None:
    """Refuse a signal by the shape that its file declares, before it is read, if it is larger than its image.

    Args:
        shape: as declared; one that is no signal's is left to `arrange`.
        size: as for `arrange`.
        grid: as for `arrange`.
        layout: as for `arrange`.

    Raises:
        InputError: no reading of the shape has a grid within the image.
    """
    if 2 <= len(shape) <= 4 and min(shape) > 0:
        readings = _readings(list(shape), size, 1, grid, layout)
        if readings and not any(each.grid[0] <= size[0] and each.grid[1] <= size[1] for each in readings):
            check_size(size, readings[0].grid)


def _readings(
    shape: list[int], size: tuple[int, int], images: int, grid: tuple[int, int] | None, layout: str
) -> list[Reading]:
    """List the readings of a shape that are equally good."""
    are_tokens = shape[-1] <= LONGEST_TOKEN
    if len(shape) == 2:
        single = Reading("map", (shape[0], shape[1]))
        return [single] if grid in (None, single.grid) else _tokens(shape[0], size, grid) if are_tokens else []
    first, last = Reading("channels_first", (shape[-2], shape[-1])), Reading("channels_last", (shape[-3], shape[-2]))
    if layout != "auto":
        chosen = first if layout == "channels_first" else last
        return [chosen] if grid in (None, chosen.grid) else []
    tokens = _tokens(shape[1], size, grid) if len(shape) == 3 and are_tokens and (grid or shape[0] == images) else []
    if grid is not None:
        matching = [reading for reading in (first, last) if reading.grid == grid]
        return (matching or [first])[:1] if len(shape) == 4 else matching or tokens
    fitting = [first] if _fits(first.grid, size) else []
    likely = _best([reading for reading in (first, last) if _is_likely(reading.grid, size)], size)
    if len(shape) == 4:
        return fitting or likely or [first]
    if likely == [last]:
        return fitting + likely
    return likely or fitting + tokens or [first]


def _tokens(count: int, size: tuple[int, int], grid: tuple[int, int] | None) -> list[Reading]:
    """Return the reading of so many tokens: with the grid given, or with that whose cells are nearest to squares."""
    if grid is not None:
        extra = count - math.prod(grid)
        return [Reading("tokens", grid, extra)] if 0 <= extra <= MOST_EXTRA_TOKENS else []
    found = []
    for extra in EXTRA_TOKENS:
        cells = count - extra
        if cells < FEWEST_TOKENS:
            break
        rows = math.sqrt(cells * size[0] / size[1])
        for high in {math.floor(rows), math.ceil(rows), math.isqrt(cells)} - {0}:
            grid = high, cells // high
            if math.prod(grid) == cells and _is_likely(grid, size):
                found.append(Reading("tokens", grid, extra))
    return sorted(found, key=lambda reading: (reading.extra > 1, _length(reading.grid, size)))[:1]


def _best(readings: list[Reading], size: tuple[int, int]) -> list[Reading]:
    """Leave out readings whose cells are clearly farther from squares than those of another."""
    lengths = [1.0 if _is_square(reading.grid) else _length(reading.grid, size) for reading in readings]
    return [reading for reading, length in zip(readings, lengths, strict=True) if length <= CLEARLY * min(lengths)]


def _length(grid: tuple[int, int], size: tuple[int, int]) -> float:
    """Return how many times a cell is longer than wide, or wider than long."""
    high, wide = size[0] / grid[0], size[1] / grid[1]
    return max(high / wide, wide / high)


def _fits(grid: tuple[int, int], size: tuple[int, int], longest: float = LONGEST_CELL) -> bool:
    """Check that no cell of a grid is smaller than a pixel or far from a square."""
    return grid[0] <= size[0] and grid[1] <= size[1] and _length(grid, size) <= longest


def _is_likely(grid: tuple[int, int], size: tuple[int, int]) -> bool:
    return min(grid) >= SHORTEST_GUESSED_SIDE and _fits(
        grid, size, LONGEST_CELL if _is_square(grid) else LONGEST_GUESSED_CELL
    )


def _is_square(grid: tuple[int, int]) -> bool:
    return grid[0] == grid[1]


def arranged(signal: Tensor, reading: Reading) -> Tensor:
    """Arrange a signal as [B, C, h, w], by one reading of its shape."""
    if reading.name == "map":
        return signal[None, None]
    if reading.name == "tokens":
        tokens = signal if signal.ndim == 3 else signal[None]
        return tokens[:, reading.extra :].mT.unflatten(2, reading.grid)
    batched = signal if signal.ndim == 4 else signal[None]
    return batched if reading.name == "channels_first" else batched.movedim(3, 1)
