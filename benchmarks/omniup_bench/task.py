"""What a task of the benchmark is: images with low-resolution signals, and how to judge what a method makes of them.

A result is judged by statistics that add up over images: a confusion matrix, a sum of squared errors, a count. Scores
come from the totals. So scores of a whole data set (mean IoU) and means over images (PSNR) are had alike, and so are
their confidence intervals: images are drawn again and again, their statistics added, and scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from numpy.typing import NDArray
from torch import Tensor

from omniup.upsamplers import Upsampler

Statistics: TypeAlias = Mapping[str, "NDArray[Any] | float"]
"""By name; those of two images are added up."""

Split: TypeAlias = Literal["val", "tune"]
"""Images to report on, or those that settings may be tuned on."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image of a task.

    Attributes:
        name: of the image, unlike any other in the task: its folder and file, e.g. `camvid/val/0016E5_07959`.
        image: the guidance, [B, 3, H, W] in 0..1; B is 1, or several views of the one image.
        signal: [B, C, h, w].
        judge: compares a result [B, C, H', W'], on the CPU, with the truth.
        size: (H', W') that is asked for; the image's own if None.
    """

    name: str
    image: Tensor
    signal: Tensor
    judge: Callable[[Tensor], Statistics]
    size: tuple[int, int] | None = None


class Task(Protocol):
    """Something that upsampled signals are wanted for.

    Attributes:
        name: as on the command line, e.g. `depth`.
        summary: one line for readers of the report.
        signal: whether its values are averages over cells or a network's predictions for them.
        factors: the upsampling factors that it can be run at.
        metrics: the scores' names, the most telling first, and whether more is better.
    """

    name: str
    summary: str
    signal: Literal["measurement", "prediction"]
    factors: tuple[int, ...]
    metrics: Mapping[str, bool]

    def samples(self, data: Path, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images, in an order that is always the same.

        Args:
            data: a folder laid out as the task's documentation says.
            factor: from the signal's sides to the image's.
            count: of images, the first ones; all if None.

        Raises:
            InputError: the folder is not laid out so.
        """

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Score the sum of some images' statistics: a value for each of `metrics`."""


Read: TypeAlias = Callable[[str, Tensor], Tensor]
"""Of an image's name and a result [1, C, H', W'], what is judged in place of the result."""


@runtime_checkable
class Learner(Protocol):
    """A task whose judges do not take results but what is read off them, by something that is fitted first."""

    def learn(self, method: Upsampler, data: Path, factor: int) -> Read:
        """Look at the features of other images, or at what a method makes of them.

        Args:
            method: whose results will be read.
            data: as of `samples`.
            factor: as of `samples`.

        Raises:
            InputError: the folder is not laid out as the task says.
        """
