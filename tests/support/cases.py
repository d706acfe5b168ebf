"""Random problems for the mixing engine: sizes, windows of all kinds, tensors."""

import dataclasses
import re
from typing import Any

import torch
from hypothesis import strategies as st

from omniup.mixing import Attention, Windows
from oracles.windows import bilinear, counts, disc_window, floor_centre, own_cell, relative_window, square_window


@dataclasses.dataclass(frozen=True)
class Layout:
    """Windows, and the same written out pixel by pixel."""

    name: str
    size: tuple[int, int]
    grid: tuple[int, int]
    settings: tuple[Any, ...]

    @property
    def windows(self):
        kind, *rest = self.name.split("-")
        centre = {"centre": rest[0]} if rest else {}
        return getattr(Windows, kind)(self.size, self.grid, *self.settings, **centre)

    def window_of(self, y, x, squared_reach=None):
        """The cells that a pixel draws from, one for each place of its window."""
        if self.name == "disc":
            return disc_window(y, x, self.size, self.grid, *self.settings, squared_reach)
        if self.name == "relative":
            return relative_window(y, x, self.size, self.grid, *self.settings)
        centre_of = floor_centre if self.name == "square-floor" else own_cell
        return square_window(y, x, self.size, self.grid, *self.settings, centre_of)

    def counts(self, reach=None):
        """[N, cells], how often each pixel draws from each cell; [B, N, cells] with a reach [B, 1, h, w]."""
        if reach is None:
            return counts(self.size, self.grid, self.window_of)
        tables = []
        for image in reach:
            radius = bilinear(image[0].tolist(), self.size)
            tables.append(counts(self.size, self.grid, lambda y, x, r=radius: self.window_of(y, x, r[y][x] ** 2)))
        return torch.stack(tables)


sides = st.tuples(st.integers(1, 14), st.integers(1, 14))


@st.composite
def layouts(draw, kinds=("square-floor", "square-nearest", "disc", "relative"), largest=5):
    """Windows of some kind; the grid has at most as many cells as the output has pixels, along either side."""
    size = draw(sides)
    grid = tuple(draw(st.integers(1, side) | st.just(side)) for side in size)
    kind = draw(st.sampled_from(kinds))
    setting = draw(st.sampled_from([0.05, 0.1, 0.25, 0.37, 1.0]) if kind == "relative" else st.integers(0, largest))
    return Layout(kind, size, grid, (setting,))


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something to mix."""

    layout: Layout
    query: torch.Tensor  # [B, D, H, W]
    key: torch.Tensor  # [B, D, h, w]
    value: torch.Tensor  # [B, C, h, w]
    reach: torch.Tensor | None

    def to(self, dtype):
        tensors = (self.query.to(dtype), self.key.to(dtype), self.value.to(dtype))
        return Problem(self.layout, *tensors, None if self.reach is None else self.reach.to(dtype))

    @property
    def counts(self):
        return self.layout.counts(self.reach)


def problem(layout, *, batch=1, depth=3, channels=2, seed=0, reach=False, dtype=torch.float64):
    """Random tensors for a layout; logits of some units."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    query, key = normal(batch, depth, *layout.size), normal(batch, depth, *layout.grid)
    value = normal(batch, channels, *layout.grid)
    reaches = None
    if reach:
        most = layout.settings[0]
        reaches = torch.randint(0, most + 1, (batch, 1, *layout.grid), generator=generator).to(dtype)
    return Problem(layout, query, key, value, reaches)


@st.composite
def problems(draw, reach=False, **options):
    """Random problems; with `reach`, discs whose cells have radii of their own."""
    layout = draw(layouts(kinds=("disc",)) if reach else layouts(**options))
    shape = {name: draw(st.integers(1, 3)) for name in ("batch", "depth", "channels")}
    return problem(layout, **shape, seed=draw(st.integers(0, 2**16)), reach=reach)


def mix(query, key, value, windows, *, out=None, **options):
    """Mix, as a function of all three tensors."""
    return Attention(key, windows, **options).mix(query, value, out=out)


def pixels_at_a_border(size, grid):
    """Whether the centre of some pixel lies on the border between two cells, where the later one has it."""
    sides = zip(size, grid, strict=True)
    return any((2 * pixel + 1) * cells % (2 * pixels) == 0 for pixels, cells in sides for pixel in range(pixels))


def pixel_index(points, width):
    """Flat indices of points [.., 2]."""
    return points[..., 0] * width + points[..., 1]


def smallest_memory(attempt):
    """Few bytes with which `attempt(memory)` is not refused: not many more than the fewest."""
    memory = 1
    while True:
        try:
            attempt(memory)
        except ValueError as error:
            need = int(re.fullmatch(r"memory is \d+ bytes: .* takes (\d+)", str(error))[1])
            memory = max(memory + memory // 16 + 1, need)
        else:
            return memory
