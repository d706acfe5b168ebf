"""Run the upsampling of a video from its source to its sink, from where the last run stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from omniup.sequences.frames import FrameSource
from omniup.sequences.signals import Cells, Signals
from omniup.sequences.sinks import Sink
from omniup.sequences.unfinished import Unfinished
from omniup.sequences.video import VideoUpsampler

PART = 32
"""Frames between two states that a run can go on from."""


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
    signals: Signals,
    upsampler: VideoUpsampler,
    sink: Sink,
    unfinished: Unfinished,
    *,
    device: torch.device,
    most: int | None = None,
    progress: Callable[[int], Any] = lambda done: None,
) -> int:
    """Upsample a video.

    Args:
        source: of the frames.
        signals: of the frames.
        upsampler: of the signals.
        sink: takes the results.
        unfinished: what the last run left; holds the state while this one runs, and is removed at its end.
        device: where to compute.
        most: stop after so many frames.
        progress: called after each frame with how many are done.

    Returns:
        How many frames there are.

    Raises:
        InputError: a frame or a signal cannot be read or accepted.
        KeyboardInterrupt: the run was interrupted; the sink has made an output of what is done.
    """
    times = list(unfinished.times)
    upsampler.restore(unfinished.state, unfinished.signal_type)
    try:
        for frame in source.frames(len(times)):
            if frame.number == most:
                break
            image = frame.image.to(device)
            cells = signals.of(image, frame.number)
            result = upsampler.step(image, cells.values.to(device), valid=cells.valid, region=cells.region)
            sink.add(frame, result)
            times.append(frame.time)
            if len(times) % PART == 0:
                sink.keep()
                unfinished.save(times, *upsampler.state())
            progress(len(times))
    except KeyboardInterrupt:
        sink.finish(times)
        raise
    sink.finish(times)
    unfinished.remove()
    return len(times)
