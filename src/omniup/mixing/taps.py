"""Map cells of a grid to pixels along each axis: a pixel draws from, or lies in, a few cells with known weights.

Weights along both axes are multiplied: of a group of pixels, all are one matrix.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from omniup.mixing.groups import Blocks, rectangles
from omniup.mixing.interpolation import axis_taps
from omniup.mixing.windows import Windows


@dataclasses.dataclass(frozen=True, eq=False)
class AxisTaps:
    """A linear map between cells and pixels of an axis: the cells of each pixel and their weights, [pixels, taps]."""

    cells: Tensor
    weights: Tensor
    count: int

    @classmethod
    def interpolation(cls, pixels: int, cells: int, mode: str) -> AxisTaps:
        """Return interpolation along an axis, in a mode of `torch.nn.functional.interpolate`."""
        return cls(*axis_taps(torch.arange(pixels, dtype=torch.float64), cells, pixels, mode), cells)

    @classmethod
    def area(cls, pixels: int, cells: int) -> AxisTaps:
        """Return what part each pixel is of the cells that it lies in."""
        pixel = torch.arange(pixels)
        first = pixel * cells // pixels
        last = ((pixel + 1) * cells - 1) // pixels
        beyond = ((pixel + 1) * cells - last * pixels).double() / pixels  # what of it lies in the last one
        beyond = beyond.where(last > first, 0)
        return cls(torch.stack([first, last], 1), torch.stack([cells / pixels - beyond, beyond], 1), cells)

    def of(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Gather the taps of groups of pixels [..., m]: their cells [..., R], and the weights [..., R, m]."""
        cells = self.cells[pixels]  # [..., m, taps]
        first = cells.amin((-2, -1))  # [...]
        steps = cells - first[..., None, None]
        weights = self.weights.new_zeros(*pixels.shape, int(steps.max()) + 1)
        weights.scatter_add_(-1, steps, self.weights[pixels])
        listed = first[..., None] + torch.arange(weights.shape[-1])
        return listed.clamp_(max=self.count - 1), weights.mT


@dataclasses.dataclass(frozen=True, eq=False)
class Taps:
    """A linear map between the cells of a grid and pixels, of rows and of columns by itself.

    Attributes:
        rows: which rows of cells each row of pixels draws from.
        columns: likewise.
    """

    rows: AxisTaps
    columns: AxisTaps

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.rows.count * self.columns.count

    @classmethod
    def interpolation(cls, size: tuple[int, int], grid: tuple[int, int], mode: str) -> Taps:
        """Return interpolation of a grid (h, w) at a size (H, W)."""
        return cls(*(AxisTaps.interpolation(*axis, mode) for axis in zip(size, grid, strict=True)))

    @classmethod
    def area(cls, size: tuple[int, int], grid: tuple[int, int]) -> Taps:
        """Return what part each pixel is of the cells that it lies in."""
        return cls(*(AxisTaps.area(*axis) for axis in zip(size, grid, strict=True)))

    def of(self, where: Blocks | Tensor, windows: Windows, like: Tensor) -> GroupTaps:
        """Return the taps of n groups of P pixels.

        Args:
            where: which pixels, as in `write_pixels`.
            windows: of those pixels, all of them or a part.
            like: gives the device and the floating-point type.
        """
        y, x = rectangles(where, windows)  # [..., height], [..., width]
        cell_y, down = self.rows.of(windows.rows.origin + y)
        cell_x, across = self.columns.of(windows.columns.origin + x)
        cells = cell_y[..., :, None] * self.columns.count + cell_x[..., None, :]  # [..., Ry, Rx]
        return GroupTaps(cells.flatten(-2).flatten(0, -2).to(like.device), down.to(like), across.to(like))


@dataclasses.dataclass(frozen=True, eq=False)
class GroupTaps:
    """The cells that n groups of P pixels draw from, and their weights, of rows and of columns by itself.

    Attributes:
        cells: [n, R], with R = Ry Rx.
        down: [..., Ry, height].
        across: [..., Rx, width].
    """

    cells: Tensor
    down: Tensor
    across: Tensor

    def multiply(self, out: Tensor | None = None) -> Tensor:
        """Multiply the weights of rows and columns: [n, R, P]."""
        down, across = self.down[..., :, None, :, None], self.across[..., None, :, None, :]
        # Not torch.broadcast_shapes, which takes a tenth of a mix, and at first imports what torch compiles with.
        shape = [max(sides) for sides in zip(down.shape, across.shape, strict=True)]  # [..., Ry, Rx, height, width]
        if out is None:
            out = down.new_empty(*self.cells.shape, shape[-2] * shape[-1])
        torch.mul(down, across, out=out.view(shape))
        return out
