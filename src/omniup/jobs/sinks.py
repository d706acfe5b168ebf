"""Write the results of parts of a data set, whole or not at all, the same bytes every time.

A part is what becomes whole in one step: of npz, safetensors and zarr a picture, of parquet and webdataset a file of
`part` pictures. Which pictures a part has follows from their order alone.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from omniup.errors import check_installed, optional_import
from omniup.files import atomic_write, sweep, write_tensors
from omniup.files.atomic import hidden_path, replace_folder
from omniup.files.refusals import Subject, printable
from omniup.jobs.addresses import OWN_FOLDER
from omniup.jobs.configuration import Output
from omniup.jobs.operators import Arrays
from omniup.jobs.sources import Item

ROW_GROUP = 2**25
"""Bytes of arrays that a row group of parquet has, about."""

ZARR = "results.zarr"
"""The store of the groups, in the output."""

STAGING = f"{OWN_FOLDER}/staging"
"""The folder of groups that are not whole yet."""

Write: TypeAlias = Callable[[str, Arrays], None]
"""Takes the key of a picture and its results."""


@dataclass(frozen=True)
class Part:
    """Pictures whose results become whole together.

    Attributes:
        number: from 0 on.
        items: in the order of the source.
    """

    number: int
    items: tuple[Item, ...]


def cut_into_parts(items: list[Item], output: Output) -> list[Part]:
    """Cut the pictures of a job into its parts."""
    size = output.pictures_a_part
    return [Part(start // size, tuple(items[start : start + size])) for start in range(0, len(items), size)]


def prepare_sink(output: Output) -> None:
    """Check that the package that writes the results is there, and begin what all parts share.

    Raises:
        InputError: the package is not installed, or the folder cannot be written to.
    """
    if package := {"parquet": "pyarrow", "zarr": "zarr"}.get(output.kind):
        check_installed(package, extra="batch")
    if output.kind == "zarr":
        zarr: Any = optional_import("zarr", extra="batch")
        with Subject(printable(output.path), "a folder that can be written to").attempt("written"):
            zarr.open_group(str(output.path / ZARR), mode="a")
            (output.path / STAGING).mkdir(parents=True, exist_ok=True)


def sweep_sink(parts: Iterable[Part], output: Output, *, is_alone: bool) -> None:
    """Remove what killed processes have left where parts are written.

    Args:
        parts: whose folders are looked at.
        output: the folder.
        is_alone: whether no other process can be writing a group of zarr.
    """
    for folder in {place_of(part, output).parent for part in parts}:
        sweep(folder)
    if is_alone:
        for left in (output.path / STAGING).glob("*"):
            shutil.rmtree(left, ignore_errors=True)


def place_of(part: Part, output: Output) -> Path:
    """Return the file or the group of a part."""
    if output.kind == "zarr":
        return output.path / ZARR / part.items[0].key
    if output.kind in _SUFFIXES:
        return output.path / f"part-{part.number:06d}{_SUFFIXES[output.kind]}"
    return output.path / f"{part.items[0].key}.{output.kind}"


def writing(part: Part, output: Output) -> AbstractContextManager[Write]:
    """Write a part, which takes its place when the `with` block ends well.

    Raises:
        InputError: it cannot be written.
    """
    return _WRITERS[output.kind](place_of(part, output))


@contextmanager
def _npz(place: Path) -> Iterator[Write]:
    def write(key: str, arrays: Arrays) -> None:
        with atomic_write(_in_a_folder(place)) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # whose other arguments are flags

    yield write


@contextmanager
def _safetensors(place: Path) -> Iterator[Write]:
    def write(key: str, arrays: Arrays) -> None:
        write_tensors(_in_a_folder(place), {name: torch.from_numpy(array) for name, array in arrays.items()}, {})

    yield write


@contextmanager
def _zarr(place: Path) -> Iterator[Write]:
    zarr: Any = optional_import("zarr", extra="batch")
    staging = next(folder for folder in place.parents if folder.name == ZARR).parent / STAGING

    def write(key: str, arrays: Arrays) -> None:
        hidden = hidden_path(staging)
        _in_a_folder(place)
        with Subject(printable(place), "a folder that can be written to").attempt("written"):
            zarr.save_group(str(hidden), **arrays)
            replace_folder(hidden, place)

    yield write


@contextmanager
def _parquet(place: Path) -> Iterator[Write]:
    pyarrow: Any = optional_import("pyarrow", extra="batch")
    parquet: Any = optional_import("pyarrow.parquet", extra="batch")
    rows: list[tuple[str, Arrays]] = []
    with atomic_write(_in_a_folder(place)) as file:
        writer: Any = None
        held = 0

        def flush() -> None:
            nonlocal writer, held
            if not rows:
                return
            table = _table(pyarrow, rows)
            if writer is None:
                # statistics and dictionaries are of no use for numbers of a network, and take time
                writer = parquet.ParquetWriter(
                    file, table.schema, compression="zstd", use_dictionary=False, write_statistics=["key"]
                )
            writer.write_table(table, row_group_size=len(rows))
            rows.clear()
            held = 0

        def write(key: str, arrays: Arrays) -> None:
            nonlocal held
            rows.append((key, arrays))
            held += sum(array.nbytes for array in arrays.values())
            if held >= ROW_GROUP:
                flush()

        yield write
        flush()
        if writer is not None:
            writer.close()


def _table(pyarrow: Any, rows: list[tuple[str, Arrays]]) -> Any:
    """Make a table with a column of keys, and for each array its numbers as a list and its shape."""
    columns = {"key": pyarrow.array([key for key, _ in rows], pyarrow.string())}
    for name in rows[0][1]:
        arrays = [each[name] for _, each in rows]
        ends = np.cumsum([0, *(array.size for array in arrays)])
        numbers = pyarrow.array(np.concatenate([array.ravel() for array in arrays]))
        columns[name] = pyarrow.LargeListArray.from_arrays(pyarrow.array(ends, pyarrow.int64()), numbers)
        shapes = [list(array.shape) for array in arrays]
        columns[f"{name}.shape"] = pyarrow.array(shapes, pyarrow.list_(pyarrow.int32()))
    return pyarrow.table(columns)


@contextmanager
def _webdataset(place: Path) -> Iterator[Write]:
    with (
        atomic_write(_in_a_folder(place)) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):

        def write(key: str, arrays: Arrays) -> None:
            folder, slash, name = key.rpartition("/")
            stem = folder + slash + name.replace("%", "%25").replace(".", "%2E")  # readers end it at the first dot
            for suffix, array in arrays.items():
                content = BytesIO()
                np.save(content, array, allow_pickle=False)
                info = tarfile.TarInfo(f"{stem}.{suffix}.npy")  # of nobody, in 1970
                info.size = content.tell()
                content.seek(0)
                tar.addfile(info, content)

        yield write


def _in_a_folder(place: Path) -> Path:
    """Make the folder of a file."""
    with Subject(printable(place), "a folder that can be written to").attempt("written"):
        place.parent.mkdir(parents=True, exist_ok=True)
    return place


_SUFFIXES = {"parquet": ".parquet", "webdataset": ".tar"}

_WRITERS: dict[str, Callable[[Path], AbstractContextManager[Write]]] = {
    "npz": _npz,
    "safetensors": _safetensors,
    "zarr": _zarr,
    "parquet": _parquet,
    "webdataset": _webdataset,
}
