"""Time methods on a device, with the memory that they take, beside what is published of others on GPUs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from omniup.evaluation.measuring import Run, cost, seconds
from omniup.upsamplers import Ensemble, Upsampler, upsampler
from omniup_bench.gpu.inputs import Sizes, generator, photograph, random_anyup, training_free
from omniup_bench.gpu.rows import Check, Row

#: Published times, on GPUs that are not this one, for 384 channels, by the side of the image and the method.
PUBLISHED = {
    (224, "upsample_anything"): "UPA 419 ms; UPLiFT 1.14 ms",
    (448, "anyup"): "AnyUp 11 to 18 ms",
    (448, "anyup, bfloat16"): "AnyUp 11 to 18 ms",
    (448, "pyramid_bilateral"): "AnyUp 11 to 18 ms",
}

WARM_UP = 3


def features(device: torch.device, sizes: Sizes) -> Iterator[Check]:
    """Time all methods on features: preparing the image, rendering, and the memory of both."""
    for side, cells in sizes.timed:
        for name in training_free():
            yield f"{side}²: {name}", partial(one_method, name, upsampler(name), side, cells, device, sizes)
        reduced: dict[str, str] = {"precision": "bfloat16"}
        for name, settings in (("anyup", {}), ("anyup, bfloat16", reduced)):
            yield f"{side}²: {name}", partial(one_method, name, random_anyup(**settings), side, cells, device, sizes)
        ensemble = Ensemble(random_anyup())
        yield f"{side}²: ensemble", partial(one_method, "ensemble", ensemble, side, cells, device, sizes)


def one_method(
    name: str, method: Upsampler, side: int, cells: int, device: torch.device, sizes: Sizes
) -> Iterator[Row]:
    """Time a method, and measure the peak of its memory beyond image, features and weights, its result included."""
    image = photograph(side, side).to(device)
    signal = torch.randn(1, sizes.timed_channels, cells, cells, generator=generator()).to(device)

    def whole() -> Tensor:
        return method.prepare(image, (cells, cells)).render(signal, "features")

    prepared = method.prepare(image, (cells, cells))
    whole_ms = milliseconds(whole, device, sizes.turns)
    render_ms = milliseconds(lambda: prepared.render(signal, "features"), device, sizes.turns)
    with cost(device) as taken:
        whole()
    peak = "" if taken.peak_bytes is None else f", peak {taken.peak_bytes / 2**20:.0f} MB"
    found = f"{whole_ms:.2f} ms, of which render {render_ms:.2f} ms{peak}"
    yield Row(f"{side}×{side}, {cells}×{cells} grid: {name}", found, PUBLISHED.get((side, name), ""))


def milliseconds(run: Run, device: torch.device, turns: int) -> float:
    """Return the median time of a run, after some that are not counted: on a GPU by its own events."""
    for _ in range(WARM_UP):
        run()
    time = _event_milliseconds if device.type == "cuda" else _clock_milliseconds
    return statistics.median(time(run, device) for _ in range(turns))


def _clock_milliseconds(run: Run, device: torch.device) -> float:
    return 1e3 * seconds(run, device)


def _event_milliseconds(run: Run, device: torch.device) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)
