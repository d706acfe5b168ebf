"""Read signals from files with their types, holes and colours, ready to be rendered."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from omniup.files import MAX_BYTES, Form, Source, Stored, read_stored
from omniup.upsamplers.checks import Size, check_finite
from omniup.upsamplers.holes import cells_without, fill_nearest
from omniup.upsamplers.layouts import Reading, arranged, check_declared, find_reading
from omniup.upsamplers.regions import Region, check_region, valid_inside
from omniup.upsamplers.representation import ShortRepr
from omniup.upsamplers.scattered import gather
from omniup.upsamplers.signal_types import SignalType, signal_types


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SignalFile(ShortRepr):
    """A signal as its file holds it.

    Attributes:
        values: [B, C, h, w]; holes have the value of the nearest valid cell.
        types: of each image.
        valid: boolean [B, 1, h, w], the cells that are no holes; None where all are valid.
        palette: the colours of labels, red, green and blue for each in turn; None if there are none.
        may_be_labels: True for a few whole numbers or colours over and over that were taken for a measurement
            undeclared.
        reading: how the shape that is stored was read; None for label maps.
    """

    values: Tensor
    types: tuple[SignalType, ...]
    valid: Tensor | None = None
    palette: list[int] | None = None
    may_be_labels: bool = False
    reading: Reading | None = None

    @property
    def grid(self) -> Size:
        """Grid (h, w), in cells."""
        return self.values.shape[2], self.values.shape[3]

    @property
    def signal_type(self) -> str:
        """Type to render the signal with: that of all its images, or `"auto"` where theirs differ."""
        return self.types[0] if len(set(self.types)) == 1 else "auto"

    @property
    def holes(self) -> int:
        """Number of cells that are holes."""
        return 0 if self.valid is None else int((~self.valid).sum())

    def gathered(self) -> SignalFile:
        """Average scattered measurements down to cells, as `gather` does."""
        if self.valid is None:
            return self
        values, valid = gather(self.values, self.valid, self.signal_type)
        return dataclasses.replace(self, values=values, valid=valid)

    def to(self, device: torch.device | str) -> SignalFile:
        """Move the tensors to a device."""
        valid = None if self.valid is None else self.valid.to(device)
        return dataclasses.replace(self, values=self.values.to(device), valid=valid)


def as_file(signal: str | Path | Image.Image) -> Source:
    """Return the path, or the file that a PIL image would be stored in without loss."""
    if not isinstance(signal, Image.Image):
        return signal
    held = BytesIO()
    held.name = "signal"
    signal.save(held, "TIFF" if signal.mode in ("F", "I") else "PNG")  # PNG has neither floats nor 32 bits
    return held


def read_signal_file(
    source: Source,
    size: Size,
    *,
    grid: Size | None = None,
    layout: str = "auto",
    region: Region | None = None,
    name: str | None = None,
    signal_type: str = "auto",
    are_labels: bool | None = None,
    invalid: Sequence[float] = (),
    max_bytes: int = MAX_BYTES,
) -> SignalFile:
    """Read a signal and determine its type and its holes.

    Args:
        source: as for `read_stored`.
        size: (H, W) of its image, in pixels.
        grid: (h, w) of the signal, in cells, where that is known; see `arrange`.
        layout: likewise; pictures and run lengths are channels first.
        region: the part of the image that the signal covers; cells with no pixel of the image are holes.
        name: which array of an archive; None where there is just one.
        signal_type: what it is, or `"auto"`: labels for palette pictures, a measurement for other pictures, and else
            what `signal_types` finds. As labels, pictures in colour have a class for each colour, and pictures with
            alpha are the mask that this is.
        are_labels: True for labels, False for anything but labels (whole numbers are measurements then), None to go by
            `signal_type`.
        invalid: numbers that stand for holes, as in `cells_without`; a GeoTIFF's own number is one too.
        max_bytes: as for `read_stored`.

    Raises:
        InputError: it cannot be read, is not of the type, or the region cannot be accepted.
    """
    region = check_region(region, size)
    covered = region[2], region[3]

    def layout_of(form: Form) -> str:
        return "channels_first" if layout == "auto" and form != "array" else layout

    def check_shape(shape: tuple[int, ...], form: Form) -> None:
        check_declared(shape, covered, grid=grid, layout=layout_of(form))

    is_undeclared = signal_type == "auto" and are_labels is None
    asks_labels = are_labels or signal_type == "labels"
    stored = read_stored(
        source, name=name, max_bytes=max_bytes, check_shape=check_shape, alpha_as_mask=bool(asks_labels)
    )
    if asks_labels or (is_undeclared and stored.palette is not None):
        stored = _whole(stored.by_colour())
        labels = stored.labels().unsqueeze(1)  # [1, 1, h, w]
        valid = valid_inside(cells_without(labels, invalid), region, size, labels)
        return SignalFile(_filled(labels, valid), ("labels",), valid, stored.palette)
    invalid = [*invalid, *([] if stored.nodata is None else [stored.nodata])]
    keeps_nan = any(math.isnan(value) for value in invalid)
    numbers = stored.signal(keep_integers=True, finite=not keeps_nan and covered == size)
    reading = find_reading(numbers.shape, covered, grid=grid, layout=layout_of(stored.form))
    values = arranged(numbers, reading)
    valid = valid_inside(cells_without(values, invalid), region, size, values)
    values = check_finite(_filled(values, valid))
    if is_undeclared and values.is_floating_point() and stored.form == "image":
        signal_type = "measurement"  # a picture of a quantity, not the vectors of a network
    if are_labels is False and signal_type == "auto" and not values.is_floating_point():
        values, signal_type = values.float(), "measurement"
    types = signal_types(values, signal_type)
    may_be_labels = is_undeclared and _look_like_labels(values, stored.form)
    return SignalFile(values, types, valid, may_be_labels=may_be_labels, reading=reading)


def _filled(signal: Tensor, valid: Tensor | None) -> Tensor:
    return signal if valid is None else fill_nearest(signal, valid)


def _whole(stored: Stored) -> Stored:
    """Make integers of whole numbers in floating point, as label maps are often stored; anything else stays."""
    numbers = stored.numbers
    if not numbers.is_floating_point() or not numbers.isfinite().all() or not are_whole(numbers):
        return stored
    return dataclasses.replace(stored, numbers=numbers.long())


def _look_like_labels(values: Tensor, form: Form) -> bool:
    """Return whether the values are a few whole numbers over and over, or a picture of a few colours."""
    batch, channels, *grid = values.shape
    if batch != 1 or channels not in ((1, 3) if form == "image" else (1,)) or not are_whole(values):
        return False
    place = torch.tensor([2.0**16, 2**8, 1][-channels:], dtype=torch.float64)[:, None, None]
    codes = (values[0].double() * place).sum(0)  # [h, w], one number for each colour of 8 bits
    return 2 < len(codes.unique()) <= min(64, math.prod(grid) // 8)


def are_whole(values: Tensor) -> bool:
    """Return whether all values are whole numbers."""
    return not values.is_floating_point() or bool((values == values.round()).all())
