"""Compare results of more than 2³¹ values, where 32-bit indices overflow, with single pixels of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from omniup.upsamplers import PreparedImage, Upsampler, upsampler
from omniup_bench.gpu.inputs import Sizes, generator, photograph, random_anyup, training_free
from omniup_bench.gpu.parity import FIT, POINTS, difference, random_points
from omniup_bench.gpu.rows import Check, Row, within

STRIDE = 16
MEMORY = "4GB"

#: Largest difference, as a part of the largest value: results are float16, so that they fit.
CLOSE = 4e-3


def features(device: torch.device, sizes: Sizes) -> Iterator[Check]:
    """Compare all methods, on features in float16: fits without a step, AnyUp with random weights."""
    for name in training_free():
        method = upsampler(name, **({"iterations": 0} if name == FIT else {}))
        yield name, partial(one_method, name, method, device, sizes)
    yield "anyup", partial(one_method, "anyup", random_anyup(), device, sizes)


def one_method(name: str, method: Upsampler, device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """Compare the result of a method with what `render_at` gives at chosen pixels, the last among them."""
    side, channels = sizes.large
    cells = side // STRIDE
    image = photograph(side, side).to(device)
    signal = torch.randn(1, channels, cells, cells, generator=generator()).to(device, torch.float16)
    prepared = method.prepare(image, (cells, cells), memory=MEMORY)
    assert isinstance(prepared, PreparedImage)
    points = random_points((side, side), POINTS).to(device)
    expected = prepared.render_at(signal, points, "features", memory=MEMORY)  # [1, P, C]
    whole = prepared.render(signal, "features", memory=MEMORY)  # [1, C, H, W]
    found = whole[:, :, points[:, 0], points[:, 1]].mT
    what = f"{name}, {whole.numel() / 2**31:.2f} × 2³¹ values"
    yield within(what, difference(found.float(), expected.float()), CLOSE)
