"""Read signals with their types, render them and write the results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from omniup.cli.inputs import source
from omniup.cli.outputs import Target
from omniup.cli.report import Report
from omniup.errors import InputError
from omniup.files import holds_image, read_labels, read_nodata, read_palette, read_signal, write_image
from omniup.upsamplers import Prepared, signal_types
from omniup.upsamplers.holes import cells_without, fill_nearest
from omniup.upsamplers.layouts import arrange, check_declared


@dataclass(frozen=True, eq=False)
class Signal:
    """A signal as it was read.

    Attributes:
        values: [B, C, h, w].
        declared: the type to render it with: that of all its images, or `"auto"` where theirs differ.
        found: that type; of images that differ all of theirs, for people and machines to read.
        palette: the colours of labels, to be written as they were read; None if there are none.
        valid: boolean [B, 1, h, w], the cells that are no holes; None where all are valid.
    """

    values: Tensor
    declared: str
    found: str
    palette: list[int] | None = None
    valid: Tensor | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Grid (h, w), in cells."""
        return self.values.shape[2], self.values.shape[3]

    def check(self, target: Target, report: Report) -> None:
        """Refuse a target that cannot hold the result; point out one that rounds it."""
        target.check(self.values)
        if target.format == "png" and not _are_whole(self.values):
            report.note(f"{target.argument}: a PNG holds whole numbers, so values are rounded; .npy keeps them")

    def write(self, result: Tensor, target: Target) -> None:
        """Write what was rendered, in the colours of the input where both can have them."""
        if self.palette is None or target.format != "png":
            target.write(result)
        else:
            picture = Image.fromarray(result[0, 0].cpu().numpy().astype(np.uint8))
            picture.putpalette(self.palette)
            write_image(target.argument, picture)


def read(
    argument: str,
    report: Report,
    *,
    size: tuple[int, int],
    grid: tuple[int, int] | None = None,
    layout: str = "auto",
    name: str | None,
    signal_type: str,
    are_labels: bool | None,
    invalid: Sequence[float] = (),
    device: torch.device,
) -> Signal:
    """Read a signal and determine its type.

    Args:
        argument: as the user gave it.
        report: notes it if the signal looks like labels and is not taken for them.
        size: (H, W) of its image, in pixels.
        grid: (h, w) of the signal, in cells, where that is known; see `arrange`.
        layout: likewise.
        name: which array of an archive; None where there is just one.
        signal_type: what it is, or `"auto"`: labels for palette pictures, and else what `signal_types` finds.
        are_labels: True for labels, False for anything but labels (whole numbers are measurements then), None to go by
            `signal_type`.
        invalid: numbers that stand for holes, as in `cells_without`; a GeoTIFF's own number is one too.
        device: where it should be.

    Raises:
        InputError: it cannot be read, is not of the type, or the two arguments on its type contradict each other.
    """
    _check_agreement(signal_type, are_labels)
    file = source(argument)
    layout = "channels_first" if layout == "auto" and holds_image(file) else layout
    check_shape = partial(check_declared, size=size, grid=grid, layout=layout)
    palette = read_palette(file)
    is_undeclared = signal_type == "auto" and are_labels is None
    if are_labels or signal_type == "labels" or (is_undeclared and palette is not None):
        numbers = read_labels(file, name=name, check_shape=check_shape).unsqueeze(1)
        values, valid = _without(numbers.to(device), invalid, argument, report)
        return Signal(values, "labels", "labels", palette, valid)
    if (nodata := read_nodata(file)) is not None:
        invalid = [*invalid, nodata]
    keeps_nan = any(math.isnan(value) for value in invalid)
    stored = read_signal(
        file, name=name, keep_integers=True, finite=not keeps_nan, as_stored=True, check_shape=check_shape
    )
    values = arrange(stored, size, grid=grid, layout=layout).to(device)
    values, valid = _without(values, invalid, argument, report)
    if is_undeclared and values.is_floating_point() and holds_image(file):
        signal_type = "measurement"  # a picture of a quantity, not the vectors of a network
    if are_labels is False and signal_type == "auto" and not values.is_floating_point():
        values, signal_type = values.float(), "measurement"
    types = sorted(set(signal_types(values, signal_type)))
    if is_undeclared and _look_like_labels(values):
        report.note(f"{argument}: a few whole numbers, taken for a measurement; if they are labels, say --labels")
    return Signal(values, types[0] if len(types) == 1 else signal_type, ", ".join(types), valid=valid)


def render(
    signal: Signal, prepared: Prepared, target: Target, report: Report, *, memory: int, holes: str = "fill"
) -> dict[str, Any]:
    """Upsample a signal, write the result, and report it.

    Args:
        signal: as `read` returned it.
        prepared: of its image.
        target: where the result goes.
        report: notes what was done.
        memory: bytes of working memory.
        holes: as in `Prepared.render`.

    Returns:
        The facts, for machines.
    """
    with report.stage("render"), report.progress("render") as progress:
        result = prepared.render(
            signal.values, signal.declared, valid=signal.valid, holes=holes, memory=memory, progress=progress
        )
    with report.stage("write"):
        signal.write(result, target)
    facts = {
        "output": target.argument,
        "shape": list(result.shape),
        "dtype": str(result.dtype).removeprefix("torch."),
        "signal_type": signal.found,
        "grid": list(signal.grid),
        "holes": 0 if signal.valid is None else int((~signal.valid).sum()),
        "device": str(result.device),
        "seconds": report.seconds,
    }
    shape = " x ".join(map(str, result.shape))
    report.note(f"{target.argument}: {shape} {facts['dtype']}, {signal.found} ({report.times})")
    return facts


def _without(values: Tensor, invalid: Sequence[float], argument: str, report: Report) -> tuple[Tensor, Tensor | None]:
    """Find the holes of a signal, fill them, and note how many there are."""
    valid = cells_without(values, invalid)
    if valid is None:
        return values, None
    report.note(f"{argument}: {int((~valid).sum())} of {valid.numel()} cells are holes, which do not count")
    return fill_nearest(values, valid), valid


def _check_agreement(signal_type: str, are_labels: bool | None) -> None:
    if are_labels and signal_type not in ("auto", "labels"):
        problem = "is given together with --signal-type {value}"
        raise InputError("--labels", problem, "one of the two", value=signal_type)
    if are_labels is False and signal_type == "labels":
        raise InputError("--values", "is given together with --signal-type labels", "one of the two")


def _look_like_labels(values: Tensor) -> bool:
    """Return whether the values are a few whole numbers over and over."""
    if values.shape[:2] != (1, 1) or not _are_whole(values):
        return False
    return 2 < len(torch.unique(values)) <= min(64, values.numel() // 8)


def _are_whole(values: Tensor) -> bool:
    return not values.is_floating_point() or bool((values == values.round()).all())
