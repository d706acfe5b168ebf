"""`POST /api/upsample`: upsample the user's own image and signal, by any method of the library."""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from omniup.errors import InputError
from omniup.files import holds_image, read_image, read_labels, read_nodata, read_palette, read_signal
from omniup.mixing.interruption import interruptible
from omniup.upsamplers import SignalType, Upsampler, methods, signal_types, upsampler
from omniup.upsamplers.checks import check_size
from omniup.upsamplers.holes import cells_without, fill_nearest
from omniup.upsamplers.layouts import arrange, check_declared
from omniup.upsamplers.signal_types import are_probabilities
from omniup.visualize import Panel, class_colours, heat_map, label_picture, pca_rgb, to_picture
from omniup.web.fields import FieldError, field, refused_field
from omniup.web.jobs import Job
from omniup.web.pictures import data_url, enlarged, scale
from omniup.web.runs import Kept, Maker, Runs, picture_maker, tensor_maker
from omniup.web.schemas import MAX_WORK, Scale, UpsampleAnswer, UpsampleConfig
from omniup.web.stages import Stages

Drawing = Literal["labels", "probabilities", "colours", "map", "features"]

LARGEST = 1e30
"""Beyond this float32 has no room for sums of squares, which some methods need."""

MAX_LABEL_PIXELS = 2**30
"""Labels times pixels: the 0/1 map of every label is mixed."""

PICTURED = 512
"""The longest side of the pictures of the answer, in pixels; the files have all of them."""


@dataclass(frozen=True, eq=False)
class Order:
    """A request that has been checked.

    Attributes:
        config: how to do it.
        method: what to do it with.
        guidance: [1, 3, H, W].
        signal: [1, C, h, w]; labels are int64, [1, 1, h, w].
        signal_type: what the signal is, decided.
        valid: boolean [1, 1, h, w], the cells that are no holes; None where all are valid.
        palette: the colours that labels came with, red, green and blue in turn; None if there were none.
    """

    config: UpsampleConfig
    method: Upsampler
    guidance: Tensor
    signal: Tensor
    signal_type: SignalType
    valid: Tensor | None
    palette: list[int] | None

    @property
    def size(self) -> tuple[int, int]:
        """Size (H, W) of the image and of the result, in pixels."""
        return self.guidance.shape[2], self.guidance.shape[3]

    @property
    def grid(self) -> tuple[int, int]:
        """Grid (h, w) of the signal, in cells."""
        return self.signal.shape[2], self.signal.shape[3]

    @functools.cached_property
    def known(self) -> Tensor:
        """Distinct labels, ascending: [K]."""
        return self.signal.unique()

    @functools.cached_property
    def kind(self) -> Drawing:
        """Way in which the signal is drawn."""
        channels = self.signal.shape[1]
        if self.signal_type == "labels":
            return "labels"
        if channels == 1:
            return "map"
        if self.signal_type == "logits" or are_probabilities(self.signal)[0]:
            return "probabilities"
        low, high = (bound.item() for bound in self.signal.aminmax())
        return "colours" if channels == 3 and low >= 0 and high <= 255 else "features"


def order(config: UpsampleConfig, image: bytes, signal: bytes, *, pixels: int, values: int) -> Order:
    """Read and check the request.

    Args:
        config: how to upsample.
        image: the file of the image.
        signal: the file of the signal.
        pixels: the largest image.
        values: the largest result, in numbers.

    Raises:
        FieldError: something cannot be accepted.
    """
    _check_paths(config)
    try:
        method = upsampler(config.method, **config.settings)
    except InputError as error:
        named = f"config.settings.{error.argument}" if error.argument in config.settings else "config"
        raise refused_field(named, error) from error
    with field("image"):
        guidance = read_image(image, max_pixels=pixels)
    with field("signal"):
        height, width = guidance.shape[2:]
        checked = Order(config, method, guidance, *_read_signal(config, signal, (height, width), 8 * values))
        check_size(checked.size, checked.grid)
        _check_work(checked, values)
    return checked


def _check_paths(config: UpsampleConfig) -> None:
    """Refuse settings that name a file: the library would read it."""
    known = methods().get(config.method)
    for name, accepted in known.paths.items() if known else ():
        if name in config.settings and config.settings[name] not in [*accepted]:
            raise FieldError(
                f"config.settings.{name}", name, "is none of what may be read", "{names}", names=", ".join(accepted)
            )


def _read_signal(
    config: UpsampleConfig, file: bytes, size: tuple[int, int], max_bytes: int
) -> tuple[Tensor, SignalType, Tensor | None, list[int] | None]:
    """Read the signal, its type, its holes and the palette of labels, as `Order` has them."""
    layout = "channels_first" if config.layout == "auto" and holds_image(file) else config.layout
    check_shape = functools.partial(check_declared, size=size, grid=config.grid, layout=layout)
    palette, invalid = read_palette(file), list(config.invalid)
    undecided = config.labels is None and config.signal_type == "auto"
    if config.labels or config.signal_type == "labels" or (undecided and palette is not None):
        labels = read_labels(file, name=config.name, max_bytes=max_bytes, check_shape=check_shape).unsqueeze(1)
        valid = cells_without(labels, invalid)
        return labels if valid is None else fill_nearest(labels, valid), "labels", valid, palette
    if (nodata := read_nodata(file)) is not None:
        invalid.append(nodata)
    finite, declared = not any(math.isnan(value) for value in invalid), config.signal_type
    stored = read_signal(
        file,
        name=config.name,
        max_bytes=max_bytes,
        keep_integers=True,
        finite=finite,
        as_stored=True,
        check_shape=check_shape,
    )
    signal = arrange(stored, size, grid=config.grid, layout=layout)
    if (valid := cells_without(signal, invalid)) is not None:
        signal = fill_nearest(signal, valid)
    if undecided and signal.is_floating_point() and holds_image(file):
        declared = "measurement"  # a picture of a quantity, not the vectors of a network
    if config.labels is False and declared == "auto" and not signal.is_floating_point():
        signal, declared = signal.float(), "measurement"
    if len(signal) != 1:
        raise InputError("signal", "is a batch of {count}", "one signal", count=len(signal))
    largest = float(signal.double().abs().max())
    if largest > LARGEST:
        problem, accepted = "has values up to {largest:g}", "values up to {most:g}"
        raise InputError("signal", problem, accepted, largest=largest, most=LARGEST)
    found = signal_types(signal, declared)[0]
    if found == "labels" and signal.shape[1] > 1:
        raise InputError("signal", "has {channels} channels of labels", "one channel", channels=signal.shape[1])
    return signal.long() if found == "labels" else signal, found, valid, None


def _check_work(order: Order, values: int) -> None:
    """Refuse what would take too long, or too much memory."""
    channels, pixels = order.signal.shape[1], order.guidance[0, 0].numel()
    if channels * pixels > values:
        problem, accepted = "has {channels} channels, for each of {pixels} pixels", "up to {most} values in all"
        raise InputError("signal", problem, accepted, channels=channels, pixels=pixels, most=values)
    if order.signal_type == "labels" and len(order.known) * pixels > MAX_LABEL_PIXELS:
        problem, accepted = "has {labels} labels, for each of {pixels} pixels", "up to {most} 0/1 values in all"
        raise InputError("signal", problem, accepted, labels=len(order.known), pixels=pixels, most=MAX_LABEL_PIXELS)
    if (work := order.method.cost(order.size, order.grid)) > MAX_WORK:
        raise FieldError(
            "config", "pixels x window x iterations", "is {work:.1e}", "up to {most:.1e}", work=work, most=MAX_WORK
        )


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
    makers: dict[str, Maker] = {}
    with interruptible(check), stage("prepare"):
        prepared = order.method.prepare(guidance, order.grid, progress=stage.fitting)
    if save := getattr(prepared, "save", None):  # only kernels can be saved
        makers["kernels.safetensors"] = save
    with interruptible(check), stage("render image"):
        result = prepared.render(signal, order.signal_type, valid=order.valid, progress=lambda _: check())
    with stage("draw"):
        low_picture, picture, key = _pictures(order, result)
        makers |= {"result.npy": tensor_maker(lambda: result), "result.png": picture_maker(picture)}
        kept = Kept(job.id, makers, comparison=None, size=0)
        runs.add(kept, *makers)
        shown = _shown_size(order.size)
        answer = UpsampleAnswer(
            run_id=job.id,
            signal_type=order.signal_type,
            kind=order.kind,
            shape=list(result.shape),
            grid=order.grid,
            method=order.config.method,
            device=device,
            images={
                "image": data_url(to_picture(guidance).resize(shown[::-1], Image.Resampling.BOX)),
                "low": data_url(enlarged(low_picture, shown)),
                "result": data_url(picture.resize(shown[::-1], Image.Resampling.BOX)),
            },
            scale=key,
            seconds=dict(stage.seconds),
            files=kept.urls,
        )
    answer.seconds["total"] = time.perf_counter() - began
    return answer.model_dump_json().encode()


def _shown_size(size: tuple[int, int]) -> tuple[int, int]:
    shrink = min(1.0, PICTURED / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _pictures(order: Order, result: Tensor) -> tuple[Image.Image, Image.Image, Scale | None]:
    """Draw the signal and the result [1, C, H, W], each at its own size, with the scale of their colours."""
    low, high = order.signal.cpu(), result.cpu()
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
        return class_colours(order.signal.shape[1])
    if order.palette is None:
        return class_colours(len(order.known))
    table = np.zeros((256, 3), np.uint8)  # a palette may end before the last label
    table[: len(order.palette) // 3] = np.array(order.palette, np.uint8).reshape(-1, 3)
    return table[order.known.numpy()]
