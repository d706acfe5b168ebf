"""Read the signals that commands name, render them and write the results."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from omniup.cli.inputs import source
from omniup.cli.outputs import Target
from omniup.cli.report import Report
from omniup.errors import InputError
from omniup.files import together, write_image
from omniup.files.images import label_image
from omniup.upsamplers import Prepared
from omniup.upsamplers.checks import Size
from omniup.upsamplers.signal_files import SignalFile, are_whole, read_signal_file


def read(
    argument: str, report: Report, size: Size, *, signal_type: str, are_labels: bool | None, **options: Any
) -> SignalFile:
    """Read the signal that an argument names.

    Args:
        argument: as the user gave it.
        report: notes how many holes the signal has, and that it looks like labels and is not taken for them.
        size: as for `read_signal_file`.
        signal_type: likewise.
        are_labels: likewise.
        **options: likewise.

    Raises:
        InputError: as `read_signal_file`; or the two arguments on the signal's type contradict each other.
    """
    check_agreement(signal_type, are_labels)
    found = read_signal_file(source(argument), size, signal_type=signal_type, are_labels=are_labels, **options)
    if found.valid is not None:
        report.note(f"{argument}: {found.holes} of {found.valid.numel()} cells are holes, which do not count")
    if found.may_be_labels:
        report.note(
            f"{argument}: a few values over and over, taken for a measurement; if they are labels, say --labels"
        )
    return found


def check(signal: SignalFile, target: Target, trust: Target | None, report: Report) -> None:
    """Refuse targets that cannot hold the result or its confidence; point out one that rounds the result."""
    target.check(signal.values)
    if trust is not None:
        trust.check(torch.zeros(len(signal.values), 1, *signal.grid))
    if target.format == "png" and not are_whole(signal.values):
        report.note(f"{target.argument}: a PNG holds whole numbers, so values are rounded; .npy keeps them")


def render(
    signal: SignalFile,
    prepared: Prepared,
    target: Target,
    report: Report,
    *,
    trust: Target | None = None,
    memory: int,
    holes: str = "fill",
    consistency: float | str | None = "auto",
    part: tuple[slice, slice] | None = None,
) -> dict[str, Any]:
    """Upsample a signal, write the result, and report it.

    Args:
        signal: what to upsample.
        prepared: of its image.
        target: where the result goes.
        report: notes what was done.
        trust: where its confidence goes; None for nowhere.
        memory: bytes of working memory.
        holes: as in `Prepared.render`.
        consistency: likewise.
        part: the rows and columns of the result that are written; None for all.

    Returns:
        The facts, for machines.
    """
    with report.stage("render"), report.progress("render") as progress:
        result = prepared.render(
            signal.values,
            signal.signal_type,
            valid=signal.valid,
            holes=holes,
            consistency=consistency,
            memory=memory,
            progress=progress,
        )
    confidence = None
    if trust is not None:
        with report.stage("confidence"):
            confidence = prepared.confidence(
                signal.values, signal.signal_type, valid=signal.valid, result=result, memory=memory
            )
    if part is not None:
        result = result[:, :, part[0], part[1]]
        confidence = confidence if confidence is None else confidence[:, :, part[0], part[1]]
    with report.stage("write"), together():
        write(result, signal.palette, target)
        if trust is not None and confidence is not None:
            trust.write(confidence * (2 ** (trust.bits or 8) - 1) if trust.format == "png" else confidence)
    found = ", ".join(sorted(set(signal.types)))
    facts = {
        "output": target.argument,
        "shape": list(result.shape),
        "dtype": str(result.dtype).removeprefix("torch."),
        "signal_type": found,
        "grid": list(signal.grid),
        "holes": signal.holes,
        "device": str(result.device),
        "seconds": report.seconds,
    }
    if trust is not None:
        facts["confidence"] = trust.argument
    shape = " x ".join(map(str, result.shape))
    report.note(f"{target.argument}: {shape} {facts['dtype']}, {found} ({report.times})")
    return facts


def write(result: Tensor, palette: list[int] | None, target: Target) -> None:
    """Write a result, in the colours of the input where both can have them."""
    if palette is None or target.format != "png":
        target.write(result)
    else:
        write_image(target.argument, label_image(result, palette))


def check_agreement(signal_type: str, are_labels: bool | None) -> None:
    """Refuse two options on the signal's type that contradict each other."""
    if are_labels and signal_type not in ("auto", "labels"):
        problem = "is given together with --signal-type {value}"
        raise InputError("--labels", problem, "one of the two", value=signal_type)
    if are_labels is False and signal_type == "labels":
        raise InputError("--values", "is given together with --signal-type labels", "one of the two")
