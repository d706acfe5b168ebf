import pytest
import torch
from torch.nn import functional as F

from omniup.upsamplers import Bicubic, Bilinear, Nearest
from omniup.upsamplers.interpolation import interpolate_at
from oracles.windows import bilinear, own_cell
from support.kernels import random_signal
from support.methods import upsample
from support.scratch import peak_bytes

SIZES = [((24, 32), (3, 4)), ((23, 31), (5, 4)), ((7, 9), (7, 9)), ((13, 6), (1, 5)), ((10, 11), (1, 1))]


@pytest.fixture(params=SIZES, ids=str)
def case(request):
    size, grid = request.param
    return size, torch.rand(2, 3, *size), random_signal(grid, batch=2)


def test_nearest_copies_the_cell_that_the_pixel_lies_in(case):
    size, image, signal = case
    rows, columns = ([own_cell(p, size[axis], signal.shape[2 + axis]) for p in range(size[axis])] for axis in (0, 1))
    assert torch.equal(upsample(Nearest(), image, signal), signal[:, :, rows][:, :, :, columns])


def test_bilinear_is_torchs(case):
    size, image, signal = case
    expected = F.interpolate(signal, size, mode="bilinear", align_corners=False)
    assert torch.equal(upsample(Bilinear(), image, signal), expected)
    cells = torch.randint(0, 9, signal.shape[2:])
    exact = torch.tensor([[float(value) for value in row] for row in bilinear(cells.tolist(), size)]).double()
    torch.testing.assert_close(
        upsample(Bilinear(), image[:1], cells.double()[None, None])[0, 0], exact, rtol=0, atol=1e-6
    )


def test_bicubic_is_torchs(case):
    size, image, signal = case
    expected = F.interpolate(signal, size, mode="bicubic", align_corners=False)
    assert torch.equal(upsample(Bicubic(), image, signal), expected)


@pytest.mark.parametrize("method", [Nearest(), Bilinear(), Bicubic()], ids=repr)
def test_the_image_does_not_matter_but_for_its_size(method):
    signal = random_signal((3, 4))
    assert torch.equal(
        upsample(method, torch.rand(1, 3, 24, 32), signal), upsample(method, torch.zeros(1, 1, 24, 32), signal)
    )


@pytest.mark.parametrize("method", [Nearest(), Bilinear(), Bicubic()], ids=repr)
def test_constants_stay_constant(method):
    signal = torch.full((1, 2, 3, 4), 0.7)
    torch.testing.assert_close(upsample(method, torch.rand(1, 3, 25, 31), signal), torch.full((1, 2, 25, 31), 0.7))


@pytest.mark.parametrize("mode", ["nearest-exact", "bilinear", "bicubic"])
def test_interpolation_at_points_is_that_of_all_pixels(case, mode):
    size, _, signal = case
    points = torch.cartesian_prod(*(torch.arange(side) for side in size)).expand(2, -1, 2)
    whole = F.interpolate(signal, size, mode=mode).flatten(2)
    torch.testing.assert_close(interpolate_at(signal, points, size, mode), whole, rtol=0, atol=1e-12)
    single = interpolate_at(signal.float(), points, size, mode)
    torch.testing.assert_close(single, F.interpolate(signal.float(), size, mode=mode).flatten(2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["nearest-exact", "bilinear", "bicubic"])
def test_a_point_of_a_strip_takes_little_memory(mode):
    """A matrix of pixels by cells would take 20 GB."""
    signal, points = random_signal((1, 12_500)), torch.tensor([[[0, 7], [0, 123_456]]])
    found = []
    assert peak_bytes(lambda: found.append(interpolate_at(signal, points, (1, 200_000), mode)), signal, points) < 10_000
    whole = F.interpolate(signal, (1, 200_000), mode=mode)[0, :, 0, points[0, :, 1]]
    torch.testing.assert_close(found[0][0], whole, rtol=0, atol=1e-9)
