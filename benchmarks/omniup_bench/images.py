"""Define the task `images`: a photograph from its own low resolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from omniup.evaluation.metrics import l1, psnr, ssim
from omniup.mixing import cell_means
from omniup.upsamplers import SignalType
from omniup_bench.data import Folders, Split, bsds_folder, grid_of, labelled_images
from omniup_bench.task import Sample, Statistics


class Images:
    """A photograph from the means of its colours over cells: PSNR, SSIM and L1, means over images.

    The folder holds `bsds500/val` (for `split="tune"`: `bsds500/train`) with photographs `NAME.jpg`, and label maps
    `NAME.segments.png`, which are not used here.
    """

    name: str = "images"
    summary: str = "a photograph from its colours at low resolution (BSDS500)"
    signal_type: SignalType = "measurement"
    factors: tuple[int, ...] = (4, 8, 14, 16, 32)
    metrics: Mapping[str, bool] = {"psnr": True, "ssim": True, "l1": False}

    def __init__(self, split: Split = "val") -> None:
        self.split = split

    def samples(self, folders: Folders, factor: int, count: int | None = None) -> Iterator[Sample]:
        """Read the images; see `Task`."""
        for picture in labelled_images(folders, bsds_folder(self.split), ".segments.png", count):
            image = picture.image

            def evaluate(result: Tensor, image: Tensor = image) -> Statistics:
                result = result.clamp(0, 1)  # as it would be shown; PSNR of a perfect result is infinite
                scores = {"psnr": min(psnr(result, image), 100.0), "ssim": ssim(result, image), "l1": l1(result, image)}
                return {"images": 1.0, **scores}

            yield Sample(picture.name, image, cell_means(image, grid_of(image, factor)).clamp(0, 1), evaluate)

    def scores(self, totals: Statistics) -> dict[str, float]:
        """Average over images; see `Task`."""
        return {name: float(totals[name] / totals["images"]) for name in self.metrics}
