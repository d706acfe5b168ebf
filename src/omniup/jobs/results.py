"""Keep the result of a job that goes on after it was killed, and write it as .zarr, .npy or GeoTIFF when it is whole.

Beside the output lies the hidden folder of its job while it runs: the job's description, what a first pass found, the
result's chunks in a zarr array, and a list of blocks. A block is put on the list when all its chunks are there, so
whatever is not listed is computed again. The output gets its name when nothing is missing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omniup.errors import InputError, check_installed
from omniup.files.atomic import atomic_write, finish_removal, hidden_path, remove_folder, replace_folder
from omniup.files.lines import append_line
from omniup.files.refusals import Subject, printable
from omniup.files.zarr_folders import sweep_zarr
from omniup.jobs.pictures import Place, bounded_gdal

#: Suffixes of results.
SUFFIXES = (".zarr", ".npy", ".tif", ".tiff")

#: Sides of the tiles of a GeoTIFF, in pixels.
TILE = 512

_DESCRIPTION, _LIST, _ARRAY = "job.json", "blocks.txt", "result.zarr"

_REPLACES = "replaces"
"""An empty file in the folder of a job whose output was there before."""


class Result:
    """The result of a job, block by block.

    Args:
        path: of the output.
        description: what the job depends on: inputs and settings, as JSON has them.
        shape: [C, H, W].
        dtype: of the numbers.
        chunk: side of the chunks, in pixels.
        overwrite: replace an output that is there, and begin anew where another job was begun.

    Raises:
        InputError: another job was begun for the output, or the folder cannot be written to.
    """

    def __init__(
        self,
        path: Path,
        description: Mapping[str, Any],
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        chunk: int,
        *,
        overwrite: bool,
    ) -> None:
        check_installed("zarr", extra="geo")
        self.path, self.folder = path, job_folder(path)
        self._subject = Subject(printable(path), "a name in a folder that can be written to")
        with self._subject.attempt("written"):
            found = self._description() if (self.folder / _ARRAY).exists() else None
            if found is not None and found != json.loads(json.dumps(description)):
                if not overwrite:
                    raise InputError(
                        printable(path),
                        "was begun with other inputs or settings ({which})",
                        "the same again, or --overwrite to begin anew",
                        which=_difference(found, description),
                    )
                found = None
            if found is None:
                if self.folder.exists():
                    remove_folder(self.folder)
                self.folder.mkdir()
                if path.exists():
                    (self.folder / _REPLACES).touch()
                create_zarr(self.folder / _ARRAY, shape, chunk, dtype)
                with atomic_write(self.folder / _DESCRIPTION) as file:
                    file.write(json.dumps(description, indent=1).encode())
            sweep_zarr(self.folder / _ARRAY)
            import zarr

            self.array: Any = zarr.open_array(str(self.folder / _ARRAY), mode="r+")
            lines = self._list.read_bytes() if self._list.exists() else b""
        self.done = {int(line) for line in lines.split(b"\n")[:-1]}

    @property
    def _list(self) -> Path:
        return self.folder / _LIST

    def _description(self) -> Any:
        """Return the description of a job that was begun; None where there is none."""
        place = self.folder / _DESCRIPTION
        return json.loads(place.read_text("utf-8")) if place.exists() else None

    def write(self, number: int, rows: slice, columns: slice, values: NDArray[Any]) -> None:
        """Write a block [C, rows, columns], and put its number on the list.

        Raises:
            InputError: it cannot be written.
        """
        with self._subject.attempt("written"):
            self.array[:, rows, columns] = values
        append_line(self._list, str(number).encode(), accepted="a folder that can be written to")
        self.done.add(number)

    def discard(self) -> None:
        """Remove the folder of the job, of which nothing is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def finish(self, place: Place | None, nodata: float | None, facts: Mapping[str, Any]) -> None:
        """Give the output its name, with its place on the earth and the number that stands for no value.

        Args:
            place: None where that is unknown.
            nodata: None where all pixels have a value.
            facts: what else is said of it, in zarr's attributes.

        Raises:
            InputError: it cannot be written.
        """
        with self._subject.attempt("written"):
            if self.path.suffix == ".zarr":
                attributes = dict(facts)
                if place is not None:
                    attributes |= {"crs": place.crs, "transform": list(place.transform)}
                if nodata is not None:
                    attributes["nodata"] = "nan" if np.isnan(nodata) else nodata
                self.array.attrs.update(attributes)
                replace_folder(self.folder / _ARRAY, self.path)
            elif self.path.suffix == ".npy":
                self._write_npy()
            else:
                self._write_geotiff(place, nodata, str(facts.get("signal_type")) == "labels")
            remove_folder(self.folder)

    def _bands(self) -> list[slice]:
        """Cut the rows into bands of whole chunks."""
        height, step = self.array.shape[1], self.array.chunks[1]
        return [slice(top, min(top + step, height)) for top in range(0, height, step)]

    def _write_npy(self) -> None:
        with atomic_write(self.path) as file:
            shape = (1, *self.array.shape)
            header = {"descr": np.lib.format.dtype_to_descr(self.array.dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for channel in range(shape[1]):
                for rows in self._bands():
                    file.write(np.ascontiguousarray(self.array[channel, rows]).tobytes())

    def _write_geotiff(self, place: Place | None, nodata: float | None, are_labels: bool) -> None:
        check_installed("rasterio", extra="geo")
        import rasterio
        from rasterio.shutil import copy
        from rasterio.transform import Affine
        from rasterio.windows import Window

        channels, height, width = self.array.shape
        dtype = raster_dtype(self.array.dtype)
        profile: dict[str, Any] = {"driver": "GTiff", "height": height, "width": width, "count": channels}
        profile |= {"dtype": dtype.name, "tiled": True, "blockxsize": TILE, "blockysize": TILE, "interleave": "band"}
        profile |= {"BIGTIFF": "IF_SAFER", "nodata": nodata, "photometric": "minisblack"}
        if place is not None:
            profile |= {"transform": Affine(*place.transform), "crs": place.crs or None}
        plain, whole = self.folder / "plain.tif", hidden_path(self.path.parent)
        with ExitStack() as stack:
            stack.enter_context(bounded_gdal())
            stack.callback(whole.unlink, missing_ok=True)
            with rasterio.open(plain, "w", **profile) as dataset:
                for rows in self._bands():
                    window = Window.from_slices((rows.start, rows.stop), (0, width))
                    for channel in range(channels):
                        dataset.write(self.array[channel, rows].astype(dtype), channel + 1, window=window)
            options = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BIGTIFF": "IF_SAFER", "BLOCKSIZE": str(TILE)}
            options["OVERVIEW_RESAMPLING"] = "MODE" if are_labels else "AVERAGE"
            copy(str(plain), str(whole), driver="COG", **options)
            whole.replace(self.path)


def job_folder(path: Path) -> Path:
    """Return the folder of the job of an output."""
    return path.with_name(f".omniup-{path.name}.job")


def tidy_finished(path: Path) -> None:
    """Remove the folder of a job that was killed when its output had its name already."""
    folder = job_folder(path)
    finish_removal(folder)
    if path.exists() and folder.exists() and not (folder / _REPLACES).exists():
        remove_folder(folder)


def create_zarr(path: Path, shape: tuple[int, int, int], chunk: int, dtype: np.dtype[Any]) -> None:
    """Create an array of zarr's format 2, which all its versions read, with chunks of all channels."""
    import numcodecs
    import zarr

    version: dict[str, Any] = {"zarr_format": 2} if int(zarr.__version__.split(".")[0]) > 2 else {}
    zarr.create(
        shape=shape,
        chunks=(shape[0], min(chunk, shape[1]), min(chunk, shape[2])),
        dtype=dtype,
        compressor=numcodecs.Blosc("lz4", 5, numcodecs.Blosc.SHUFFLE),
        fill_value=0,
        store=str(path),
        overwrite=True,
        **version,
    )


def raster_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that a GeoTIFF has for numbers of a type."""
    others = {"bool": "uint8", "float16": "float32", "int64": "int32", "uint64": "uint32"}
    return np.dtype(others.get(dtype.name, dtype.name))


def _difference(found: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    """Say in which entries two descriptions differ."""
    both = json.loads(json.dumps(description))
    return ", ".join(name for name in both if found.get(name) != both[name]) or "another version"
