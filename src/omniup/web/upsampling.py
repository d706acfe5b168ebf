"""`POST /api/upsample`: the user's own image and signal, by any method of the library."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from omniup.errors import InputError
from omniup.files import read_image, read_labels, read_palette, read_signal
from omniup.mixing import DEFAULT_MEMORY
from omniup.upsamplers import UpsampleAnything, Upsampler, methods, upsampler
from omniup.upsamplers.base import check_inputs
from omniup.upsamplers.voting import for_labels, likeliest, votes
from omniup.visualize import Panel, class_colours, heat_map, label_picture, pca_rgb, to_picture
from omniup.web.fields import FieldError, field, refused_field
from omniup.web.jobs import Job
from omniup.web.pictures import data_url, enlarged, scale
from omniup.web.runs import Kept, Maker, Runs, picture_maker, tensor_maker
from omniup.web.schemas import MAX_WORK, Scale, UpsampleAnswer, UpsampleConfig
from omniup.web.stages import Stages

Kind = Literal["labels", "probabilities", "colours", "map", "features"]

LARGEST = 1e30
"""Beyond this float32 has no room to mix in."""

MAX_VOTES = 2**30
"""Labels times pixels: every label is mixed by itself."""

PICTURED = 512
"""The longest side of the pictures of the answer, in pixels; the files have all of them."""


@dataclass(frozen=True, eq=False)
class Order:
    """A request that has been checked.

    Attributes:
        config: how to do it.
        method: what to do it with.
        guidance: [1, 3, H, W].
        signal: [1, C, h, w]; of labels, [1, 1, h, w], their places in `known`.
        known: [K], the labels that there are; None if the signal is not labels.
        palette: their colours, red, green and blue in turn, where they came with some.
    """

    config: UpsampleConfig
    method: Upsampler
    guidance: Tensor
    signal: Tensor
    known: Tensor | None
    palette: list[int] | None

    @functools.cached_property
    def kind(self) -> Kind:
        """What the signal is taken for."""
        channels = self.signal.shape[1]
        if self.known is not None:
            return "labels"
        if channels == 1:
            return "map"
        low, high = (bound.item() for bound in self.signal.aminmax())
        sums = self.signal.float().sum(1)
        if low >= 0 and high <= 1 and bool((sums - 1).abs().max() < 1e-2):
            return "probabilities"
        return "colours" if channels == 3 and low >= 0 and high <= 255 else "features"


def order(config: UpsampleConfig, image: bytes, signal: bytes, *, pixels: int, values: int) -> Order:
    """Read and check what was sent.

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
        named = error.argument.partition(" ")[0]  # TEMPORARY: `error.argument`, once all of upsamplers/ names it
        raise refused_field(f"config.settings.{named}" if named in config.settings else "config", error) from error
    with field("image"):
        guidance = read_image(image, max_pixels=pixels)
    with field("signal"):
        low, known, palette = _read_signal(config, signal, 8 * values)
        check_inputs(guidance, low, None)
        if known is not None:
            method = for_labels(method)
        _check_work(method, guidance.shape[2] * guidance.shape[3], low, known, values)
    return Order(config, method, guidance, low, known, palette)


def _check_paths(config: UpsampleConfig) -> None:
    """Refuse settings that name a file: the library would read it."""
    known = methods().get(config.method)
    for name, accepted in known.paths.items() if known else ():
        if name in config.settings and config.settings[name] not in [*accepted]:
            raise FieldError(
                f"config.settings.{name}", name, "is none of what may be read", "{names}", names=", ".join(accepted)
            )


def _read_signal(config: UpsampleConfig, file: bytes, max_bytes: int) -> tuple[Tensor, Tensor | None, list[int] | None]:
    """Read the signal, the labels that it has and their palette, as `Order` has them."""
    palette = read_palette(file)
    if config.labels or (config.labels is None and palette is not None):
        labels = read_labels(file, name=config.name, max_bytes=max_bytes)
        known, places = torch.unique(labels, return_inverse=True)
        return places.float().unsqueeze(1), known, palette
    signal = read_signal(file, name=config.name, max_bytes=max_bytes)
    if len(signal) != 1:
        raise InputError("signal", "is a batch of {count}", "one signal", count=len(signal))
    largest = float(signal.abs().max())
    if largest > LARGEST:
        raise InputError(
            "signal", "has values up to {largest:g}", "values up to {most:g}", largest=largest, most=LARGEST
        )
    return signal, None, None


def _check_work(method: Upsampler, size: int, signal: Tensor, known: Tensor | None, values: int) -> None:
    """Refuse what would take too long, or too much memory; `size` is the image's, in pixels."""
    if signal.shape[1] * size > values:
        raise InputError(
            "signal",
            "has {channels} channels, for each of {pixels} pixels",
            "up to {most} values in all",
            channels=signal.shape[1],
            pixels=size,
            most=values,
        )
    if known is not None and len(known) * size > MAX_VOTES:
        raise InputError(
            "signal",
            "has {labels} labels, for each of {pixels} pixels",
            "up to {most} votes in all",
            labels=len(known),
            pixels=size,
            most=MAX_VOTES,
        )
    if isinstance(method, UpsampleAnything) and (work := size * method.cells * method.iterations) > MAX_WORK:
        raise FieldError(
            "config", "pixels x window x iterations", "is {work:.1e}", "up to {most:.1e}", work=work, most=MAX_WORK
        )


def upsample(job: Job, order: Order, *, device: str, runs: Runs) -> bytes:
    """Upsample, and keep the result as files.

    Returns:
        An `UpsampleAnswer` as JSON.
    """
    stage, began = Stages(job), time.perf_counter()
    guidance, signal = order.guidance.to(device), order.signal.to(device)
    size = guidance.shape[2], guidance.shape[3]
    makers: dict[str, Maker] = {}
    render: Callable[[Tensor], Tensor] = partial(order.method, guidance, size=size, memory=DEFAULT_MEMORY)
    if isinstance(order.method, UpsampleAnything) and order.method.kind == "values":
        with stage("fit"):
            kernels = order.method.fit(guidance, (signal.shape[2], signal.shape[3]), progress=stage.fitting)
        render = kernels.render
        makers["kernels.safetensors"] = kernels.save
    with stage("render image"):
        if order.known is None:
            result = render(signal)
        else:
            patient = partial(_rendered, job, render)
            places = likeliest(patient, len(order.known), votes(signal), size, memory=DEFAULT_MEMORY // 8)
            result = order.known[places.cpu()]
    with stage("draw"):
        low_picture, picture, key = _pictures(order, result if order.known is None else places)
        makers |= {"result.npy": tensor_maker(lambda: result), "result.png": picture_maker(picture)}
        kept = Kept(job.id, makers, comparison=None, size=0)
        runs.add(kept)
        kept.settle(*makers)
        shown = _shown_size(size)
        answer = UpsampleAnswer(
            run_id=job.id,
            kind=order.kind,
            shape=list(result.shape),
            grid=(signal.shape[2], signal.shape[3]),
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


def _rendered(job: Job, render: Callable[[Tensor], Tensor], signal: Tensor) -> Tensor:
    """Render a part, unless the job was cancelled."""
    job.check()
    return render(signal)


def _shown_size(size: tuple[int, int]) -> tuple[int, int]:
    shrink = min(1.0, PICTURED / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _pictures(order: Order, result: Tensor) -> tuple[Image.Image, Image.Image, Scale | None]:
    """Draw the signal and the result, each at its own size, and give the key of their colours.

    Args:
        order: what was asked for.
        result: [1, C, H, W]; of labels, their places.
    """
    low, high = order.signal.cpu(), result.cpu()
    if order.kind == "map":
        key = scale(Panel("", low))  # both on one scale, which is the signal's: a mix stays within
        pair = [heat_map(each, (key.low, key.high)) for each in (low, high)]
        return pair[0], pair[1], key
    if order.kind == "colours":
        brightest = 255 if float(low.max()) > 1 else 1
        return to_picture(low / brightest), to_picture(high / brightest), None
    if order.kind == "features":
        low, high = pca_rgb(low, high)
        return to_picture(low), to_picture(high), None
    if order.kind == "probabilities":
        low, high = low.argmax(1, keepdim=True), high.argmax(1, keepdim=True)
    colours = _class_colours(order)
    return label_picture(low.long(), colours), label_picture(high, colours), None


def _class_colours(order: Order) -> NDArray[np.uint8]:
    """The colours that the labels came with, or else our own."""
    if order.known is None:
        return class_colours(order.signal.shape[1])
    if order.palette is None:
        return class_colours(len(order.known))
    table = np.zeros((256, 3), np.uint8)  # a palette may end before the last label
    table[: len(order.palette) // 3] = np.array(order.palette, np.uint8).reshape(-1, 3)
    return table[order.known.numpy()]
