"""Read low-resolution signals and label maps, and write signals."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from omniup.files.atomic import atomic_write
from omniup.files.refusals import Subject, printable
from omniup.files.sources import MAX_BYTES, Source
from omniup.files.stored import LABELS, read_stored

WRITTEN_FORMATS = ("npy", "npz", "safetensors", "png")
"""The formats that signals are written in, by their suffixes."""

_WRITTEN = (
    "[B, C, H, W] as .npy, .npz or .safetensors; as .png where B = 1, with one channel in 8 or 16 bits or three in 8"
)


def read_signal(source: Source, *, name: str | None = None, max_bytes: int = MAX_BYTES) -> Tensor:
    """Read a low-resolution signal from an array file, an image, or run lengths.

    Args:
        source: as for `read_stored`.
        name: likewise.
        max_bytes: likewise.

    Returns:
        [B, C, h, w]; an array of shape [h, w] becomes [1, 1, h, w] and one of [C, h, w] becomes [1, C, h, w]. The types
        are those of `Stored.signal`.

    Raises:
        InputError: as `read_stored` and `Stored.signal`.
    """
    signal = read_stored(source, name=name, max_bytes=max_bytes).signal()
    return signal.reshape((1,) * (4 - signal.ndim) + signal.shape).contiguous()


def read_labels(source: Source, *, name: str | None = None, max_bytes: int = MAX_BYTES) -> Tensor:
    """Read a label map from an image or an array of integers.

    Args:
        source: as for `read_stored`. Of images: palette, 1-bit, 8-bit grey or 16-bit grey, also in three equal
            channels.
        name: as for `read_stored`.
        max_bytes: likewise.

    Returns:
        [1, h, w] int64, one label per pixel.

    Raises:
        InputError: as `read_stored` and `Stored.labels`.
    """
    return read_stored(source, noun="labels", accepted=LABELS, name=name, max_bytes=max_bytes).labels()


def write_signal(path: str | Path | BinaryIO, signal: Tensor, *, bits: int = 8, format: str | None = None) -> None:
    """Write a signal; to a path atomically.

    Args:
        path: the file to write, or an open binary file, which may be a pipe and is not closed.
        signal: [B, C, H, W] on any device. .npy keeps the four dimensions, .npz and .safetensors name the array
            `signal`. NumPy has no bfloat16, which becomes float32 in .npy and .npz.
        bits: of a PNG: 8 for whole numbers in 0..255, 16 for 0..65535. A PNG holds one signal (B = 1) of one channel,
            or of three at 8 bits; its values are rounded and not scaled.
        format: `npy`, `npz`, `safetensors` or `png`; None takes it from the suffix, which an open file does not have.

    Raises:
        InputError: the format is unknown or cannot hold this signal, or the file cannot be written.
    """
    if isinstance(path, (str, Path)):
        subject = Subject(printable(path), _WRITTEN)
        output: AbstractContextManager[BinaryIO] = atomic_write(path)
        chosen = format or Path(path).suffix.removeprefix(".").lower()
    else:
        subject = Subject("signal", _WRITTEN)
        output = nullcontext(path)
        chosen = format or ""
    if chosen not in WRITTEN_FORMATS:
        raise subject.refusal(
            "has the format {format!r}, which is unknown" if chosen else "has neither a suffix nor `format`",
            format=chosen,
        )
    if signal.ndim != 4 or signal.numel() == 0:
        raise subject.refusal("cannot hold a signal of shape {shape}", shape=list(signal.shape))
    with output as file:
        _encode(file, signal.detach().cpu().contiguous(), chosen, subject, bits=bits)


def _encode(file: BinaryIO, signal: Tensor, format: str, subject: Subject, *, bits: int) -> None:
    if format == "png":
        _png(signal, subject, bits=bits).save(file, format="PNG")
    elif format == "safetensors":
        file.write(save({"signal": signal}))
    else:
        array = (signal.float() if signal.dtype == torch.bfloat16 else signal).numpy()
        if format == "npz":
            np.savez(file, signal=array)
        else:  # np.save would ask for the position in the file, which a pipe does not have
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(array.data)


def _png(signal: Tensor, subject: Subject, *, bits: int) -> Image.Image:
    batch, channels = signal.shape[:2]
    if (batch, channels, bits) not in ((1, 1, 8), (1, 3, 8), (1, 1, 16)):
        raise subject.refusal(
            "cannot hold a signal of shape {shape} in {bits} bits", shape=list(signal.shape), bits=bits
        )
    values = signal[0].float().round()  # [1 or 3, H, W]
    low, high = values.min().item(), values.max().item()
    if not (low >= 0 and high < 2**bits):  # not the other way round: a NaN fails every comparison
        raise subject.refusal(
            "cannot hold values from {low:g} to {high:g}, not within 0..{most}", low=low, high=high, most=2**bits - 1
        )
    numbers = values.numpy().astype(np.uint8 if bits == 8 else np.uint16)
    return Image.fromarray(numbers[0] if channels == 1 else np.ascontiguousarray(numbers.transpose(1, 2, 0)))
