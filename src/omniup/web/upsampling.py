"""`POST /api/upsample`: upsample the user's own image and signal, by any method of the library."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

from torch import Tensor

from omniup.errors import InputError
from omniup.files.georeference import Georeference, read_georeference
from omniup.mixing.interruption import interruptible
from omniup.upsamplers import Bilinear, SignalType, Upsampler, methods, upsampler
from omniup.upsamplers.checks import Size, check_size
from omniup.upsamplers.guidance_files import GuidanceFile, read_guidance_file
from omniup.upsamplers.recognition import recognise
from omniup.upsamplers.regions import Region, check_region, cut, inside
from omniup.upsamplers.signal_files import SignalFile, read_signal_file
from omniup.upsamplers.signal_types import are_probabilities
from omniup.web.fields import FieldError, field, refused_field
from omniup.web.jobs import Job
from omniup.web.runs import Kept, Maker, Runs
from omniup.web.schemas import MAX_WORK, Recognition, UpsampleAnswer, UpsampleConfig
from omniup.web.signal_pictures import draw
from omniup.web.stages import Stages

Drawing = Literal["labels", "probabilities", "colours", "map", "features"]

LARGEST = 1e30
"""Beyond this float32 has no room for sums of squares, which some methods need."""

MAX_LABEL_PIXELS = 2**30
"""Labels times pixels: the 0/1 map of every label is mixed."""


@dataclass(frozen=True, eq=False)
class Order:
    """A request that has been checked.

    Attributes:
        config: how to do it.
        method: what to do it with.
        photo: the guidance as it was read.
        guidance: [1, G, H, W], what the signal covers of it.
        part: the rows and columns of the guidance that lie in the image, for all others are invented.
        is_stored: True where the guidance lies as the picture is stored, since the signal does.
        signal: what to upsample; labels are int64, [1, 1, h, w].
        gathered: the grid of scattered measurements before they were averaged; None for others.
        place: where the result lies on the earth, as the image or else the signal says; None for most.
    """

    config: UpsampleConfig
    method: Upsampler
    photo: GuidanceFile
    guidance: Tensor
    part: tuple[slice, slice]
    is_stored: bool
    signal: SignalFile
    gathered: Size | None
    place: Georeference | None = None

    @property
    def signal_type(self) -> SignalType:
        """Type of the signal, resolved."""
        return self.signal.types[0]

    @property
    def size(self) -> Size:
        """Size (H, W) of the guidance, in pixels."""
        return self.guidance.shape[2], self.guidance.shape[3]

    @functools.cached_property
    def known(self) -> Tensor:
        """Distinct labels, ascending: [K]."""
        return self.signal.values.unique()

    @functools.cached_property
    def kind(self) -> Drawing:
        """Way in which the signal is drawn."""
        values = self.signal.values
        if self.signal_type == "labels":
            return "labels"
        if values.shape[1] == 1:
            return "map"
        if self.signal_type == "logits" or are_probabilities(values)[0]:
            return "probabilities"
        low, high = (bound.item() for bound in values.aminmax())
        return "colours" if values.shape[1] == 3 and low >= 0 and high <= 255 else "features"


def order(
    config: UpsampleConfig, image: bytes, signal: bytes, *, pixels: int, values: int, pairs: float = math.inf
) -> Order:
    """Read and check the request.

    Args:
        config: how to upsample.
        image: the file of the image.
        signal: the file of the signal.
        pixels: the largest image.
        values: the largest result, in numbers.
        pairs: of pixel and cell, that may be visited.

    Raises:
        FieldError: something cannot be accepted.
    """
    method = requested_method(config.method, config.settings)
    photo = _read_guidance(config, image, pixels)
    with field("signal"):
        region = None if config.region is None else config.region.as_tuple
        stored = _read_signal(config, signal, photo.size(_orientation(config)), region, 8 * values)
        guidance, is_stored = photo.lying_like(stored.grid, _orientation(config))
        whole = guidance.shape[2], guidance.shape[3]
        place = check_region(region, whole)
        guidance, part = cut(guidance, place), inside(place, whole)
        read = stored.gathered()
        gathered = None if read.grid == stored.grid else stored.grid
        lies = _georeference(image, signal, stored.grid, place, part)
        checked = Order(config, method, photo, guidance, part, is_stored, read, gathered, lies)
        check_size(checked.size, read.grid)
        _check_work(checked, values, pairs)
    return checked


def recognition(config: UpsampleConfig, image: bytes, signal: bytes, *, pixels: int, values: int) -> Recognition:
    """Recognise what the signal is, for the user to confirm; arguments and refusals as of `order`."""
    photo = _read_guidance(config, image, pixels)
    size = photo.size(_orientation(config))
    region = None if config.region is None else config.region.as_tuple

    def read(signal_type: str, invalid: Sequence[float]) -> SignalFile:
        declared = config.model_copy(update={"signal_type": signal_type, "invalid": invalid})
        return _read_signal(declared, signal, size, region, 8 * values)

    with field("signal"):
        file, signal_type, invalid = recognise(read, config.signal_type, config.invalid)
    known = file.values if file.valid is None else file.values[file.valid.expand_as(file.values)]
    low, high = (bound.item() for bound in known.double().aminmax())
    reading = file.reading
    return Recognition(
        signal_type=signal_type,
        layout=reading.name if reading else "map",
        extra_tokens=reading.extra if reading else 0,
        channels=file.values.shape[1],
        grid=list(file.grid),
        size=list(size),
        low=low,
        high=high,
        labels=len(file.values.double().unique()) if signal_type == "labels" else None,
        holes=file.holes,
        invalid=["nan" if math.isnan(value) else value for value in invalid],
    )


def _orientation(config: UpsampleConfig) -> str:
    return "upright" if config.orientation == "auto" and config.region else config.orientation


def _read_guidance(config: UpsampleConfig, image: bytes, pixels: int) -> GuidanceFile:
    """Read the guidance, and check the region of it that the signal covers."""
    with field("image"):
        photo = read_guidance_file(image, name=config.image_name, max_pixels=pixels, max_values=4 * pixels)
    size = photo.size(_orientation(config))
    region = None if config.region is None else config.region.as_tuple
    with field("config.region"):
        _check_pixels(check_region(region, size), size, pixels)
    return photo


def _georeference(
    image: bytes, signal: bytes, grid: Size, place: Region, part: tuple[slice, slice]
) -> Georeference | None:
    """Return where the result lies on the earth: as the image says, or else the signal, whose cells are larger."""
    rows, columns = part
    top, left, height, width = place
    if found := read_georeference(BytesIO(image)):
        return found.moved(left + columns.start, top + rows.start)
    if found := read_georeference(BytesIO(signal)):
        return found.scaled(width / grid[1], height / grid[0]).moved(columns.start, rows.start)
    return None


def _check_pixels(region: Region, whole: Size, most: int) -> None:
    """Refuse a region that is larger than images may be."""
    height, width = region[2:]
    if height * width > max(most, whole[0] * whole[1]):
        raise InputError(
            "region", "has {width} × {height} pixels", "up to {most}", width=width, height=height, most=most
        )


def requested_method(name: str, settings: Mapping[str, Any], place: str = "config") -> Upsampler:
    """Build a method that a request names.

    Args:
        name: of the method.
        settings: its settings; one that names a file is refused, since the library would read it.
        place: of name and settings in the request, for refusals.

    Raises:
        FieldError: no such method or setting, or a value out of range.
    """
    known = methods().get(name)
    for setting, accepted in known.paths.items() if known else ():
        if setting in settings and settings[setting] not in [*accepted]:
            where = f"{place}.settings.{setting}"
            raise FieldError(where, setting, "is none of what may be read", "{names}", names=", ".join(accepted))
    try:
        return upsampler(name, **settings)
    except InputError as error:
        where = f"{place}.settings.{error.argument}" if error.argument in settings else place
        raise refused_field(where, error) from error


def check_cost(method: Upsampler, size: Size, grid: Size) -> None:
    """Refuse a fit that would take too long.

    Raises:
        FieldError: it would.
    """
    if (work := method.cost(size, grid)) > MAX_WORK:
        raise FieldError(
            "config", "pixels x window x iterations", "is {work:.1e}", "up to {most:.1e}", work=work, most=MAX_WORK
        )


def _read_signal(config: UpsampleConfig, file: bytes, size: Size, region: Region | None, max_bytes: int) -> SignalFile:
    """Read the signal, one image's, and refuse values and channels that cannot be upsampled here."""
    read = read_signal_file(
        file,
        size,
        grid=config.grid,
        layout=config.layout,
        region=region,
        name=config.name,
        signal_type=config.signal_type,
        are_labels=config.labels,
        invalid=config.invalid,
        max_bytes=max_bytes,
    )
    values = read.values
    if len(values) != 1:
        raise InputError("signal", "is a batch of {count}", "one signal", count=len(values))
    largest = float(values.double().abs().max())
    if largest > LARGEST:
        problem, accepted = "has values up to {largest:g}", "values up to {most:g}"
        raise InputError("signal", problem, accepted, largest=largest, most=LARGEST)
    if read.types[0] != "labels":
        return read
    if values.shape[1] > 1:
        raise InputError("signal", "has {channels} channels of labels", "one channel", channels=values.shape[1])
    return dataclasses.replace(read, values=values.long())


def _check_work(order: Order, values: int, pairs: float) -> None:
    """Refuse what would take too long, or too much memory."""
    channels, pixels = order.signal.values.shape[1], order.guidance[0, 0].numel()
    if channels * pixels > values:
        problem, accepted = "has {channels} channels, for each of {pixels} pixels", "up to {most} values in all"
        raise InputError("signal", problem, accepted, channels=channels, pixels=pixels, most=values)
    if order.signal_type == "labels" and len(order.known) * pixels > MAX_LABEL_PIXELS:
        problem, accepted = "has {labels} labels, for each of {pixels} pixels", "up to {most} 0/1 values in all"
        raise InputError("signal", problem, accepted, labels=len(order.known), pixels=pixels, most=MAX_LABEL_PIXELS)
    check_cost(order.method, order.size, order.signal.grid)
    work = order.method.cost(order.size, order.signal.grid)
    work += order.method.render_cost(order.size, order.signal.grid, order.signal_type)
    if work > pairs:
        problem = "visits {work:.1e} pairs of pixel and cell, which takes too long here"
        raise FieldError("config", "the upsampling", problem, "up to {most:.1e}", work=work, most=pairs)


def upsample(job: Job, order: Order, *, device: str, runs: Runs, seconds: float) -> bytes:
    """Upsample, and keep the result as files.

    The job is checked between tiles, so that it ends soon where it is cancelled, and where it takes too long.

    Args:
        job: whose work this is.
        order: what to do.
        device: where.
        runs: keeps the files.
        seconds: that preparing and rendering may take.

    Returns:
        An `UpsampleAnswer` as JSON.

    Raises:
        CancelledError: the job was cancelled.
        FieldError: it took too long.
    """
    stage, began = Stages(job), time.perf_counter()

    def check() -> None:
        job.check()
        if time.perf_counter() - began > seconds:
            problem, accepted = "takes longer than {seconds:g} s", "a smaller size and fewer channels"
            raise FieldError("config", "the upsampling", problem, accepted, seconds=seconds)
        stage.tick(time.perf_counter() - began)

    guidance, signal = order.guidance.to(device), order.signal.to(device)
    rows, columns = order.part
    makers: dict[str, Maker] = {}
    with interruptible(check), stage("prepare"):
        prepared = order.method.prepare(guidance, signal.grid, progress=stage.fitting)
    if save := getattr(prepared, "save", None):  # only kernels can be saved
        makers["kernels.safetensors"] = save
    with interruptible(check), stage("render image"):
        result = prepared.render(
            signal.values,
            order.signal_type,
            valid=signal.valid,
            consistency=None if order.config.consistency == "none" else order.config.consistency,
            progress=lambda _: check(),
        )
    with interruptible(check), stage("confidence"):
        confidence = prepared.confidence(signal.values, order.signal_type, valid=signal.valid, result=result)
    with interruptible(check), stage("bilinear"):
        plain = Bilinear().prepare(guidance, signal.grid).render(signal.values, order.signal_type, valid=signal.valid)
    result, plain, confidence = (maps[:, :, rows, columns].cpu() for maps in (result, plain, confidence))
    with stage("draw"):
        drawn = draw(order, guidance[:, :, rows, columns], result, plain, confidence)
        kept = Kept(job.id, {**makers, **drawn.makers}, comparison=None, size=0)
        runs.add(kept, *makers, *drawn.now)
        answer = UpsampleAnswer(
            run_id=job.id,
            signal_type=order.signal_type,
            kind=order.kind,
            shape=list(result.shape),
            grid=signal.grid,
            holes=signal.holes,
            gathered=order.gathered,
            bands=order.photo.scaled_from,
            stored=order.is_stored,
            georeferenced=order.place is not None,
            method=order.config.method,
            device=device,
            images=drawn.images,
            scale=drawn.scale,
            difference=drawn.difference,
            sixteen_bits=drawn.sixteen_bits,
            confidence=drawn.confidence,
            seconds=dict(stage.seconds),
            files=kept.urls,
        )
    answer.seconds["total"] = time.perf_counter() - began
    return answer.model_dump_json().encode()
