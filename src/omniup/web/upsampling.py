"""`POST /api/upsample`: upsample the user's own image and signal, by any method of the library."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from omniup.errors import InputError
from omniup.mixing.interruption import interruptible
from omniup.upsamplers import SignalType, Upsampler, methods, upsampler
from omniup.upsamplers.checks import Size, as_guidance, check_size
from omniup.upsamplers.guidance_files import GuidanceFile, read_guidance_file
from omniup.upsamplers.regions import Region, check_region, cut, inside
from omniup.upsamplers.signal_files import SignalFile, read_signal_file
from omniup.upsamplers.signal_types import are_probabilities
from omniup.visualize import Panel, class_colours, heat_map, label_picture, pca_rgb, to_picture
from omniup.web.fields import FieldError, field, refused_field
from omniup.web.jobs import Job
from omniup.web.pictures import data_url, scale
from omniup.web.runs import Kept, Maker, Runs, picture_maker, tensor_maker
from omniup.web.schemas import MAX_WORK, Scale, UpsampleAnswer, UpsampleConfig
from omniup.web.stages import Stages

Drawing = Literal["labels", "probabilities", "colours", "map", "features"]

LARGEST = 1e30
"""Beyond this float32 has no room for sums of squares, which some methods need."""

MAX_LABEL_PIXELS = 2**30
"""Labels times pixels: the 0/1 map of every label is mixed."""

TRUST = "viridis"
"""The colour map of a confidence."""

_BOX = Image.Resampling.BOX

PICTURED = 512
"""The longest side of the pictures of the answer, in pixels; the files have all of them."""


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
    """

    config: UpsampleConfig
    method: Upsampler
    photo: GuidanceFile
    guidance: Tensor
    part: tuple[slice, slice]
    is_stored: bool
    signal: SignalFile
    gathered: Size | None

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
    with field("image"):
        photo = read_guidance_file(image, name=config.image_name, max_pixels=pixels, max_values=4 * pixels)
    orientation = "upright" if config.orientation == "auto" and config.region else config.orientation
    region = None if config.region is None else config.region.as_tuple
    with field("config.region"):
        _check_pixels(check_region(region, photo.size(orientation)), photo.size(orientation), pixels)
    with field("signal"):
        stored = _read_signal(config, signal, photo.size(orientation), region, 8 * values)
        guidance, is_stored = photo.lying_like(stored.grid, orientation)
        whole = guidance.shape[2], guidance.shape[3]
        place = check_region(region, whole)
        guidance, part = cut(guidance, place), inside(place, whole)
        read = stored.gathered()
        gathered = None if read.grid == stored.grid else stored.grid
        checked = Order(config, method, photo, guidance, part, is_stored, read, gathered)
        check_size(checked.size, read.grid)
        _check_work(checked, values, pairs)
    return checked


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
    result, confidence = (maps[:, :, rows, columns] for maps in (result, confidence))
    with stage("draw"):
        low_picture, picture, key = _pictures(order, result)
        trust = heat_map(confidence, (0, 1), TRUST)
        makers |= {"result.npy": tensor_maker(lambda: result), "result.png": picture_maker(picture)}
        makers |= {"confidence.npy": tensor_maker(lambda: confidence)}
        makers |= {"confidence.png": picture_maker(_grey(confidence))}
        kept = Kept(job.id, makers, comparison=None, size=0)
        runs.add(kept, *makers)
        shown = _shown_size((result.shape[2], result.shape[3]))
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
            method=order.config.method,
            device=device,
            images={
                "image": data_url(_guidance_picture(guidance[:, :, rows, columns]).resize(shown[::-1], _BOX)),
                "low": data_url(low_picture.resize(shown[::-1], Image.Resampling.NEAREST, _cells(order))),
                "result": data_url(picture.resize(shown[::-1], _BOX)),
                "confidence": data_url(trust.resize(shown[::-1], _BOX)),
            },
            scale=key,
            confidence=scale(Panel("", confidence, limits=(0, 1), colours=TRUST)),
            seconds=dict(stage.seconds),
            files=kept.urls,
        )
    answer.seconds["total"] = time.perf_counter() - began
    return answer.model_dump_json().encode()


def _shown_size(size: tuple[int, int]) -> tuple[int, int]:
    shrink = min(1.0, PICTURED / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _cells(order: Order) -> tuple[float, float, float, float]:
    """Return the part of the grid that lies in the image: left, top, right and bottom, in cells."""
    (rows, columns), (height, width), (h, w) = order.part, order.size, order.signal.grid
    return (
        columns.start * w / width,
        rows.start * h / height,
        columns.stop * w / width,
        rows.stop * h / height,
    )


def _guidance_picture(guidance: Tensor) -> Image.Image:
    """Draw guidance of any number of channels: its first three bands, or the first."""
    return to_picture(as_guidance(guidance[:, :3] if guidance.shape[1] >= 3 else guidance[:, :1]))


def _grey(confidence: Tensor) -> Image.Image:
    """Draw a confidence [1, 1, H, W] from black to white."""
    return Image.fromarray((255 * confidence[0, 0]).round().byte().cpu().numpy())


def _pictures(order: Order, result: Tensor) -> tuple[Image.Image, Image.Image, Scale | None]:
    """Draw the signal and the result [1, C, H, W], each at its own size, with the scale of their colours."""
    low, high = order.signal.values, result.cpu()
    if order.kind == "map":
        key = scale(Panel("", low))  # both on one scale, the signal's
        pair = [heat_map(each, (key.low, key.high)) for each in (low, high)]
        return pair[0], pair[1], key
    if order.kind == "colours":
        brightest = 255 if float(low.max()) > 1 else 1
        return to_picture(low / brightest), to_picture(high / brightest), None
    if order.kind == "features":
        low, high = pca_rgb(low, high)
        return to_picture(low), to_picture(high), None
    if order.kind == "labels":
        low, high = (torch.searchsorted(order.known, labels) for labels in (low, high))  # as places in `known`
    else:
        low, high = low.argmax(1, keepdim=True), high.argmax(1, keepdim=True)
    colours = _class_colours(order)
    return label_picture(low, colours), label_picture(high, colours), None


def _class_colours(order: Order) -> NDArray[np.uint8]:
    """Return the colours that the labels came with, or else our own."""
    if order.kind == "probabilities":
        return class_colours(order.signal.values.shape[1])
    palette = order.signal.palette
    if palette is None:
        return class_colours(len(order.known))
    table = np.zeros((256, 3), np.uint8)  # a palette may end before the last label
    table[: len(palette) // 3] = np.array(palette, np.uint8).reshape(-1, 3)
    return table[order.known.numpy()]
