"""What is brought to full resolution: values, which are mixed, and labels, which never are.

The mean of the labels 3 and 7 is not the label 5. So a label map is taken apart into a probability map for each label,
these are mixed, and every pixel gets the label that is likeliest there: none can appear that the input did not have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from omniup.cli.inputs import source
from omniup.cli.outputs import Target
from omniup.cli.report import Report
from omniup.files import read_labels, read_palette, read_signal, write_image
from omniup.upsamplers.voting import likeliest, votes

Render: TypeAlias = Callable[[Tensor], Tensor]
"""Mixes: [B, C, h, w] to [B, C, H, W]."""


@dataclass(frozen=True, eq=False)
class Values:
    """Numbers that can be mixed: features, probabilities, depth, colours.

    Attributes:
        map: [B, C, h, w].
    """

    map: Tensor

    def upsample(self, render: Render, size: tuple[int, int], memory: int) -> Tensor:
        """Mix them: [B, C, H, W]."""
        return render(self.map)

    def check(self, target: Target, report: Report) -> None:
        """Refuse a target that cannot hold them; point out one that will round them."""
        target.check(self.map)
        if target.format == "png" and not self._are_whole():
            report.note(f"{target.argument}: a PNG holds whole numbers, so values are rounded; .npy keeps them")

    def write(self, result: Tensor, target: Target) -> None:
        """Write what `upsample` gave."""
        target.write(result)

    def look_like_labels(self) -> bool:
        """Whether they are a few whole numbers over and over."""
        if self.map.shape[:2] != (1, 1) or not self._are_whole():
            return False
        return 2 < len(torch.unique(self.map)) <= min(64, self.map.numel() // 8)

    def _are_whole(self) -> bool:
        return bool((self.map == self.map.round()).all())


@dataclass(frozen=True, eq=False)
class Labels:
    """The numbers of classes or of segments.

    Attributes:
        map: [1, 1, h, w], for each cell the place of its label in `known`.
        known: [K], the labels that there are, ascending.
        palette: their colours, to be written as they were read; None if they have none.
    """

    map: Tensor
    known: Tensor
    palette: list[int] | None

    def upsample(self, render: Render, size: tuple[int, int], memory: int) -> Tensor:
        """Find the likeliest label of each pixel: [1, 1, H, W].

        Args:
            render: mixes.
            size: (H, W).
            memory: bytes that the probabilities of all labels may take at a time.
        """
        place = likeliest(render, len(self.known), votes(self.map), size, memory=memory)
        return self.known[place]

    def check(self, target: Target, report: Report) -> None:
        """Refuse a target that cannot hold them."""
        target.check(self.known.view(1, 1, 1, -1))

    def write(self, result: Tensor, target: Target) -> None:
        """Write what `upsample` gave, in the colours of the input where both can have them."""
        if self.palette is None or target.format != "png":
            target.write(result)
        else:
            picture = Image.fromarray(result[0, 0].cpu().numpy().astype(np.uint8))
            picture.putpalette(self.palette)
            write_image(target.argument, picture)


def read(
    argument: str, report: Report, *, name: str | None, are_labels: bool | None, device: torch.device
) -> Values | Labels:
    """Read a signal.

    Args:
        argument: as the user gave it.
        report: is told if the values look like labels.
        name: which array of an archive; None where there is just one.
        are_labels: None to take palette images for labels and everything else for values.
        device: where it should be.

    Raises:
        InputError: it cannot be read.
    """
    file = source(argument)
    palette = read_palette(file)
    if are_labels or (are_labels is None and palette is not None):
        known, places = torch.unique(read_labels(file, name=name).to(device), return_inverse=True)
        return Labels(places.float().unsqueeze(1), known, palette)
    values = Values(read_signal(file, name=name).to(device))
    if are_labels is None and values.look_like_labels():
        report.note(f"{argument}: a few whole numbers, which are mixed as values; if they are labels, say --labels")
    return values


def bring_up(
    signal: Values | Labels, render: Render, size: tuple[int, int], target: Target, report: Report, *, memory: int
) -> dict[str, Any]:
    """Upsample a signal, write the result, and say so.

    Returns:
        The facts, for machines.
    """
    with report.stage("render"):
        result = signal.upsample(render, size, memory)
    with report.stage("write"):
        signal.write(result, target)
    facts = {
        "output": target.argument,
        "shape": list(result.shape),
        "dtype": str(result.dtype).removeprefix("torch."),
        "labels": isinstance(signal, Labels),
        "grid": list(signal.map.shape[2:]),
        "device": str(result.device),
        "seconds": report.seconds,
    }
    kind = "labels" if facts["labels"] else facts["dtype"]
    report.note(f"{target.argument}: {' x '.join(map(str, result.shape))} {kind} ({report.times})")
    return facts
