"""Upsample video: frames and signals go in one by one, results come out, consistent over time.

    for result in omniup.video("film.mp4", "features.npy"):
        ...                                                   # [1, C, H, W] each

Only a few frames are held at a time, so a stream of any length goes through. `VideoUpsampler` is the same for callers
who have the frames come to them, such as a camera.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omniup.encoders.caller import EncoderLike, as_encoder
from omniup.errors import InputError
from omniup.sequences.frames import Frame, open_frames
from omniup.sequences.fusion import FusionSettings, FusionState, TemporalFusion
from omniup.sequences.signals import SUFFIXES, ArraySignals, Cells, EncodedSignals, Signals, open_signals
from omniup.upsamplers import DEFAULT_METHOD, upsample, upsampler
from omniup.upsamplers.checks import DEFAULT_MEMORY, Size, as_guidance, as_signal, as_tensor
from omniup.upsamplers.guidance_files import Picture, opened
from omniup.upsamplers.layouts import arrange
from omniup.upsamplers.regions import Region
from omniup.upsamplers.signal_types import SignalType, signal_types

Frames: TypeAlias = "str | Path | Iterable[Picture | Frame]"
"""A film or a folder of pictures by its path, or frames as they come."""

SignalsLike: TypeAlias = "str | Path | Tensor | NDArray[Any] | Iterable[Tensor | NDArray[Any]] | EncoderLike"
"""Signals: stored ones by their path, an array [T, C, h, w], one by one as they come, or an encoder."""


class VideoUpsampler:
    """Upsamples the signals of successive frames.

    Args:
        method: of upsampling; one of `omniup.methods()`.
        signal_type: as for `omniup.upsample`; `"auto"` is decided by the first frame, for all.
        size: likewise.
        independent: upsample each frame by itself, without temporal fusion.
        fusion: the numbers of temporal fusion.
        memory: as for `omniup.upsample`.
        **options: likewise: `layout`, `grid`, `holes`, `consistency` and the settings of the method.

    Attributes:
        fusion: the temporal fusion with its state; None where it is off.
        signal_type: the type of the signals; None before the first.
        size: (H, W) of the results; None before the first.
    """

    def __init__(
        self,
        *,
        method: str = DEFAULT_METHOD,
        signal_type: str = "auto",
        size: Size | int | None = None,
        independent: bool = False,
        fusion: FusionSettings | None = None,
        memory: int | str = DEFAULT_MEMORY,
        **options: Any,
    ) -> None:
        self.fusion = None if independent else TemporalFusion(fusion)
        self.signal_type: SignalType | None = None
        self.size: Size | None = None
        self._declared = signal_type
        self._layout = {"grid": options.pop("grid", None), "layout": options.pop("layout", "auto")}
        own = {name: options.pop(name) for name in ("holes", "consistency") if name in options}
        # built once: AnyUp reads its weights
        self._options = {"method": upsampler(method, **options), "size": size, "memory": memory} | own

    def step(
        self,
        frame: Picture,
        signal: Tensor | NDArray[Any],
        *,
        valid: Tensor | None = None,
        region: Region | None = None,
    ) -> Tensor:
        """Upsample the signal of the next frame.

        Args:
            frame: one image, as for `omniup.upsample`.
            signal: likewise, of one image.
            valid: likewise.
            region: likewise.

        Returns:
            [1, C, H, W], in the signal's dtype and on its device.

        Raises:
            InputError: an argument cannot be accepted, or its shape differs from that of the frame before.
        """
        low = as_tensor(signal)
        guidance = as_guidance(opened(frame), device=low.device)
        pixels = guidance.shape[2], guidance.shape[3]
        low = as_signal(arrange(low, pixels if region is None else (region[2], region[3]), images=1, **self._layout))
        if len(low) != 1 or len(guidance) != 1:
            raise InputError(
                "signal", "is a batch of {count}", "one frame at a time", count=max(len(low), len(guidance))
            )
        found = signal_types(low, self.signal_type or self._declared)[0]
        self.signal_type = found
        options: dict[str, Any] = {"signal_type": found, "layout": "channels_first"} | self._options
        result = upsample(guidance, low, valid=valid, region=region, **options)
        self.size = result.shape[2], result.shape[3]
        if self.fusion is None:
            return result
        if result.untyped_storage().data_ptr() == low.untyped_storage().data_ptr():  # nothing was upsampled
            result = result.clone()
        return self.fusion.fuse(guidance, result.detach(), found, (low.shape[2], low.shape[3]))

    def state(self) -> tuple[dict[str, Tensor], str]:
        """Return what the next frame depends on: tensors by names, and the type of the signals."""
        state = None if self.fusion is None else self.fusion.state
        return {} if state is None else state.tensors(), self.signal_type or ""

    def restore(self, tensors: dict[str, Tensor], signal_type: str) -> None:
        """Go on after the frame that `state` was called at; without tensors and type, begin anew."""
        self.signal_type = cast("SignalType", signal_type) if signal_type else None
        if self.fusion is not None:
            self.fusion.state = FusionState.of_tensors(tensors) if tensors else None


def video(frames: Frames, signals: SignalsLike, *, stride: int | None = None, **options: Any) -> Iterator[Tensor]:
    """Upsample a video frame by frame, consistent over time.

    Args:
        frames: the path of a film or of a folder of pictures; or images one by one, as for `omniup.upsample`.
        signals: an array [T, C, h, w]; the path of one, .npy or .zarr, or of a folder with one file a frame; signals
            [1, C, h, w] one by one; or an encoder, as for `omniup.features`: a name, a model, or any function.
        stride: of a function that is no encoder, as for `omniup.features`.
        **options: as for `VideoUpsampler`: `method`, `signal_type`, `size`, `independent`, …

    Yields:
        The result of each frame, [1, C, H, W].

    Raises:
        InputError: an argument cannot be accepted, or there are more frames than signals.

    Example:
        >>> import omniup, torch
        >>> frames, depth = torch.rand(3, 3, 48, 64), torch.rand(3, 1, 6, 8)
        >>> [result.shape for result in omniup.video(frames.split(1), depth)][-1]
        torch.Size([1, 1, 48, 64])
    """
    given = _signals(signals, stride, options)
    if not isinstance(given, Iterator):  # which are arranged as [1, C, h, w] already
        options = {name: value for name, value in options.items() if name not in ("layout", "grid")}
    made = VideoUpsampler(**options)
    for number, frame in enumerate(_frames(frames)):
        if isinstance(given, Iterator):
            cells = next(given, None)
            if cells is None:
                raise InputError("signals", "are fewer than the frames", "one for each frame")
        else:
            image = as_guidance(opened(frame))
            cells = given.of(image, number)
        yield made.step(frame, cells.values, valid=cells.valid, region=cells.region)


def _frames(frames: Frames) -> Iterator[Picture]:
    source = open_frames(frames).frames() if isinstance(frames, (str, Path)) else frames
    for frame in source:
        yield frame.image if isinstance(frame, Frame) else frame


def _signals(given: SignalsLike, stride: int | None, options: dict[str, Any]) -> Signals | Iterator[Cells]:
    """Make signals of what the caller has."""
    if isinstance(given, Path) or (isinstance(given, str) and _is_path(given)):
        return open_signals(
            given, **{name: options[name] for name in ("signal_type", "grid", "layout") if name in options}
        )
    if isinstance(given, (Tensor, np.ndarray)) or (hasattr(given, "shape") and hasattr(given, "dtype")):
        return ArraySignals(given, **{name: options[name] for name in ("grid", "layout") if name in options})
    if isinstance(given, str) or callable(given):
        return EncodedSignals(as_encoder(given, stride))
    return (Cells(as_tensor(signal)) for signal in given)


def _is_path(text: str) -> bool:
    return Path(text).suffix.lower() in SUFFIXES or Path(text).exists()
