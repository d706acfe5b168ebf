"""Average scattered measurements down to cells: depth of a lidar, as large as its image and nearly empty.

A window of a few cells around a pixel then holds no measurement, or one, and there is nothing to mix. So the signal is
averaged over its valid cells down to a grid with about one measurement in each cell; the cells that stay empty are
holes like others. On the depth pairs of docs/inputs.md that has smaller errors up to some 20 % of valid cells.
"""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from omniup.upsamplers.holes import fill_nearest, valid_cell_means
from omniup.upsamplers.signal_types import signal_types

MOST_NEIGHBOURS = 0.25
"""Valid ones among the eight neighbours of valid cells, on average, up to which these are scattered."""

_AVERAGED = ("features", "probabilities", "measurement", "values")
"""Types of which a mean is one."""

logger = logging.getLogger(__name__)


def gather(signal: Tensor, valid: Tensor, signal_type: str) -> tuple[Tensor, Tensor]:
    """Average a signal down to about one measurement a cell, if its valid cells are scattered.

    Args:
        signal: [B, C, h, w].
        valid: boolean [B, 1, h, w], as `check_valid` returns it.
        signal_type: as in `PreparedImage.render`.

    Returns:
        The signal in its dtype and the mask of valid cells: on a smaller grid, which the log says, with the nearest
        value in empty cells; or as they were given, where measurements lie close together, and of labels, logits and
        directions.

    Example:
        >>> valid = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
        >>> valid[..., ::8, ::8] = True
        >>> gather(torch.ones(1, 1, 64, 64), valid, "measurement")[0].shape
        torch.Size([1, 1, 8, 8])
    """
    side = _side(valid)
    if side == 1:
        return signal, valid
    filled = fill_nearest(signal, valid)
    if any(each not in _AVERAGED for each in signal_types(filled, signal_type)):
        return signal, valid
    rows, columns = signal.shape[2:]
    grid = -(-rows // side), -(-columns // side)
    wide = filled.to(torch.promote_types(signal.dtype, torch.float32))
    means, covered = valid_cell_means(wide, valid, grid)
    assert covered is not None  # as `valid` is given
    logger.warning(
        "signal: %d of %d × %d cells hold a measurement, so they are averaged down to %d × %d cells",
        valid.sum(),
        rows,
        columns,
        *grid,
    )
    means = fill_nearest(means if signal.is_floating_point() else means.round(), covered)
    return means.to(signal.dtype), covered


def _side(valid: Tensor) -> int:
    """Return the side of the square that holds one valid cell on average; 1 if they lie close together."""
    around = F.conv2d(valid.float(), torch.ones(1, 1, 3, 3, device=valid.device), padding=1)[valid] - 1
    if around.mean() / 8 > MOST_NEIGHBOURS:
        return 1
    _, _, rows, columns = valid.nonzero().unbind(1)
    boxes = len(valid) * int(rows.max() - rows.min() + 1) * int(columns.max() - columns.min() + 1)
    return min(math.ceil(math.sqrt(boxes / len(rows))), *valid.shape[2:])
