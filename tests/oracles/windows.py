"""Which cells a pixel may draw from, written out pixel by pixel, a cell once for every place of the window it fills."""

from fractions import Fraction
from functools import cache
from math import floor

import torch


@cache
def floor_centre(pixel, pixels, cells):
    """The cell floor(u), u = (pixel + 0.5) / stride - 0.5 (spec, section 4.3)."""
    stride = Fraction(pixels, cells)
    return floor((pixel + Fraction(1, 2)) / stride - Fraction(1, 2))


@cache
def own_cell(pixel, pixels, cells):
    """The cell that the pixel's centre lies in."""
    stride = Fraction(pixels, cells)
    return floor((pixel + Fraction(1, 2)) / stride)


def clamp(index, cells):
    return min(max(index, 0), cells - 1)


def square_window(y, x, size, grid, radius, centre_of):
    qy, qx = centre_of(y, size[0], grid[0]), centre_of(x, size[1], grid[1])
    return [
        (clamp(qy + dy, grid[0]), clamp(qx + dx, grid[1]))
        for dy in range(-radius, radius + 1)
        for dx in range(-radius, radius + 1)
    ]


def disc_window(y, x, size, grid, radius, squared_reach=None):
    """The disc dy² + dx² <= radius²; where `squared_reach` is given, dy² + dx² <= that as well."""
    qy, qx = own_cell(y, size[0], grid[0]), own_cell(x, size[1], grid[1])
    limit = radius**2 if squared_reach is None else min(radius**2, squared_reach)
    return [
        (clamp(qy + dy, grid[0]), clamp(qx + dx, grid[1]))
        for dy in range(-radius, radius + 1)
        for dx in range(-radius, radius + 1)
        if dy**2 + dx**2 <= limit
    ]


@cache
def relative_interval(pixel, pixels, cells, ratio):
    """facts/anyup.md, point 7, as torch computes it in float32."""
    r = (torch.tensor(pixel, dtype=torch.float32) + 0.5) / pixels
    low = torch.floor(torch.clamp(r - ratio, 0, 1) * cells)
    high = torch.ceil(torch.clamp(r + ratio, 0, 1) * cells)
    return range(int(low), int(high))


def relative_window(y, x, size, grid, ratio):
    return [
        (qy, qx)
        for qy in relative_interval(y, size[0], grid[0], ratio)
        for qx in relative_interval(x, size[1], grid[1], ratio)
    ]


def bilinear(cells, size):
    """Bring a map [h][w] of whole numbers to (H, W) bilinearly, half-pixel centres, exactly: [H][W] of fractions."""
    rows, columns = (
        [bilinear_corners(pixel, pixels, count) for pixel in range(pixels)]
        for pixels, count in zip(size, (len(cells), len(cells[0])), strict=True)
    )
    return [
        [sum(wy * wx * int(cells[qy][qx]) for qy, wy in row for qx, wx in column) for column in columns] for row in rows
    ]


@cache
def bilinear_corners(pixel, pixels, count):
    """The two cells that a pixel lies between, along one side, and their weights."""
    u = (pixel + Fraction(1, 2)) * Fraction(count, pixels) - Fraction(1, 2)
    u = min(max(u, Fraction(0)), Fraction(count - 1))
    low = floor(u)
    return ((low, 1 - (u - low)), (min(low + 1, count - 1), u - low))


def counts(size, grid, window_of):
    """[H W, h w]: how often each cell occurs in each pixel's window."""
    table = []
    for y in range(size[0]):
        for x in range(size[1]):
            row = [0.0] * (grid[0] * grid[1])
            for qy, qx in window_of(y, x):
                row[qy * grid[1] + qx] += 1
            table.append(row)
    return torch.tensor(table, dtype=torch.float64)
