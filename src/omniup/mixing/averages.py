"""Average an image over the cells of a grid, weighted by area: that is what a low-resolution measurement is."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from omniup.mixing.dtypes import exact_products

#: Cells whose coverage is one matrix.
AT_ONCE = 32

#: Bytes of the pixels whose variances are computed at once: more leave the cache.
BAND_BYTES = 2**21


def cell_means(image: Tensor, grid: tuple[int, int]) -> Tensor:
    """Area-average an image over the cells of a grid: each pixel counts by the area of it that a cell covers.

    Oracle: tests/oracles/averages.py, in rational numbers.

    Where the grid divides the image this is average pooling. Elsewhere it is not what torch calls adaptive pooling,
    whose cells overlap by whole pixels and so are not all of one size.

    Args:
        image: [B, C, H, W], floating point.
        grid: (h, w), no larger than the image.

    Returns:
        [B, C, h, w]; the cells' mean is the image's.
    """
    with exact_products(image.device):
        return _average(_average(image, 2, grid[0]), 3, grid[1])


def cell_variances(image: Tensor, means: Tensor) -> Tensor:
    """Compute the variances of an image within the cells of a grid, by area as the means are.

    Of differences from each cell's own mean, so that nothing cancels. Some rows of cells at a time, since pixels that
    two cells share are copied.

    Args:
        image: [B, C, H, W], floating point.
        means: [B, C, h, w], its `cell_means`.

    Returns:
        [B, C, h, w].
    """
    (height, width), (h, w) = image.shape[2:], means.shape[2:]
    if height % h == width % w == 0:
        blocks = image.unflatten(3, (w, width // w)).unflatten(2, (h, height // h))  # [B, C, h, k, w, l]
        centred = (blocks - means[:, :, :, None, :, None]).flatten(4, 5).flatten(2, 3)  # [B, C, H, W]
        return cell_means(centred.square_(), (h, w))
    (rows, down), (columns, across) = (_parts(*each, image) for each in ((height, h), (width, w)))  # [h, k], [w, l]
    band = max(1, BAND_BYTES // max(1, image[:, :, 0, 0].nbytes * rows.shape[1] * columns.numel()))
    found = []
    for near, part, mean in zip(rows.split(band), down.split(band), means.split(band, dim=2), strict=True):
        pixels = image[:, :, near.flatten()].index_select(3, columns.flatten())  # [B, C, n·k, w·l]
        centred = pixels.unflatten(3, columns.shape).unflatten(2, near.shape) - mean[:, :, :, None, :, None]
        found.append((centred.square() * across).sum(5).mul(part[:, :, None]).sum(3))  # [B, C, n, w]
    return torch.cat(found, dim=2)


def _parts(side: int, cells: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels of an axis that each cell covers, and the fraction of it in each: [cells, most of one cell]."""
    first = torch.arange(cells) * side // cells
    last = -(-(torch.arange(cells) + 1) * side // cells)
    pixels = first[:, None] + torch.arange(int((last - first).max()))
    edges = torch.arange(cells + 1, dtype=torch.float64) * side / cells
    covered = torch.minimum(edges[1:, None], pixels + 1.0) - torch.maximum(edges[:-1, None], pixels.double())
    weights = covered.clamp_(min=0) * (cells / side)
    return pixels.clamp_(max=side - 1).to(like.device), weights.to(like)


def add_to_cell_means(means: Tensor, image: Tensor, top: int, left: int, size: tuple[int, int]) -> None:
    """Add a window of an image to the cell means of the whole: after all windows they are those of `cell_means`.

    Args:
        means: [B, C, h, w], begun as 0; added to in place.
        image: [B, C, rows, columns], the window.
        top: its first row of pixels.
        left: its first column.
        size: (H, W) of the whole image.
    """
    with exact_products(image.device):
        (rows, down), (columns, across) = (
            _part_coverage(start, length, side, cells, image)
            for start, length, side, cells in zip((top, left), image.shape[2:], size, means.shape[2:], strict=True)
        )
        means[:, :, rows, columns] += down @ (image @ across.T)


def _part_coverage(start: int, length: int, side: int, cells: int, like: Tensor) -> tuple[slice, Tensor]:
    """Return the cells that some pixels of an axis lie in, and the fraction of each cell in each: [cells, pixels]."""
    near = slice(start * cells // side, -(-(start + length) * cells // side))
    return near, _covered(near.start, near.stop, start, start + length, side, cells, like)


def _average(image: Tensor, dim: int, cells: int) -> Tensor:
    """Average along one axis, 2 or 3."""
    if image.shape[dim] % cells == 0:
        whole = image.unflatten(dim, (cells, -1))
        if dim == 2:
            return whole.mean(3)
        return (whole @ whole.new_ones(whole.shape[4])) / whole.shape[4]  # of few pixels faster than their mean
    if dim == 2 and image.shape[3] < AT_ONCE:  # products of matrices of one column each are slow
        return _average(image.mT, 3, cells).mT
    if dim == 2:
        return torch.cat([part @ image[:, :, near] for near, part in _coverage(image, 2, cells)], dim=2)
    lines = image.flatten(0, 2)  # [B C H, W]
    means = torch.cat([lines[:, near] @ part.T for near, part in _coverage(image, 3, cells)], dim=1)
    return means.unflatten(0, image.shape[:3])


def _coverage(image: Tensor, dim: int, cells: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield the pixels along an axis that some cells cover, and the fraction of each cell in each: [cells, pixels].

    The rows of the fractions have the sum 1. Of all cells at once they would be nearly all 0, and a long axis would
    take the square of its length.
    """
    side = image.shape[dim]
    for start in range(0, cells, AT_ONCE):
        stop = min(start + AT_ONCE, cells)
        near = slice(start * side // cells, -(-stop * side // cells))
        yield near, _covered(start, stop, near.start, near.stop, side, cells, image)


def _covered(first: int, last: int, start: int, stop: int, side: int, cells: int, like: Tensor) -> Tensor:
    """Return the fraction of each cell, `first` up to `last`, in each pixel, `start` up to `stop`: [cells, pixels]."""
    edges = torch.arange(first, last + 1, dtype=torch.float64) * side / cells
    pixels = torch.arange(start, stop, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return (covered.clamp_(min=0) * (cells / side)).to(like, non_blocking=True)
