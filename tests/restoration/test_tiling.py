import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from omniup import InputError
from omniup.restoration import gaussian_weights, tile_windows, tiled


def _literal(function, image, size, stride, scale):
    """The weighted mean, tile by tile: sums of what the tiles show, divided by the sums of their weights."""
    height, width = image.shape[2:]
    shown = torch.zeros(*image.shape[:2], height * scale, width * scale, dtype=torch.float64)
    weighed = torch.zeros_like(shown[0, 0])
    for top, bottom, left, right in tile_windows(height, width, size=size, stride=stride).tolist():
        made = function(image[:, :, top:bottom, left:right])
        place = ..., slice(top * scale, bottom * scale), slice(left * scale, right * scale)
        weights = gaussian_weights(*made.shape[2:])
        shown[place] += made.double() * weights
        weighed[place] += weights
    return shown / weighed


def _twice_as_large(tiles):
    return F.interpolate(tiles, scale_factor=2) * (1 + tiles.amax((1, 2, 3), keepdim=True))


@given(
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    part=st.floats(0.1, 1),
    batch=st.integers(1, 5),
    pictures=st.integers(1, 2),
)
def test_a_weighted_mean_of_tiles(sides, size, part, batch, pictures):
    image = torch.rand(pictures, 2, *sides, generator=torch.Generator().manual_seed(0))
    stride = tuple(max(1, int(side * part)) for side in size)
    made = tiled(_twice_as_large, size=size, stride=stride, scale=2, batch=batch)(image)
    expected = _literal(_twice_as_large, image, size, stride, 2)
    torch.testing.assert_close(made.double(), expected, rtol=0, atol=1e-5)


@given(length=st.integers(1, 200), size=st.integers(1, 60), stride=st.integers(1, 60))
def test_windows_cover_a_side_and_end_at_its_border(length, size, stride):
    stride = min(stride, size)
    windows = tile_windows(1, length, size=size, stride=stride)[:, 2:].tolist()
    assert windows[0][0] == 0
    assert windows[-1][1] == length
    assert {stop - start for start, stop in windows} == {min(size, length)}
    steps = [after[0] - before[0] for before, after in itertools.pairwise(windows)]
    assert all(step == stride for step in steps[:-1])
    assert all(1 <= step <= stride for step in steps)


def test_where_the_receptive_field_allows_tiles_change_nothing():
    """A pixel whose tiles all show what it depends on is the untiled one; at the others the wrong tiles weigh little.

    That is so where tiles lie evenly. Aligned to the border, the last one may lie almost on its neighbour, whose border
    then weighs as much: so `plan_tiles` spreads them.
    """
    reach = 3  # of three 3 × 3 convolutions
    kernels = [torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(seed)) / 6 for seed in range(3)]

    def network(tiles):
        for kernel in kernels:
            tiles = F.conv2d(tiles, kernel, padding=1).tanh()
        return tiles

    image = torch.rand(1, 4, 88, 112, generator=torch.Generator().manual_seed(9))
    whole = network(image)
    made = tiled(network, size=40, stride=24)(image)
    allowed = torch.ones(88, 112, dtype=torch.bool)
    for top, bottom, left, right in tile_windows(88, 112, size=40, stride=24).tolist():
        seen = torch.zeros_like(allowed)
        seen[
            top if top == 0 else top + reach : bottom if bottom == 88 else bottom - reach,
            left if left == 0 else left + reach : right if right == 112 else right - reach,
        ] = True
        allowed[top:bottom, left:right] &= seen[top:bottom, left:right]
    assert 0.3 < allowed.float().mean() < 0.9
    difference = (made - whole).abs()[0].amax(0)  # [H, W]
    assert difference[allowed].max() < 1e-6
    assert difference.max() < 0.01 * whole.std()


def test_no_seam_where_tiles_disagree():
    """As tiles of a network do whose norms see a whole tile: one is brighter than the next, by 51 of 255."""
    offsets = itertools.cycle([0.1, -0.1])
    made = tiled(lambda tile: tile + next(offsets), size=512, stride=384, batch=1)(torch.full((1, 1, 1, 1280), 0.5))
    steps = made.diff(dim=3).abs().flatten()  # [W - 1]
    assert made.amax() - made.amin() == pytest.approx(0.2)
    for border in (384, 512, 768, 896):
        assert steps[border - 1] < 0.1 / 255
    assert steps.max() < 2 / 255


def test_a_single_tile_is_the_function():
    image = torch.rand(1, 3, 20, 30)
    assert torch.equal(tiled(_twice_as_large, size=32, stride=16, scale=2)(image), _twice_as_large(image))


def test_smaller_results():
    image = torch.rand(1, 3, 48, 80)
    made = tiled(lambda tiles: F.avg_pool2d(tiles, 8), size=32, stride=16, scale=1 / 8)(image)
    torch.testing.assert_close(made, F.avg_pool2d(image, 8))
    with pytest.raises(InputError, match=r"scale is 1/8, at which the tiles .* do not come to whole pixels"):
        tiled(lambda tiles: F.avg_pool2d(tiles, 8), size=32, stride=16, scale=1 / 8)(torch.rand(1, 3, 50, 80))


def test_gradients_and_precision():
    image = torch.rand(1, 3, 20, 30, dtype=torch.float64, requires_grad=True)
    run = tiled(lambda tiles: tiles**2, size=12, stride=8)
    run(image).sum().backward()
    torch.testing.assert_close(image.grad, 2 * image.detach())
    made = run(image.detach().bfloat16())
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.double(), image.detach() ** 2, rtol=0.02, atol=0.01)


def test_progress_is_told_after_each_batch_and_may_stop_the_work():
    told = []
    tiled(torch.clone, size=8, stride=8, batch=3, progress=lambda *now: told.append(now))(torch.rand(1, 1, 16, 32))
    assert told == [(3, 8), (6, 8), (8, 8)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiled(torch.clone, size=8, stride=8, progress=stop)(torch.rand(1, 1, 16, 32))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"size": 0}, "size is 0"),
        ({"stride": 0}, "stride is 0"),
        ({"stride": 9}, "stride is 9; accepted: 1 to the size of a tile, 8"),
        ({"size": (8, 4)}, "stride is 8"),
        ({"scale": 0}, "scale is 0"),
        ({"batch": 0}, "batch is 0"),
    ],
)
def test_refusals(settings, problem):
    with pytest.raises(InputError, match=problem):
        tiled(torch.clone, **({"size": 8, "stride": 8} | settings))


def test_refused_pictures_and_functions():
    with pytest.raises(InputError, match=r"image has the shape \[3, 8, 8\]"):
        tiled(torch.clone, size=8, stride=8)(torch.rand(3, 8, 8))
    with pytest.raises(
        InputError, match=r"function makes \[2, 3, 8, 8\] of .*; accepted: \[2, C, 16, 16\], at scale 2"
    ):
        tiled(torch.clone, size=8, stride=8, scale=2)(torch.rand(1, 3, 8, 16))
    with pytest.raises(InputError, match="picture has 0 × 5 pixels"):
        tile_windows(0, 5, size=8, stride=8)
