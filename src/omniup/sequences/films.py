"""Write films in parts that are whole each, and join the parts, with the sound of another film.

A part is a film of its own, encoded from its first frame on by an encoder that knows no other part, so it does not
matter whether one process writes all parts or each is written by another: the bytes are the same. No frame refers to a
later one, so each is one packet, in the order of presentation. Joining copies packets, without encoding them again, and
gives each its own presentation time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omniup.errors import InputError, optional_import
from omniup.files import atomic_write
from omniup.files.refusals import Subject, printable
from omniup.sequences.frames import ACCURATE

if TYPE_CHECKING:
    from av import Packet
    from av.container import OutputContainer

SUFFIXES = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffixes of films that are written, with PyAV's names of the formats."""

ENCODING = {"crf": "18", "preset": "veryfast", "bf": "0", "tune": "zerolatency"}
"""Options of libx264: hardly any visible loss; each frame leaves the encoder before the next one comes."""

BT709 = 1
"""Number of the colour space, of its primaries and its transfer: said in the file, or players would guess."""

LIMITED = 1
"""Number of the range of colours that films have, 16 to 235."""


class FilmPart:
    """A part of a film, held in memory while it is written.

    Args:
        time_base: unit of presentation times, in seconds.
        rate: frames a second, on average.

    Attributes:
        count: frames so far.
    """

    def __init__(self, time_base: Fraction, rate: Fraction) -> None:
        self._av = optional_import("av", extra="video")
        self._held = BytesIO()
        self._container = self._av.open(self._held, "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=rate, options=ENCODING)
        self._stream.thread_count = 1  # the bytes depend on it
        self._stream.pix_fmt = "yuv420p"
        coding = self._stream.codec_context
        coding.colorspace = coding.color_primaries = coding.color_trc = BT709
        coding.color_range = LIMITED
        self._time_base, self._begin = time_base, 0
        self._is_open = True
        self.count = 0

    def add(self, picture: NDArray[np.uint8], time: int) -> None:
        """Encode a frame [H, W, 3]; an odd side gets its last row or column twice."""
        even = np.pad(picture, [(0, side % 2) for side in picture.shape[:2]] + [(0, 0)], mode="edge")
        if self.count == 0:
            self._begin = time
            self._stream.height, self._stream.width = even.shape[:2]
            self._stream.codec_context.time_base = self._time_base
        frame = self._av.VideoFrame.from_ndarray(even, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED, interpolation=ACCURATE
        )
        frame.pts, frame.time_base = time - self._begin, self._time_base
        self._container.mux(self._stream.encode(frame))
        self.count += 1

    def close(self) -> bytes:
        """Return the film; may be called again."""
        if self._is_open:
            self._is_open = False
            if self.count:
                self._container.mux(self._stream.encode(None))
            self._container.close()
        return self._held.getvalue()


def join_parts(
    parts: Sequence[Path], times: Sequence[int], time_base: Fraction, path: str | Path, sound: Path | None = None
) -> None:
    """Join the parts of a film.

    Args:
        parts: films that `FilmPart` wrote, in their order.
        times: of their frames; what comes after these is left out.
        time_base: the unit of the times, in seconds.
        path: the film to write, atomically.
        sound: a film whose sound is copied, as far as there are frames; None for no sound.

    Raises:
        InputError: the film cannot be written.
    """
    av = optional_import("av", extra="video")
    subject = Subject(printable(path), "a file that can be written to")
    with (
        atomic_write(path) as file,
        subject.attempt("written"),
        av.open(file, "w", format=SUFFIXES[Path(path).suffix.lower()]) as film,
    ):
        with av.open(str(parts[0])) as first:
            stream = film.add_stream_from_template(first.streams.video[0])
        stream.time_base = time_base
        streams = [_packets(parts, times, time_base, stream)]
        if sound is not None:
            end = times[-1] + _last_duration(times)
            streams += _sounds(sound, film, end * time_base)
        for _, _, packet in heapq.merge(*streams, key=lambda item: item[:2]):
            film.mux(packet)


def check_encoder(path: str | Path) -> None:
    """Refuse to write films where PyAV cannot encode them.

    Raises:
        InputError: it cannot.
    """
    av = optional_import("av", extra="video")
    if "libx264" not in av.codecs_available:
        raise InputError(
            printable(path), "needs the encoder libx264, which this PyAV lacks", "one that has it, such as PyPI's"
        )


def check_sound(path: Path, target: str | Path) -> bool:
    """Return whether a film has sound; try whether a film can hold it, before the work begins.

    Args:
        path: the film.
        target: the film to be written.

    Raises:
        InputError: the target's format cannot hold this sound.
    """
    av = optional_import("av", extra="video")
    with av.open(str(path)) as source:
        if not source.streams.audio:
            return False
        codecs = ", ".join(stream.codec_context.name for stream in source.streams.audio)
        try:
            with av.open(BytesIO(), "w", format=SUFFIXES[Path(target).suffix.lower()]) as film:
                for stream in source.streams.audio:
                    film.add_stream_from_template(stream)
                film.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            problem, accepted = "cannot hold the sound of {film}, {codecs}", ".mkv, or --no-sound"
            raise InputError(printable(target), problem, accepted, film=printable(path), codecs=codecs) from error
    return True


def _packets(
    parts: Sequence[Path], times: Sequence[int], time_base: Fraction, stream: Any
) -> Iterator[tuple[Fraction, int, Packet[Any]]]:
    """Yield the frames of all parts: when each is shown, in seconds, the number of its stream, and its packet."""
    av = optional_import("av", extra="video")
    number = 0
    for part in parts:
        with av.open(str(part)) as container:
            for packet in container.demux(video=0):
                if packet.dts is None:  # the end
                    continue
                if number == len(times):
                    return
                time = times[number]
                packet.stream, packet.time_base = stream, time_base
                packet.pts = packet.dts = time
                packet.duration = times[number + 1] - time if number + 1 < len(times) else _last_duration(times)
                yield time * time_base, 0, packet
                number += 1


def _sounds(path: Path, film: OutputContainer, end: Fraction) -> list[Iterator[tuple[Fraction, int, Packet[Any]]]]:
    """Yield the packets of each stream of sound up to a time in seconds, as `_packets` does."""
    av = optional_import("av", extra="video")
    with av.open(str(path)) as source:
        templates = [film.add_stream_from_template(stream) for stream in source.streams.audio]
    return [_sound(path, number, stream, end) for number, stream in enumerate(templates)]


def _sound(path: Path, number: int, stream: Any, end: Fraction) -> Iterator[tuple[Fraction, int, Packet[Any]]]:
    av = optional_import("av", extra="video")
    with av.open(str(path)) as source:
        for packet in source.demux(audio=number):
            if packet.dts is None:
                continue
            time = packet.dts * packet.time_base
            if time >= end:
                return
            packet.stream = stream
            yield time, number + 1, packet


def _last_duration(times: Sequence[int]) -> int:
    """Return how long the last frame is shown: as long as the one before."""
    return times[-1] - times[-2] if len(times) > 1 else 1
