"""Read one array of a .npy, .npz or .safetensors file, recognised by its first bytes.

A header is a claim by whoever made the file. It is checked against the bytes that are there and against the caller's
limit before anything is allocated, and an array of Python objects, which would have to be unpickled, is refused.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Collection
from pathlib import PurePosixPath
from typing import IO, BinaryIO, Literal, TypeAlias

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from omniup.files.refusals import Subject
from omniup.files.sources import check_memory, stream_size

ArrayFormat = Literal["npy", "npz", "safetensors", "pickle"]

CheckShape: TypeAlias = Callable[[tuple[int, ...]], None]
"""Refuses what has a shape, by its header, before anything is allocated for it."""

_PICKLE = (
    "is a pickle, as torch.save writes it, which could run anything and is never opened here; "
    "numpy.save(path, tensor.numpy()) makes an .npy file of a tensor"
)

_LENGTH = 8  # bytes of the length of a safetensors header
_LONGEST_HEADER = 2**24  # which names a hundred thousand tensors

_LISTED = 20  # names in a refusal: enough to find one's own, few enough for a line


def array_format(stream: BinaryIO) -> ArrayFormat | None:
    """Recognise the array format that a stream begins with, or None; its position is left at the beginning."""
    start = stream.read(10)
    stream.seek(0)
    if start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5"):  # the protocols in use
        return "pickle"
    if start.startswith(np.lib.format.MAGIC_PREFIX):
        return "npy"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):  # a zip archive, the second an empty one
        return "npz"
    # safetensors has no magic bytes: it begins with the length of a JSON object, in 8 bytes, and that object
    if start[6:8] == b"\0\0" and start[8:] in (b'{"', b"{}", b"{ "):
        return "safetensors"
    return None


def read_array(
    stream: BinaryIO,
    array_format: ArrayFormat,
    subject: Subject,
    *,
    name: str | None,
    max_bytes: int,
    check_shape: CheckShape | None = None,
) -> Tensor:
    """Read the one array of a file, or the one named `name`, as it is stored.

    Args:
        stream: a seekable stream at its beginning.
        array_format: what `array_format` found.
        subject: what refusals speak of.
        name: which array of an archive; may be None where there is just one.
        max_bytes: the largest array to accept, by the size its header declares.
        check_shape: called with the shape that the header declares before anything is allocated, to refuse it.

    Returns:
        A tensor of any shape, of integers, booleans or floating-point numbers.

    Raises:
        InputError: the file is damaged or truncated, the array is too large, or of another type; the archive has no
            array of this name, or several and `name` is None.
    """
    if array_format == "pickle":
        raise subject.refusal(_PICKLE)
    if array_format == "npy":
        if name is not None:
            raise subject.refusal("is one array without a name, so it has none called {name!r}", name=name)
        return _read_npy(stream, subject, stream_size(stream), max_bytes, check_shape)
    if array_format == "npz":
        return _read_npz(stream, subject, name, max_bytes, check_shape)
    return _read_safetensors(stream, subject, name, max_bytes, check_shape)


def _read_npy(stream: IO[bytes], subject: Subject, size: int, max_bytes: int, check_shape: CheckShape | None) -> Tensor:
    with subject.attempt("read"):
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        header_size = stream.tell()
    if dtype.hasobject:
        raise subject.refusal("holds Python objects, which are never unpickled here")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise subject.refusal("holds numbers of type {dtype}", dtype=dtype)
    if min(shape, default=0) < 0:
        raise subject.refusal("declares the shape {shape}", shape=list(shape))
    if check_shape is not None:
        check_shape(tuple(shape))
    declared = math.prod(shape) * dtype.itemsize
    _bound(declared, subject, max_bytes)
    if declared > size - header_size:
        raise subject.refusal(
            "is truncated: it declares {declared} bytes of numbers and holds {held}",
            declared=declared,
            held=size - header_size,
        )
    stream.seek(0)
    with subject.attempt("read"):
        array = np.lib.format.read_array(stream, allow_pickle=False)
    return torch.from_numpy(array.astype(dtype.newbyteorder("="), copy=False))


def _read_npz(
    stream: BinaryIO, subject: Subject, name: str | None, max_bytes: int, check_shape: CheckShape | None
) -> Tensor:
    with subject.attempt("read"), zipfile.ZipFile(stream) as archive:
        names = archive.namelist()
        if any(PurePosixPath(name).name == "data.pkl" for name in names):
            raise subject.refusal(_PICKLE)
        members = {
            info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")
        }
        member = members[_pick(members, subject, name)]
        check_memory(member.file_size, stream_size(stream), subject)
        with archive.open(member) as array:  # which gives no more than file_size bytes, whatever is packed inside
            return _read_npy(array, subject, member.file_size, max_bytes, check_shape)


def _read_safetensors(
    stream: BinaryIO, subject: Subject, name: str | None, max_bytes: int, check_shape: CheckShape | None
) -> Tensor:
    size = stream_size(stream)
    with subject.attempt("read"):
        header_size = int.from_bytes(stream.read(_LENGTH), "little")
        if header_size > min(size - _LENGTH, _LONGEST_HEADER):
            raise ValueError(f"a header of {header_size} bytes in a file of {size}")
        header = json.loads(stream.read(header_size))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        entry = entries[_pick(entries, subject, name)]
        shape, (start, end) = tuple(map(int, entry["shape"])), map(int, entry["data_offsets"])
        if not 0 <= start <= end <= size - _LENGTH - header_size:
            raise ValueError(f"numbers from byte {start} to {end} in a file of {size} bytes")
    if check_shape is not None:
        check_shape(shape)
    _bound(end - start, subject, max_bytes)
    alone = json.dumps({"signal": {**entry, "data_offsets": [0, end - start]}}).encode()
    with subject.attempt("read"):
        stream.seek(_LENGTH + header_size + start)
        return load(len(alone).to_bytes(_LENGTH, "little") + alone + stream.read(end - start))["signal"]


def _bound(size: int, subject: Subject, max_bytes: int) -> None:
    if size > max_bytes:
        raise subject.refusal("declares {size} bytes, more than the limit of {most}", size=size, most=max_bytes)


def _pick(names: Collection[str], subject: Subject, name: str | None) -> str:
    if not names:
        raise subject.refusal("holds no arrays")
    if name is not None and name in names:
        return name
    if name is None and len(names) == 1:
        return next(iter(names))
    listed = ", ".join([*(repr(known) for known in sorted(names)[:_LISTED]), *(["…"] if len(names) > _LISTED else [])])
    if name is None:
        raise subject.refusal("holds {count} arrays, so name one of {names}", count=len(names), names=listed)
    raise subject.refusal("holds no array called {name!r}, only {names}", name=name, names=listed)
