"""Say how far the results of a method reach, and what they take from the whole signal: see `parts.py`."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Protocol

from torch import Tensor
from typing_extensions import Self

from omniup.upsamplers.checks import Size
from omniup.upsamplers.signal_types import SignalType


class Statistics(Protocol):
    """Statistics of a whole signal that the results of its parts need."""

    def part(self, rows: slice, columns: slice) -> Self:
        """Cut maps of cells to some rows and columns; numbers stay."""


class Local(abc.ABC):
    """A method whose result at a pixel depends on cells and pixels around it, beside statistics of the whole signal."""

    @abc.abstractmethod
    def reach(self, signal_type: SignalType) -> int:
        """Return how many cells around that of a pixel its result depends on, of pixels that lie in one cell."""

    def averages(self, signal_type: SignalType, grid: Size) -> tuple[Size, ...]:
        """Return the grids over which `statistics` need the picture averaged."""
        return ()

    def statistics(
        self,
        signal: Tensor,
        signal_type: SignalType,
        valid: Tensor | None,
        averages: Mapping[Size, Tensor],
        size: Size,
        memory: int,
    ) -> Statistics | None:
        """Compute what results take from the whole of a signal, for `PreparedImage.render_part`.

        Args:
            signal: [1, C, h, w], as `_render` is given it.
            signal_type: likewise.
            valid: boolean [1, 1, h, w]; None for all.
            averages: of the picture over the grids of `averages`, [1, G, *grid] in 0..1.
            size: (H, W) of the picture.
            memory: bytes of working memory.
        """
        return None
