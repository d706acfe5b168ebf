"""What callers do around a call changes nothing: autocast, torch.compile, numbers near the limits of a dtype."""

import pytest
import torch

import omniup
from omniup.upsamplers.signal_types import unit_of
from support.anyup import random_anyup
from support.kernels import random_signal, smooth_image
from support.methods import all_methods

SIZE, GRID = (32, 48), (4, 6)
IMAGE = smooth_image(SIZE, batch=1, dtype=torch.float32)
METHODS = all_methods()
SIGNALS = {
    "features": random_signal(GRID, channels=5, batch=1).float(),
    "measurement": random_signal(GRID, channels=1, batch=1).float().abs(),
    "probabilities": (3 * random_signal(GRID, channels=4, batch=1)).softmax(1).float(),
    "values": random_signal(GRID, channels=2, batch=1).float(),
}
every_method = pytest.mark.parametrize("name", METHODS)


@pytest.mark.parametrize("signal_type", SIGNALS)
@every_method
def test_autocast_changes_nothing(name, signal_type):
    method, signal = METHODS[name], SIGNALS[signal_type]
    expected = method.prepare(IMAGE, GRID).render(signal, signal_type)
    with torch.autocast("cpu", torch.bfloat16):
        prepared = method.prepare(IMAGE, GRID)
        result = prepared.render(signal, signal_type)
        some = prepared.render_at(signal, torch.tensor([[3, 4]]), signal_type)
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)
    torch.testing.assert_close(some[0, 0], expected[0, :, 3, 4], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "anyup"])
def test_upsampling_can_be_compiled(name):
    method, signal = METHODS[name], SIGNALS["features"]
    torch.compiler.reset()
    compiled = torch.compile(lambda image, signal: method.prepare(image, GRID).render(signal), backend="eager")
    torch.testing.assert_close(
        compiled(IMAGE, signal), method.prepare(IMAGE, GRID).render(signal), atol=1e-4, rtol=1e-4
    )


def test_anyup_can_be_compiled():
    anyup, signal = random_anyup(), SIGNALS["features"]
    torch.compiler.reset()
    assert torch.equal(torch.compile(anyup, backend="aot_eager")(IMAGE, signal), anyup(IMAGE, signal))


@pytest.mark.parametrize("scale", [2.0**120, 2.0**-100])
@pytest.mark.parametrize("signal_type", ["features", "measurement", "values"])
@pytest.mark.parametrize("name", [name for name in METHODS if name != "anyup"])  # whose weights depend on the scale
def test_the_largest_and_smallest_numbers_are_scaled_ones(name, signal_type, scale):
    prepared, signal = METHODS[name].prepare(IMAGE, GRID), SIGNALS[signal_type]
    expected = prepared.render(signal, signal_type)
    torch.testing.assert_close(prepared.render(scale * signal, signal_type) / scale, expected, atol=1e-5, rtol=1e-4)
    into = prepared.render(scale * signal, signal_type, out=torch.empty_like(expected))
    torch.testing.assert_close(into / scale, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@every_method
def test_what_overshoots_a_dtype_is_clamped(name, dtype):
    most = torch.finfo(dtype).max
    signal = torch.where(torch.arange(6) < 3, -most, most).expand(1, 1, *GRID).to(dtype)
    result = METHODS[name].prepare(IMAGE, GRID).render(signal, "measurement")
    assert result.dtype == dtype
    assert result.isfinite().all()
    assert result.double().abs().max() <= most


def test_units():
    assert unit_of(torch.zeros(1, 1, 2, 2)) == 1
    assert unit_of(torch.full((1, 1, 2, 2), -1e18)) == 1
    assert unit_of(torch.full((1, 1, 2, 2), 3e19)) == 2**64
    assert unit_of(torch.full((1, 1, 2, 2), -1e-30)) == 2**-100
    assert unit_of(torch.full((1, 1, 2, 2), 16000, dtype=torch.float16)) == 1
    assert unit_of(torch.full((1, 1, 2, 2), 60000, dtype=torch.float16)) == 2**15
    assert unit_of(torch.full((1, 1, 2, 2), 1e100, dtype=torch.float64)) == 1


def test_a_compiled_call_of_the_public_function():
    torch.compiler.reset()
    compiled = torch.compile(omniup.upsample, backend="eager")
    assert torch.equal(compiled(IMAGE, SIGNALS["features"]), omniup.upsample(IMAGE, SIGNALS["features"]))
