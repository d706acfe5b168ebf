"""Run a video from its source to its sink, frame by frame, from where the last run stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from omniup.sequences.frames import Frame, FrameSource
from omniup.sequences.signals import Cells, Signals
from omniup.sequences.sinks import Sink
from omniup.sequences.unfinished import Unfinished
from omniup.sequences.video import VideoUpsampler
from omniup.upsamplers.checks import as_guidance

PART = 32
"""Frames between two states that a run can go on from."""


class Step(Protocol):
    """Makes the results of frames, one after another."""

    def result(self, frame: Frame) -> Tensor:
        """Make the result [1, C, H, W] of the next frame."""

    def state(self) -> tuple[dict[str, Tensor], str]:
        """Return what the next frame depends on: tensors by names, and the type of the signals."""

    def restore(self, tensors: dict[str, Tensor], signal_type: str) -> None:
        """Go on after the frame that `state` was called at; without tensors and type, begin anew."""


class UpsampledSignals:
    """Upsamples the signals of frames.

    Args:
        signals: of the frames.
        upsampler: of the signals.
        device: where to compute.
    """

    def __init__(self, signals: Signals, upsampler: VideoUpsampler, device: torch.device) -> None:
        self._signals, self._upsampler, self._device = signals, upsampler, device
        self.state, self.restore = upsampler.state, upsampler.restore

    def result(self, frame: Frame) -> Tensor:
        """Upsample the signal of the next frame.

        Raises:
            InputError: it cannot be read or accepted.
        """
        image = frame.image.to(self._device)
        cells = self._signals.of(image, frame.number)
        return self._upsampler.step(image, cells.values.to(self._device), valid=cells.valid, region=cells.region)


class EachFrame:
    """Makes results of frames, each by itself.

    Args:
        function: takes a frame [1, 3, H, W] in 0..1, and returns [1, C, H', W'].
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def result(self, frame: Frame) -> Tensor:
        """Make the result of the next frame."""
        return self._function(as_guidance(frame.image))

    def state(self) -> tuple[dict[str, Tensor], str]:
        """Return nothing, as no frame depends on another."""
        return {}, ""

    def restore(self, tensors: dict[str, Tensor], signal_type: str) -> None:
        """Do nothing."""


def first_cells(source: FrameSource, signals: Signals, count: int, device: torch.device) -> list[Cells]:
    """Return the signals of the first frames, which colours are fitted to."""
    found = []
    for frame in source.frames():
        found.append(signals.of(frame.image.to(device), frame.number))
        if len(found) == count:
            break
    return found


def run_video(
    source: FrameSource,
    step: Step,
    sink: Sink,
    unfinished: Unfinished,
    *,
    most: int | None = None,
    progress: Callable[[int], Any] = lambda done: None,
) -> int:
    """Make the results of a video.

    Args:
        source: of the frames.
        step: makes the result of each.
        sink: takes the results.
        unfinished: what the last run left; holds the state while this one runs, and is removed at its end.
        most: stop after so many frames.
        progress: called after each frame with how many are done.

    Returns:
        How many frames there are.

    Raises:
        InputError: a frame cannot be read, or there is no result of it.
        KeyboardInterrupt: the run was interrupted; the sink has made an output of what is done.
    """
    times = list(unfinished.times)
    step.restore(unfinished.state, unfinished.signal_type)
    try:
        for frame in source.frames(len(times)):
            if frame.number == most:
                break
            sink.add(frame, step.result(frame))
            times.append(frame.time)
            if len(times) % PART == 0:
                sink.keep()
                unfinished.save(times, *step.state())
            progress(len(times))
    except KeyboardInterrupt:
        sink.finish(times)
        raise
    sink.finish(times)
    unfinished.remove()
    return len(times)
