"""Upsample a signal part by part: the parts of a picture that is larger than memory.

A part is a rectangle of whole cells and of the pixels that they cover exactly, so that it is an image with a signal of
its own. Where the picture is `H` pixels high, the grid `h` cells and g = gcd(H, h), parts begin and end at multiples
of h / g cells, which are H / g pixels. Of a part's result, what lies as far from its border as results reach is that
of the whole picture: a method says how far that is (`Local.reach`). Whatever else a result takes from the whole
signal (ranges, widths, weights) is computed once, from the signal and from averages of the picture over its cells, and
handed to all parts (`Local.statistics`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor

from omniup.errors import InputError
from omniup.mixing.dtypes import exact_products
from omniup.mixing.windows import Rectangle
from omniup.upsamplers.base import PreparedImage, Upsampler
from omniup.upsamplers.checks import Size, check_finite, check_size, enough_memory
from omniup.upsamplers.consistency import parse_consistency
from omniup.upsamplers.holes import fill_nearest
from omniup.upsamplers.local import Local, Statistics
from omniup.upsamplers.signal_types import SignalType, mixed_values, signal_types, unit_of

#: Parts begin at multiples of so many cells: the mixing engine puts up to four together, and sums them in one order.
TOGETHER = 4

#: Cells that a step of consistency reaches over: the means of a bicubic interpolation draw from two to either side.
#: And the most of all steps: beyond, they pass on less than 1e-8.
STEP_REACH, STEPS_REACH = 2, 10


class Part(NamedTuple):
    """A part of a picture, with that of the grid that covers it exactly.

    Attributes:
        rows: of pixels.
        columns: likewise.
        cell_rows: the same in cells.
        cell_columns: likewise.
    """

    rows: slice
    columns: slice
    cell_rows: slice
    cell_columns: slice


def part_around(rows: slice, columns: slice, size: Size, grid: Size, reach: int) -> Part:
    """Return the smallest part that has some pixels and all cells that their results reach.

    Args:
        rows: of pixels.
        columns: likewise.
        size: (H, W) of the picture.
        grid: (h, w), in cells.
        reach: how many cells around that of a pixel.
    """
    (pixel_rows, cell_rows), (pixel_columns, cell_columns) = (
        _aligned(*each, reach) for each in zip((rows, columns), size, grid, strict=True)
    )
    return Part(pixel_rows, pixel_columns, cell_rows, cell_columns)


def _aligned(pixels: slice, side: int, cells: int, reach: int) -> tuple[slice, slice]:
    """Extend pixels along an axis by the cells that they reach, outwards to where cells and pixels begin together."""
    common = math.gcd(side, cells)
    step, width = cells // common, side // common  # in cells, in pixels
    first = pixels.start * cells // side - reach
    last = -(-pixels.stop * cells // side) + reach
    begin = TOGETHER // math.gcd(step, TOGETHER)  # in steps
    start, stop = max(0, first // step // begin * begin), min(common, -(-last // step))
    return slice(start * width, stop * width), slice(start * step, stop * step)


def check_local(method: Upsampler) -> Local:
    """Return a method that can upsample parts.

    Raises:
        InputError: it cannot.
    """
    if isinstance(method, Local):
        return method
    raise InputError(
        "method",
        "fits or attends to the whole picture, so it cannot upsample one part by part",
        "pyramid_bilateral, joint_bilateral, guided_filter, bilinear, bicubic and nearest",
    )


@dataclasses.dataclass(frozen=True, eq=False)
class WholeSignal:
    """A signal with all that parts of its picture take from it; made by `of`.

    Attributes:
        method: which upsamples it.
        size: (H, W) of the picture and of the result.
        signal: [1, C, h, w], checked; holes have the value of the nearest valid cell.
        signal_type: resolved.
        valid: boolean [1, 1, h, w]; None where all cells are valid.
        steps: of consistency.
        unit: of the numbers, see `unit_of`.
        statistics: None where the method needs none.
    """

    method: Upsampler
    size: Size
    signal: Tensor
    signal_type: SignalType
    valid: Tensor | None
    steps: float
    unit: float
    statistics: Statistics | None

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        method: Upsampler,
        size: Size,
        signal: Tensor,
        signal_type: str,
        valid: Tensor | None,
        consistency: float | str | None,
        average: Callable[[tuple[Size, ...]], Mapping[Size, Tensor]],
        memory: int,
    ) -> WholeSignal:
        """Check a signal and compute what all parts take from it.

        Args:
            method: see the attributes.
            size: likewise.
            signal: [1, C, h, w], any numbers; what stands in invalid cells changes nothing.
            signal_type: one of `SIGNAL_TYPES`, or `"auto"`.
            valid: boolean [1, 1, h, w]; None for all.
            consistency: as in `PreparedImage.render`.
            average: gives the picture's averages over grids, [1, G, *grid] in 0..1, where the method needs them.
            memory: bytes of working memory.

        Raises:
            InputError: the signal is not finite, not of its type or larger than the picture, or a method's results
                depend on the whole picture.
        """
        grid = signal.shape[2], signal.shape[3]
        check_size(size, grid)
        mask = None if valid is None or bool(valid.all()) else valid
        signal = check_finite(signal if mask is None else fill_nearest(signal, mask))
        (found,) = signal_types(signal, signal_type)
        steps = parse_consistency(consistency)
        local = check_local(method)
        unit, statistics = 1.0, None
        if found != "labels":
            has_unit = signal.is_floating_point() and found not in ("logits", "directions")
            unit = unit_of(signal) if has_unit else 1.0
            values, mixed = mixed_values(signal, (found,), unit)
            with enough_memory(), exact_products(signal.device):
                averages = average(local.averages(mixed[0], grid))
                statistics = local.statistics(values, mixed[0], mask, averages, size, memory)
        return cls(method, size, signal, found, mask, steps, unit, statistics)

    @property
    def grid(self) -> Size:
        """Grid (h, w), in cells."""
        return self.signal.shape[2], self.signal.shape[3]

    @property
    def reach(self) -> int:
        """Number of cells around that of a pixel that its result depends on."""
        reach = check_local(self.method).reach("probabilities" if self.signal_type == "logits" else self.signal_type)
        if any(side % cells for side, cells in zip(self.size, self.grid, strict=True)):
            reach += 1  # a pixel may lie in two cells
        return reach + (min(STEP_REACH * math.ceil(self.steps) + 1, STEPS_REACH) if self.steps else 0)

    @torch.no_grad()
    def render(self, guidance: Tensor, part: Part, inside: Rectangle, holes: str, memory: int) -> Tensor:
        """Upsample a rectangle, given the part around it.

        Args:
            guidance: [1, G, H, W], the part's pixels.
            part: which.
            inside: rows and columns of the part's pixels that are wanted.
            holes: as in `PreparedImage.render`.
            memory: bytes of working memory.

        Returns:
            [1, C, rows, columns], in the signal's dtype.
        """
        near = (slice(None), slice(None), part.cell_rows, part.cell_columns)
        signal, valid = self.signal[near], None if self.valid is None else self.valid[near]
        grid = signal.shape[2], signal.shape[3]
        prepared = cast(PreparedImage, self.method.prepare(guidance, grid, memory=memory))
        statistics = None if self.statistics is None else self.statistics.part(part.cell_rows, part.cell_columns)
        return prepared.render_part(
            signal,
            self.signal_type,
            valid,
            statistics=statistics,
            inside=inside,
            holes=holes,
            steps=self.steps,
            unit=self.unit,
            memory=memory,
        )
