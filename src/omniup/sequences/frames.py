"""Read the frames of a video one by one: a film, decoded by PyAV, or a folder of pictures.

Frames come upright (rotation flags are applied), in the order in which they are shown, and with their presentation
times, so a variable frame rate stays one. Films of more than 8 bits keep them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from omniup.errors import InputError, optional_import
from omniup.files import MAX_PIXELS, find_images, read_image
from omniup.files.refusals import Subject, printable

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

RATE = Fraction(25)
"""Frames a second of a folder of pictures, and of a film that does not say."""

_ACCEPTED = "a film (MP4, MKV, MOV, WEBM, AVI) or a folder of pictures"

ACCURATE = 2 | 0x2000 | 0x4000 | 0x40000
"""FFmpeg's flags of a conversion between YUV and RGB in 8 bits: bilinear, with whole chroma, and rounded. Without them
pictures become darker by 1.5 of 255."""

_QUARTERS = {0: 0, 90: 1, 180: 2, -180: 2, -90: 3, 270: 3}
"""Rotation flags in degrees, counterclockwise, as numbers of quarter turns."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video.

    Attributes:
        number: counted from 0.
        image: [1, 3, H, W], upright: uint8, or float32 in 0..1 of films with more bits.
        time: when it is shown, in units of its source's `time_base`.
    """

    number: int
    image: Tensor
    time: int


class Film:
    """A file with a film; iterating it decodes it, from its beginning at each time.

    Args:
        path: the file.

    Attributes:
        path: likewise.
        size: (H, W) of the upright frames.
        count: frames by the header's account; None where it does not say.
        expected: frames by the film's length, for the progress; None where that is not known.
        time_base: the unit of presentation times, in seconds.
        rate: frames a second, on average.

    Raises:
        InputError: it cannot be read, has no video, or its frames are too large.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._subject = Subject(printable(path), _ACCEPTED)
        with self._open() as container:
            stream = self._stream(container)
            self.rate = Fraction(stream.average_rate or stream.guessed_rate or RATE)
            self.time_base = Fraction(stream.time_base or 1 / self.rate)
            seconds = (
                stream.duration * self.time_base if stream.duration else Fraction(container.duration or 0, 1000000)
            )
            self.count = stream.frames or None
            self.expected = self.count or round(seconds * self.rate) or None
        first = next(self.frames(), None)
        if first is None:
            raise self._subject.refusal("has no frames")
        self.size = first.image.shape[2], first.image.shape[3]

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Yield the frames from a number on; those before it are decoded and dropped, which is exact.

        Raises:
            InputError: a frame cannot be read, or its size differs from that of the first.
        """
        with self._open() as container:
            stream = self._stream(container)
            stream.thread_type = "AUTO"
            shape, last = None, None
            for number, decoded in enumerate(self._decoded(container, stream)):
                # frames without a time follow each other; no two are shown at once
                step = max(1, round(1 / (self.rate * self.time_base)))
                time = decoded.pts if decoded.pts is not None else 0 if last is None else last + step
                last = time if last is None else max(time, last + 1)
                if number < start:
                    continue
                if shape not in (None, (decoded.height, decoded.width)):
                    raise self._subject.refusal("changes its size at frame {number}", number=number)
                shape = decoded.height, decoded.width
                with self._subject.attempt("read"):
                    image = _upright(decoded)
                yield Frame(number, image, last)

    def fingerprint(self) -> list[Any]:
        """Return what identifies the content: path, size and time of the last change."""
        return identity_of(self.path)

    def _open(self) -> InputContainer:
        av = optional_import("av", extra="video")
        with self._subject.attempt("read"):
            container: InputContainer = av.open(str(self.path))
        return container

    def _stream(self, container: InputContainer) -> VideoStream:
        if not container.streams.video:
            raise self._subject.refusal("has no video")
        best = container.streams.best("video")  # no picture of a cover
        stream = next((each for each in container.streams.video if each is best), container.streams.video[0])
        pixels = stream.width * stream.height
        if not 0 < pixels <= MAX_PIXELS:
            problem = "has frames of {width} × {height} pixels, and the limit is {most} pixels"
            raise self._subject.refusal(problem, width=stream.width, height=stream.height, most=MAX_PIXELS)
        return stream

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        frames = container.decode(stream)
        while True:
            with self._subject.attempt("read"):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame


class FrameFolder:
    """A folder of pictures, one a frame, in the order of the numbers in their names.

    Args:
        path: the folder.
        rate: frames a second.

    Attributes:
        path: likewise.
        size: (H, W) of the frames.
        count: how many there are.
        expected: likewise.
        time_base: the unit of presentation times, in seconds: one frame.
        rate: likewise.

    Raises:
        InputError: it holds no pictures, or the first cannot be read.
    """

    def __init__(self, path: str | Path, rate: Fraction = RATE) -> None:
        self.path, self.rate, self.time_base = Path(path), rate, 1 / rate
        self._files = sorted(find_images(path), key=in_order)
        if not self._files:
            raise InputError(printable(path), "holds no pictures", _ACCEPTED)
        self.count: int | None = len(self._files)
        self.expected = self.count
        first = read_image(self._files[0])
        self.size = first.shape[2], first.shape[3]

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Yield the frames from a number on.

        Raises:
            InputError: one cannot be read, or its size differs from that of the first.
        """
        for number, file in enumerate(self._files[start:], start):
            image = read_image(file)
            if (image.shape[2], image.shape[3]) != self.size:
                problem, accepted = "is {found}, and the first frame {size}", "frames of one size"
                found, size = list(image.shape[2:]), list(self.size)
                raise InputError(printable(file), problem, accepted, found=found, size=size)
            yield Frame(number, image, number)

    def fingerprint(self) -> list[Any]:
        """Return what identifies the content: paths, sizes and times of the last change, as a hash."""
        found = hashlib.sha256(repr([identity_of(file) for file in self._files]).encode())
        return [str(self.path.resolve()), len(self._files), found.hexdigest()]


FrameSource: TypeAlias = Film | FrameFolder
"""A source of frames, as `open_frames` opens it."""


def open_frames(path: str | Path, rate: Fraction = RATE) -> FrameSource:
    """Open a film or a folder of pictures.

    Args:
        path: of the file or folder.
        rate: frames a second of a folder.

    Raises:
        InputError: it cannot be read.
    """
    return FrameFolder(path, rate) if Path(path).is_dir() else Film(path)


def in_order(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts names by the numbers in them: frame2 before frame10."""
    return [(int(digits), "") if digits else (0, text) for digits, text in re.findall(r"(\d+)|(\D+)", path.name)]


def _upright(frame: VideoFrame) -> Tensor:
    """Convert a decoded frame to an image [1, 3, H, W]."""
    is_deep = max(component.bits for component in frame.format.components) > 8
    # [H, W, 3]; FFmpeg takes whole chroma for something else in 48 bits
    pixels = frame.to_ndarray(format="rgb48le") if is_deep else frame.to_ndarray(format="rgb24", interpolation=ACCURATE)
    turned = np.ascontiguousarray(np.rot90(pixels, _QUARTERS.get(round(frame.rotation), 0)).transpose(2, 0, 1))
    image = torch.from_numpy(turned.astype(np.float32) / 65535 if is_deep else turned)
    return image[None]


def identity_of(path: Path) -> list[Any]:
    """Return what identifies a file: its path, size and time of the last change."""
    with Subject(printable(path), _ACCEPTED).attempt("read"):
        found = path.stat()
    return [str(path.resolve()), found.st_size, found.st_mtime_ns]
