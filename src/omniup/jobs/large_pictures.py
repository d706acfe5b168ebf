"""Upsample a signal of a picture that is larger than memory, block by block.

    omniup.upsample_large("scene.tif", "features.zarr", "features_full.zarr", memory="1GB")

The result is that of `omniup.upsample`, to rounding. A first pass finds what methods take from the whole signal and
from averages of the picture over its cells; then each block is computed with as much around it as its results reach
(`omniup.upsamplers.parts`). A job that was killed goes on with the blocks that are missing (`results.py`).
"""

from __future__ import annotations

import dataclasses
import math
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omniup._version import __version__
from omniup.errors import InputError
from omniup.files import Inputs, check_output, locked
from omniup.files.refusals import Subject, printable
from omniup.files.zarr_folders import is_zarr
from omniup.jobs.blocks import Block, chunk_side, plan_blocks
from omniup.jobs.pictures import ACCEPTED, Cropped, Picture, open_zarr, opened_picture
from omniup.jobs.results import SUFFIXES, Result, raster_dtype, tidy_finished
from omniup.jobs.survey import Survey
from omniup.mixing import pages
from omniup.mixing.interruption import check_interruption
from omniup.upsamplers import DEFAULT_METHOD, Progress, parse_memory, upsampler
from omniup.upsamplers.checks import DEFAULT_MEMORY, Size, as_tensor, check_choice
from omniup.upsamplers.holes import HOLES, cells_without, check_valid, fill_nearest
from omniup.upsamplers.layouts import arrange
from omniup.upsamplers.parts import WholeSignal, check_local
from omniup.upsamplers.signal_files import SignalFile, read_signal_file
from omniup.upsamplers.signal_types import signal_types

#: Copies of the signal that are held while blocks are computed: as it is, and denoised or as roots; and at most before.
HELD_COPIES, COPIES = 2, 6

#: Scratch space of methods: the memory divided by this.
SCRATCH = 4


@dataclasses.dataclass(frozen=True)
class BlockProgress(Progress):
    """Progress of a job: `iteration` blocks of `iterations` are written.

    Attributes:
        megapixels: written so far, by all runs of the job.
        megapixels_per_second: of this run.
    """

    megapixels: float = 0.0
    megapixels_per_second: float = 0.0


@dataclasses.dataclass(frozen=True)
class LargeResult:
    """Record of what a job has written.

    Attributes:
        path: of the result.
        shape: [C, H, W]; with a 1 before it in .npy.
        dtype: of the numbers.
        signal_type: as it was resolved.
        grid: (h, w) of the signal, in cells.
        blocks: of the job.
        computed: blocks that this run has computed; the others were there.
        nodata: the number of pixels without a value; None where all have one.
        seconds: of this run.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: str
    signal_type: str
    grid: Size
    blocks: int
    computed: int
    nodata: float | None
    seconds: float


def upsample_large(
    image: Any,
    signal: Any,
    output: str | Path,
    *,
    method: str = DEFAULT_METHOD,
    signal_type: str = "auto",
    grid: Size | None = None,
    layout: str = "auto",
    region: tuple[int, int, int, int] | None = None,
    valid: Tensor | NDArray[Any] | None = None,
    invalid: Sequence[float] = (),
    are_labels: bool | None = None,
    holes: str = "fill",
    consistency: float | str | None = "auto",
    memory: int | str = DEFAULT_MEMORY,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    progress: Callable[[BlockProgress], None] | None = None,
    **settings: Any,
) -> LargeResult:
    """Upsample a signal of a picture that is larger than memory, block by block, into a file.

    Args:
        image: the picture: a TIFF (GeoTIFF, BigTIFF), .zarr or .npy file, or another picture; an array [H, W],
            [G, H, W] or [H, W, G], which may be mapped or of zarr. Pixels without a value (no-data numbers, alpha, NaN)
            are black to the method, and have none in the result.
        signal: [1, C, h, w] or another shape that `omniup.upsample` takes, of one image: an array, a tensor or an array
            of zarr; or a .zarr file or any file of a signal. It is held in memory.
        output: the result's file, by its suffix: .zarr, .npy, or .tif for a cloud-optimised GeoTIFF.
        method: one whose results are local: pyramid_bilateral, joint_bilateral, guided_filter, or interpolation.
        signal_type: as in `omniup.upsample`.
        grid: likewise.
        layout: likewise.
        region: (top, left, height, width) of the part of the picture that the signal covers, in pixels.
        valid: which cells count, boolean [1, 1, h, w] or [h, w].
        invalid: numbers that stand for cells without a value; that of a GeoTIFF is one anyway.
        are_labels: as in `omniup.upsamplers.signal_files.read_signal_file`.
        holes: as in `omniup.upsample`.
        consistency: likewise.
        memory: bytes that the job may take beyond Python and its libraries, or a text such as `"1GB"`.
        device: where to compute.
        overwrite: replace a result that is there, and begin anew where a job with other settings was begun.
        progress: called after each block; what it raises ends the work, which another call goes on with.
        **settings: of the method.

    Returns:
        What was written.

    Raises:
        InputError: an argument cannot be accepted; it is named.
        MissingPackageError: rasterio or zarr is not installed: `pip install "omniup[geo]"`.
    """
    began, path = time.perf_counter(), Path(output)
    if path.suffix.lower() not in SUFFIXES:
        accepted = "{suffixes}"
        raise InputError(printable(output), "has another suffix", accepted, suffixes=", ".join(SUFFIXES))
    check_choice("holes", holes, HOLES)
    chosen, budget = upsampler(method, **settings), parse_memory(memory)
    check_local(chosen)
    named = [source for source in (image, signal) if isinstance(source, (str, Path))]
    with locked(path), opened_picture(image) as picture:
        tidy_finished(path)
        check_output(path, Inputs(named), overwrite=overwrite)
        if region is not None:
            picture = Cropped(picture, region)
        options = {"grid": grid, "layout": layout, "signal_type": signal_type, "invalid": invalid}
        low = _read_signal(signal, picture.size, valid=valid, are_labels=are_labels, **options)
        dtype, nodata = _numbers_of(low, picture, path, invalid, holes)
        shape = (low.values.shape[1], *picture.size)
        pixel_bytes = shape[0] * dtype.itemsize
        description = {
            "version": __version__,
            "picture": picture.fingerprint,
            "signal": _checksum(low),
            "signal_type": low.signal_type,
            "size": list(picture.size),
            "region": None if region is None else list(region),
            "method": method,
            "settings": settings,
            "holes": holes,
            "consistency": consistency,
            "memory": budget,
            "device": torch.device(device).type,
        }
        side = chunk_side(pixel_bytes, budget)
        result = Result(path, description, shape, dtype, side, overwrite=overwrite)
        try:
            survey = Survey(picture, result.folder, check_interruption)
            low = low.to(device)
            where = _on(device, survey)
            whole = WholeSignal.of(
                chosen, picture.size, low.values, low.signal_type, low.valid, consistency, where, budget // SCRATCH
            )
            per_pixel = _bytes_per_pixel(whole, survey.channels, picture)
            most, need = _most_pixels(whole, per_pixel, budget), partial(_memory_for, whole, per_pixel)
            blocks = plan_blocks(picture.size, whole.grid, whole.reach, side, most, need)
            missing = [number for number in range(len(blocks)) if number not in result.done]
            report = _Reporter(blocks, result.done, progress)
            for number in missing:
                block = blocks[number]
                pages.give_back()
                # Without a name, the block before is not held while the next is computed.
                result.write(
                    number,
                    block.rows,
                    block.columns,
                    _render(whole, survey, block, holes, budget // SCRATCH, nodata, dtype, device),
                )
                report.add(block)
        except BaseException:
            if not result.done:
                result.discard()
            raise
        result.finish(picture.place, nodata, {"signal_type": whole.signal_type, "method": method})
    seconds = time.perf_counter() - began
    return LargeResult(
        path, shape, dtype.name, whole.signal_type, whole.grid, len(blocks), len(missing), nodata, seconds
    )


def _read_signal(
    signal: Any, size: Size, *, valid: Tensor | NDArray[Any] | None, are_labels: bool | None, **options: Any
) -> SignalFile:
    """Read a signal [1, C, h, w] with its type and its holes, which are averaged down where they are most of it."""
    if isinstance(signal, (str, Path)) and not is_zarr(Path(signal)):
        found = read_signal_file(signal, size, are_labels=are_labels, **options)
    elif isinstance(signal, Tensor):
        found = _of_tensor(signal, size, options)
    else:
        array = open_zarr(Path(signal)) if isinstance(signal, (str, Path)) else signal
        subject = Subject(printable(signal) if isinstance(signal, (str, Path)) else "signal", ACCEPTED)
        with subject.attempt("read"):
            numbers = np.asarray(array[...])
        if isinstance(signal, (str, Path)):  # read as the same numbers in another file would be
            held = BytesIO()
            held.name = subject.name
            np.save(held, numbers, allow_pickle=False)
            held.seek(0)
            found = read_signal_file(held, size, are_labels=are_labels, **options)
        else:
            found = _of_tensor(as_tensor(numbers), size, options)
    if len(found.values) != 1:
        raise InputError("signal", "is a batch of {count}", "the signal of one picture", count=len(found.values))
    if valid is not None:
        mask = check_valid(valid, found.values)
        found = dataclasses.replace(found, values=fill_nearest(found.values, mask), valid=mask)
    return found.gathered()


def _of_tensor(signal: Tensor, size: Size, options: dict[str, Any]) -> SignalFile:
    values = arrange(as_tensor(signal), size, grid=options["grid"], layout=options["layout"])
    mask = cells_without(values, options["invalid"])
    values = values if mask is None else fill_nearest(values, mask)
    return SignalFile(values, signal_types(values, options["signal_type"]), mask)


def _numbers_of(
    signal: SignalFile, picture: Picture, path: Path, invalid: Sequence[float], holes: str
) -> tuple[np.dtype[Any], float | None]:
    """Choose the type of the result's numbers, and the number of pixels without a value; None where all have one."""
    values = signal.values
    if values.dtype == torch.bfloat16:
        raise InputError("signal", "is of type {dtype}", "float16, float32 and others of NumPy", dtype="bfloat16")
    if holes == "keep" and not values.is_floating_point():
        raise InputError("holes", "is 'keep', and the signal is of type {dtype}", "fill", dtype=values.dtype)
    dtype = values.new_empty(0).cpu().numpy().dtype
    may_lack = picture.may_lack
    if dtype == np.bool_ and may_lack:
        dtype = np.dtype(np.uint8)
    if path.suffix.lower() in (".tif", ".tiff"):
        kept = raster_dtype(dtype)
        if kept.kind in "iu" and kept != dtype and values.dtype != torch.bool:
            limits, (low, high) = np.iinfo(kept), (int(bound) for bound in values.aminmax())
            if low < limits.min or high > limits.max:
                accepted = "numbers up to {most} in a GeoTIFF"
                raise InputError(
                    "signal", "has values from {low} to {high}", accepted, low=low, high=high, most=limits.max
                )
    if dtype.kind == "f":
        return dtype, math.nan if may_lack or (holes == "keep" and signal.valid is not None) else None
    if not may_lack:
        return dtype, None
    limits = np.iinfo(raster_dtype(dtype))
    given = [value for value in invalid if math.isfinite(value) and value == int(value)]
    taken = set(values.unique().tolist()) if values.numel() < 2**24 else set()
    for value in (*given, limits.max, limits.min):
        if limits.min <= value <= limits.max and value not in taken:
            return dtype, float(value)
    problem = "uses {least} and {most}, and pixels without a value need a number"
    raise InputError("signal", problem, "a signal of a wider type", least=limits.min, most=limits.max)


def _bytes_per_pixel(whole: WholeSignal, guidance_channels: int, picture: Picture) -> int:
    """Return the bytes that a pixel of a part takes."""
    maps = {"features": 1, "probabilities": 4, "measurement": 3, "logits": 5, "directions": 3}  # as large as the result
    count = maps.get(whole.signal_type, 2) + (2 if whole.valid is not None or whole.steps else 0)
    result = 40 if whole.signal_type == "labels" else count * whole.signal.shape[1] * _number_bytes(whole.signal)
    # Guidance, also in the space where colours are compared; variances in float64, before there is a result.
    return 8 * guidance_channels + max(20, result) + picture.channels * picture.dtype.itemsize + 8


def _most_pixels(whole: WholeSignal, per_pixel: int, memory: int) -> int:
    """Return how many pixels of so many bytes a part may have, so that a job takes no more than its memory."""
    cells = _signal_bytes(whole)
    if (need := _with_scratch(COPIES * cells)) > memory:
        raise InputError(
            "memory",
            "is {given} bytes, and the signal with what is computed of it takes {need}",
            "more than that",
            given=memory,
            need=need,
        )
    return (memory - memory // SCRATCH - HELD_COPIES * cells) // per_pixel


def _memory_for(whole: WholeSignal, per_pixel: int, pixels: int) -> int:
    """Return the memory that parts of so many pixels take, in bytes."""
    return _with_scratch(HELD_COPIES * _signal_bytes(whole) + pixels * per_pixel)


def _with_scratch(held: int) -> int:
    """Return the memory that holds so many bytes beside the scratch space."""
    return -(-held * SCRATCH // (SCRATCH - 1)) + SCRATCH


def _signal_bytes(whole: WholeSignal) -> int:
    """Return the bytes of the signal while it is computed with."""
    return whole.signal.numel() * _number_bytes(whole.signal)


def _number_bytes(signal: Tensor) -> int:
    """Return the bytes of each of its numbers."""
    return max(4, signal.element_size()) if signal.is_floating_point() else 4


def _on(device: torch.device | str, survey: Survey) -> Callable[[tuple[Size, ...]], dict[Size, Tensor]]:
    """Return what averages the picture, on a device."""

    def average(grids: tuple[Size, ...]) -> dict[Size, Tensor]:
        return {grid: means.to(device) for grid, means in survey.average(grids).items()}

    return average


def _render(
    whole: WholeSignal,
    survey: Survey,
    block: Block,
    holes: str,
    memory: int,
    nodata: float | None,
    dtype: np.dtype[Any],
    device: torch.device | str,
) -> NDArray[Any]:
    """Compute a block: [C, rows, columns]."""
    guidance, valid = survey.guidance(block.part.rows, block.part.columns)
    rows, columns = block.inside
    known = valid[rows, columns].numpy()
    if not known.any() and nodata is not None:
        return np.full((whole.signal.shape[1], *known.shape), nodata, dtype)
    result = whole.render(guidance.to(device), block.part, block.inside, holes, memory)
    values: NDArray[Any] = result[0].cpu().numpy().astype(dtype, copy=False)
    if nodata is not None and not known.all():
        values = np.where(known, values, np.array(nodata, dtype))
    return values


def _checksum(signal: SignalFile) -> str:
    """Return shape, type and a checksum of a signal and its mask."""
    total = 0
    for each in (signal.values, signal.valid):
        if each is not None:
            total = zlib.crc32(each.contiguous().cpu().numpy().tobytes(), total)
    return f"{list(signal.values.shape)} {signal.values.dtype} {total:08x}"


class _Reporter:
    """Reports blocks as they are written, with the pace of this run."""

    def __init__(self, blocks: list[Block], done: set[int], progress: Callable[[BlockProgress], None] | None) -> None:
        self._progress, self._began = progress, time.perf_counter()
        self._count, self._all = len(done), len(blocks)
        self._before = sum(blocks[number].pixels for number in done)
        self._now, self._whole = 0, sum(block.pixels for block in blocks)
        if done:
            self._report()

    def add(self, block: Block) -> None:
        """Count a block."""
        self._count, self._now = self._count + 1, self._now + block.pixels
        self._report()

    def _report(self) -> None:
        if self._progress is None:
            return
        pace = self._now / max(1e-9, time.perf_counter() - self._began)
        left = (self._whole - self._before - self._now) / pace if pace else math.nan
        done = (self._before + self._now) / 1e6
        self._progress(BlockProgress(self._count, self._all, left, None, done, pace / 1e6))
