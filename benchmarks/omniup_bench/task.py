"""Define what a task of the benchmark is: images with low-resolution signals, and how results are scored.

A result is compared with the ground truth by statistics that add up over images: a confusion matrix, a sum of squared
errors, a count. Scores are computed from the totals. So scores of a whole data set (mean IoU) and means over images
(PSNR) are computed in the same way, and so are their confidence intervals, by resampling the images (bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from numpy.typing import NDArray
from torch import Tensor

from omniup.upsamplers import SignalType
from omniup_bench.data import Folders

Statistics: TypeAlias = Mapping[str, "NDArray[Any] | float"]
"""Statistics by name; those of two images are added."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image of a task.

    Attributes:
        name: of the image, unique in the task: its folder and file, e.g. `camvid/val/0016E5_07959`.
        image: the guidance, [B, G, H, W] in 0..1; B is 1, or several views of one image. G is 3, or what a task says.
        signal: [B, C, h, w].
        evaluate: function that compares a result [B, C, H', W'], on the CPU, with the ground truth.
        size: (H', W') of the result; the image's own if None.
    """

    name: str
    image: Tensor
    signal: Tensor
    evaluate: Callable[[Tensor], Statistics]
    size: tuple[int, int] | None = None


class Task(Protocol):
    """A use of upsampled signals.

    Attributes:
        name: as on the command line, e.g. `depth`.
        summary: one line for readers of the report.
        signal_type: of the signals.
        factors: the upsampling factors that it supports.
        metrics: the scores' names, the headline score first, and whether more is better.
    """

    name: str
    summary: str
    signal_type: SignalType
    factors: tuple[int, ...]
    metrics: Mapping[str, bool]

    def samples(self, folders: Folders, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images, always in the same order.

        Args:
            folders: with the data sets that the task's documentation names.
            factor: pixels to a cell.
            count: of images, the first ones; all if None.

        Raises:
            InputError: a data set or a model is missing or laid out otherwise.
        """

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Compute the scores of some images from the sum of their statistics: a value for each of `metrics`."""


Upsample: TypeAlias = Callable[[Tensor, Tensor, "tuple[int, int] | None"], Tensor]
"""Function from images [B, G, H, W], a signal [B, C, h, w] and a size, the image's own if None, to a result
[B, C, H', W'] on the CPU."""

Read: TypeAlias = Callable[[str, Tensor], Tensor]
"""Function from an image's name and a result [1, C, H', W'] to what is evaluated in place of the result."""


@runtime_checkable
class FittedTask(Protocol):
    """A task that does not evaluate results but what a probe reads from them, which is fitted first."""

    def fit(self, upsample: Upsample, folders: Folders, factor: int) -> Read:
        """Fit the probe to features of other images, upsampled or not.

        Args:
            upsample: the method whose results will be read.
            folders: as of `samples`.
            factor: as of `samples`.

        Raises:
            InputError: as `samples`.
        """
