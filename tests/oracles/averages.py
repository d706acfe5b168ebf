"""Means over cells, pixel by pixel: exact in rational numbers."""

from fractions import Fraction

import torch


def cell_means(image, grid):
    _, _, height, width = image.shape
    out = image.new_zeros(*image.shape[:2], *grid)
    for row in range(grid[0]):
        for column in range(grid[1]):
            for y in range(height):
                for x in range(width):
                    share = part(row, y, grid[0], height) * part(column, x, grid[1], width)
                    out[:, :, row, column] += float(share) * image[:, :, y, x]
    return out


def part(cell, pixel, cells, pixels):
    """What part of a cell lies in a pixel."""
    begin, end = Fraction(cell * pixels, cells), Fraction((cell + 1) * pixels, cells)
    return max(Fraction(0), min(end, Fraction(pixel + 1)) - max(begin, Fraction(pixel))) / (end - begin)


def pooled(image, factor):
    return torch.nn.functional.avg_pool2d(image, factor)
