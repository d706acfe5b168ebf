"""Encoding in tiles gives the grid of the whole image, wherever a cell depends on no more than the tiles share."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import omniup
from omniup.encoders import CallerEncoder, TimmBackbone, encode_image
from omniup.encoders.base import Encoding
from omniup.encoders.tiles import OVERLAP, TiledEncoder, _starts, _weights
from omniup.errors import InputError


class Convolutions:
    """An encoder of cells of 8 pixels, each of which sees `reach` cells around it; counts what it was shown."""

    def __init__(self, reach=1, stride=8):
        generator = torch.Generator().manual_seed(0)
        self.patches = nn.Conv2d(3, 6, 8, stride=8, bias=False)
        self.around = nn.Conv2d(6, 5, 2 * reach + 1, padding=reach, padding_mode="zeros")
        for parameter in (*self.patches.parameters(), *self.around.parameters()):
            parameter.data = torch.randn(parameter.shape, generator=generator) / 8
        self.stride, self.shown = stride, []

    @torch.no_grad()
    def __call__(self, image, grid=None):
        assert grid is None
        self.shown.append(tuple(image.shape[2:]))
        return Encoding(self.around(self.patches(image).tanh()), "convolutions", "random")


@pytest.fixture
def photo():
    return torch.rand(2, 3, 200, 264, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("tile", "reach"), [(96, 1), (192, 2), (104, 1), (200, 2)])
def test_the_joined_grid_is_that_of_the_whole(tile, reach, photo):
    encoder = Convolutions(reach)
    whole = encoder(photo).features
    encoder.shown.clear()
    tiled = TiledEncoder(encoder, tile)(photo)
    assert len(encoder.shown) > 1
    assert set(encoder.shown) == {(min(tile, 200), tile)}
    torch.testing.assert_close(tiled.features, whole, atol=1e-5, rtol=1e-5)


def test_a_reach_beyond_a_third_of_the_overlap_differs_at_seams(photo):
    encoder = Convolutions(reach=3)
    lacking = (TiledEncoder(encoder, 96)(photo).features - encoder(photo).features).abs().amax((0, 1))
    assert lacking.max() > 1e-3
    assert lacking[:6, :6].max() < 1e-5  # away from seams


def test_an_image_that_fits_is_seen_at_once(photo):
    encoder = Convolutions()
    assert torch.equal(TiledEncoder(encoder, 1000)(photo).features, encoder(photo).features)
    assert encoder.shown == [(200, 264)] * 2


def test_cells_smaller_than_the_stride(photo):
    encoder = Convolutions(stride=32)
    tiled = TiledEncoder(encoder, 128)(photo).features
    resized = F.interpolate(photo, (192, 256), mode="bilinear", antialias=True)
    torch.testing.assert_close(tiled, encoder(resized).features, atol=1e-5, rtol=1e-5)


def test_features_takes_tiles_and_a_grid_is_finer(photo):
    def averages(image):
        return F.avg_pool2d(image, 8)

    fine = encode_image(photo, CallerEncoder(averages, 8), resolution=528, tile=128)
    assert fine.encoding.features.shape == (2, 3, 50, 66)
    dense = omniup.features(photo, averages, stride=8, resolution=528, tile=128)
    torch.testing.assert_close(dense, omniup.features(photo, averages, stride=8, resolution=528), atol=1e-5, rtol=1e-5)


def test_a_transformer_sees_tiles_of_its_own_size(photo):
    backbone = TimmBackbone("test_vit", pretrained=False)
    tiled = encode_image(photo, backbone, resolution=528, tile=160, precision="bfloat16").encoding
    assert tiled.features.shape == (2, 64, 25, 33)
    assert tiled.features.dtype == torch.bfloat16
    assert tiled.encoder == backbone(photo).encoder


def test_a_grid_is_made_of_the_joined_one(photo):
    assert TiledEncoder(Convolutions(), 96)(photo, (5, 7)).features.shape == (2, 5, 5, 7)


def test_tiles_too_small_are_refused(photo):
    with pytest.raises(InputError, match="tile is 15; accepted: 16 or more"):
        encode_image(photo, Convolutions(), tile=15)
    with pytest.raises(InputError, match="tile is 0"):
        encode_image(photo, Convolutions(), tile=0)


def test_cells_of_unknown_pixels_are_refused(photo):
    with pytest.raises(InputError, match="tile of 100 x 100 pixels has 12 x 12 cells; accepted: a network whose"):
        omniup.features(photo, lambda image: F.avg_pool2d(image, 8), tile=100)


@given(st.integers(2, 30), st.integers(1, 90), st.sampled_from([1, 8, 14]))
def test_tiles_cover_a_side_and_their_weights_leave_the_outer_third_out(cells, more, unit):
    tile, side = cells * unit, (cells + more) * unit
    starts = _starts(side, tile, unit)
    assert starts[0] == 0
    assert starts[-1] == side - tile
    assert starts == sorted(set(starts))
    weights = _weights([start // unit for start in starts], cells)
    total = torch.zeros(side // unit)
    for start, weight in zip(starts, weights, strict=True):
        total[start // unit : start // unit + cells] += weight
    assert (total > 0).all()
    for number, (before, after) in enumerate(itertools.pairwise(starts)):
        overlap = (before + tile - after) // unit
        assert overlap >= min(cells - 1, cells / OVERLAP)
        outer = overlap // 3
        assert not weights[number, cells - outer :].any()
        assert not weights[number + 1, :outer].any()
