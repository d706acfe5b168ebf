"""Read pictures window by window: GeoTIFF and BigTIFF through rasterio, zarr, mapped .npy, and arrays in memory."""

from __future__ import annotations

import abc
import dataclasses
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omniup.errors import InputError, check_installed
from omniup.files.deep import TIFF
from omniup.files.refusals import Subject, printable
from omniup.files.zarr_folders import is_zarr
from omniup.upsamplers.checks import Size, as_tensor
from omniup.upsamplers.guidance_files import read_guidance_file

Array: TypeAlias = "NDArray[Any] | Tensor"

ACCEPTED = "a TIFF, a .zarr array or .npy file [H, W], [G, H, W] or [H, W, G], or another picture"

#: Pixels of a window, about, while the whole picture is read once.
WINDOW = 2**22


@dataclasses.dataclass(frozen=True)
class Place:
    """Place of a raster on the earth.

    Attributes:
        crs: the coordinate system, as WKT; empty where only the transform is known.
        transform: six numbers (a, b, c, d, e, f): x = a column + b row + c, y = d column + e row + f.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]

    def moved(self, left: int, top: int) -> Place:
        """Return that of a raster which begins so many pixels further in."""
        a, b, c, d, e, f = self.transform
        return Place(self.crs, (a, b, a * left + b * top + c, d, e, d * left + e * top + f))


class Picture(abc.ABC):
    """A picture that is read window by window.

    Attributes:
        name: for refusals.
        size: (H, W).
        channels: of guidance, without alpha.
        dtype: of the numbers.
        is_colour: whether integers of 16 bits are colours, of which the largest number is white.
        place: on the earth; None where that is unknown.
        nodata: the number of pixels without a value; None for none.
        fingerprint: changes when the picture does.
    """

    name: str
    size: Size
    channels: int
    dtype: np.dtype[Any]
    is_colour: bool = False
    place: Place | None = None
    nodata: float | None = None
    fingerprint: str
    _has_mask: bool = False

    @property
    def may_lack(self) -> bool:
        """True where pixels may have no value."""
        return self.nodata is not None or self._has_mask or self.dtype.kind == "f"

    @abc.abstractmethod
    def _read(self, rows: slice, columns: slice) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Read numbers [G, rows, columns] and a mask [rows, columns] of pixels with a value, if the file has one."""

    def read(self, rows: slice, columns: slice) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window: numbers [G, rows, columns], and which pixels have a value, [rows, columns].

        Raises:
            InputError: it cannot be read.
        """
        with Subject(self.name, ACCEPTED).attempt("read"):
            numbers, mask = self._read(rows, columns)
        valid = np.ones(numbers.shape[1:], bool) if mask is None else mask
        if numbers.dtype.kind == "f":
            valid &= np.isfinite(numbers).all(0)
        if self.nodata is not None:
            valid &= (numbers != self.nodata).any(0)
        return numbers, valid

    def windows(self) -> Iterator[tuple[slice, slice]]:
        """Cut the picture into windows: whole rows where they fit."""
        height, width = self.size
        across = min(width, 2**13)
        down = max(1, WINDOW // across)
        for top in range(0, height, down):
            for left in range(0, width, across):
                yield slice(top, min(top + down, height)), slice(left, min(left + across, width))


class ArrayPicture(Picture):
    """A picture in an array: in memory, mapped, or of zarr.

    Args:
        name: for refusals.
        array: [H, W], [G, H, W] or [H, W, G], or one of these after a 1.
        fingerprint: changes when the picture does.

    Raises:
        InputError: another shape or type.
    """

    def __init__(self, name: str, array: Any, fingerprint: str) -> None:
        shape = tuple(array.shape)
        self._leading = len(shape) == 4 and shape[0] == 1
        shape = shape[1:] if self._leading else shape
        if len(shape) not in (2, 3) or 0 in shape:
            raise InputError(name, "has the shape {shape}", ACCEPTED, shape=list(array.shape))
        self.dtype = np.dtype(array.dtype)
        if self.dtype.kind not in "biuf" or self.dtype.itemsize > 8:
            raise InputError(name, "holds numbers of type {dtype}", ACCEPTED, dtype=self.dtype)
        self.name, self._array, self.fingerprint = name, array, fingerprint
        self._last = False
        if len(shape) == 2:
            self.channels, self.size = 1, (shape[0], shape[1])
            self._is_flat = True
            return
        self._is_flat, (first, middle, last) = False, shape
        if first == 1 or first < min(middle, last):
            self.channels, self.size = first, (middle, last)
        elif last < min(first, middle):
            self.channels, self.size, self._last = last, (first, middle), True
        else:
            problem = "has the shape {shape}, in which two axes may be that of the channels"
            raise InputError(name, problem, ACCEPTED, shape=list(array.shape))

    def _read(self, rows: slice, columns: slice) -> tuple[NDArray[Any], None]:
        place: tuple[Any, ...] = (rows, columns)
        if not self._is_flat:
            place = (rows, columns, slice(None)) if self._last else (slice(None), rows, columns)
        numbers = np.asarray(self._array[(0, *place) if self._leading else place])
        if self._is_flat:
            return numbers[None], None
        return (numbers.transpose(2, 0, 1) if self._last else numbers), None


class RasterPicture(Picture):
    """A TIFF, read through rasterio.

    Args:
        name: for refusals.
        dataset: of rasterio, open.
        fingerprint: changes when the picture does.

    Raises:
        InputError: it has colours by a palette.
    """

    def __init__(self, name: str, dataset: Any, fingerprint: str) -> None:
        from rasterio.enums import ColorInterp, MaskFlags

        self.name, self._dataset, self.fingerprint = name, dataset, fingerprint
        self.size, self.nodata = (dataset.height, dataset.width), dataset.nodata
        bands = zip(dataset.indexes, dataset.colorinterp, strict=True)
        self._bands = [index for index, meaning in bands if meaning != ColorInterp.alpha]
        if ColorInterp.palette in dataset.colorinterp:
            raise InputError(name, "has the colours of a palette", "TIFF with grey, RGB or other bands")
        self.dtype, self.channels = np.dtype(dataset.dtypes[0]), len(self._bands)
        if self.dtype.kind not in "biuf":
            raise InputError(name, "holds numbers of type {dtype}", ACCEPTED, dtype=self.dtype)
        grey_or_rgb = self.channels == 1 or (ColorInterp.red in dataset.colorinterp and self.channels == 3)
        self.is_colour = self.dtype.kind == "u" and grey_or_rgb
        own = {flag for flags in dataset.mask_flag_enums for flag in flags}
        self._has_mask = bool(own & {MaskFlags.per_dataset, MaskFlags.alpha})
        if not dataset.transform.is_identity:
            t = dataset.transform
            self.place = Place(dataset.crs.to_wkt() if dataset.crs else "", (t.a, t.b, t.c, t.d, t.e, t.f))

    def _read(self, rows: slice, columns: slice) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        from rasterio.windows import Window

        window = Window.from_slices((rows.start, rows.stop), (columns.start, columns.stop))
        numbers = self._dataset.read(self._bands, window=window)
        return numbers, (self._dataset.dataset_mask(window=window) > 0 if self._has_mask else None)


class Cropped(Picture):
    """A region of a picture.

    Args:
        picture: the whole.
        region: (top, left, height, width), in pixels.

    Raises:
        InputError: it reaches beyond the picture.
    """

    def __init__(self, picture: Picture, region: tuple[int, int, int, int]) -> None:
        top, left, height, width = region
        if min(top, left) < 0 or top + height > picture.size[0] or left + width > picture.size[1]:
            raise InputError(
                "region",
                "reaches beyond the picture",
                "regions within {H} × {W}, where a picture is upsampled block by block",
                H=picture.size[0],
                W=picture.size[1],
            )
        self._picture, self._top, self._left = picture, top, left
        self.name, self.size, self.channels, self.dtype = picture.name, (height, width), picture.channels, picture.dtype
        self.is_colour, self.nodata, self.fingerprint = picture.is_colour, picture.nodata, picture.fingerprint
        self.place = None if picture.place is None else picture.place.moved(left, top)
        self._has_mask = picture._has_mask

    def _read(self, rows: slice, columns: slice) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        return self._picture._read(
            slice(rows.start + self._top, rows.stop + self._top),
            slice(columns.start + self._left, columns.stop + self._left),
        )


@contextmanager
def opened_picture(source: str | Path | Array | Any) -> Iterator[Picture]:
    """Open a picture for the length of a `with` block.

    Args:
        source: a path; an array, a tensor, or an array of zarr.

    Raises:
        InputError: it cannot be read, or a package for it is not installed.
    """
    if isinstance(source, (np.ndarray, Tensor)):
        array = as_tensor(source, "image").detach().cpu().numpy() if isinstance(source, Tensor) else source
        yield ArrayPicture("image", array, _checksum(array))
        return
    if not isinstance(source, (str, Path)):  # of zarr
        yield ArrayPicture("image", source, f"{source.shape} {source.dtype}")
        return
    path, subject = Path(source), Subject(printable(source), ACCEPTED)
    with ExitStack() as stack:
        if is_zarr(path):
            array = open_zarr(path)
            place, nodata = array.attrs.get("transform"), array.attrs.get("nodata")
            picture: Picture = ArrayPicture(subject.name, array, stamp_of(path))
            if place is not None and len(place) == 6:
                a, b, c, d, e, f = map(float, place)
                picture.place = Place(str(array.attrs.get("crs", "")), (a, b, c, d, e, f))
            picture.nodata = None if nodata is None else float(nodata)
        else:
            with subject.attempt("read"), path.open("rb") as stream:
                start = stream.read(8)
            if start[:4] in TIFF:
                check_installed("rasterio", extra="geo")
                import rasterio

                with subject.attempt("read"):
                    stack.enter_context(bounded_gdal())
                    dataset = stack.enter_context(rasterio.open(path))
                picture = RasterPicture(subject.name, dataset, stamp_of(path))
            elif start.startswith(np.lib.format.MAGIC_PREFIX):
                with subject.attempt("read"):
                    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
                picture = ArrayPicture(subject.name, mapped, stamp_of(path))
            else:
                guidance = read_guidance_file(path).values  # [1, G, H, W]
                picture = ArrayPicture(subject.name, guidance[0].numpy(), stamp_of(path))
        yield picture


@contextmanager
def bounded_gdal() -> Iterator[None]:
    """Bound the memory in which GDAL keeps what it has read, which is a part of the machine's otherwise.

    Rasters without a place are as good as others here, so rasterio need not warn of them.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with rasterio.Env(GDAL_CACHEMAX=64, GDAL_NUM_THREADS="1"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def open_zarr(path: Path) -> Any:
    """Open an array of zarr.

    Raises:
        InputError: there is none, or zarr is not installed.
    """
    check_installed("zarr", extra="geo")
    import zarr

    subject = Subject(printable(path), "a .zarr folder that is one array")
    if not path.exists():
        raise subject.refusal("does not exist")
    with subject.attempt("read"):
        return zarr.open_array(str(path), mode="r")


def stamp_of(path: Path) -> str:
    """Return sizes and times of a file, or of all files of a folder, as a checksum."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    total = 0
    for each in files:
        found = each.stat()
        name = each.relative_to(path).as_posix() if each != path else ""
        total = zlib.crc32(f"{name} {found.st_size} {found.st_mtime_ns}".encode(), total)
    return f"{len(files)} files {total:08x}"


def _checksum(array: NDArray[Any]) -> str:
    """Return shape, type and a checksum of an array's numbers, some rows at a time."""
    total = 0
    flat = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array
    rows = max(1, WINDOW // max(1, flat[0].nbytes if flat.ndim > 1 else 1))
    for start in range(0, len(flat), rows):
        total = zlib.crc32(np.ascontiguousarray(flat[start : start + rows]).tobytes(), total)
    return f"{list(array.shape)} {array.dtype} {total:08x}"
