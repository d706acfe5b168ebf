"""Signals of every shape that people have: channels last, tokens, single maps."""

import logging

import numpy as np
import pytest
import torch

import omniup
from omniup import InputError
from omniup.upsamplers.layouts import arrange, check_declared


def numbered(*shape):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)


@pytest.mark.parametrize(
    ("shape", "size", "arranged"),
    [
        ((2, 384, 16, 16), (224, 224), (2, 384, 16, 16)),
        ((1, 21, 32, 32), (375, 500), (1, 21, 32, 32)),  # what a network saw as a square
        ((1, 1, 8, 8), (64, 64), (1, 1, 8, 8)),
        ((1, 8, 8, 8), (64, 64), (1, 8, 8, 8)),  # with four sides channels come first where that fits
        ((21, 32, 32), (375, 500), (1, 21, 32, 32)),
        ((5, 12, 16), (48, 64), (1, 5, 12, 16)),
        ((12, 16), (48, 64), (1, 1, 12, 16)),
    ],
)
def test_channels_first(shape, size, arranged, caplog):
    signal = numbered(*shape)
    assert torch.equal(arrange(signal, size), signal.view(arranged))
    assert not caplog.records


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 16, 16, 384), (224, 224)),
        ((1, 12, 16, 768), (480, 640)),
        ((16, 16, 384), (224, 224)),
        ((30, 40, 3), (480, 640)),
        ((14, 14, 1024), (375, 500)),
    ],
)
def test_channels_last(shape, size, caplog):
    signal = numbered(*shape)
    with caplog.at_level(logging.WARNING):
        made = arrange(signal, size)
    assert torch.equal(made, signal.view(-1, *shape[-3:]).permute(0, 3, 1, 2))
    assert f"is taken for channels_last with a grid of {shape[-3]} × {shape[-2]}" in caplog.text


@pytest.mark.parametrize(
    ("shape", "size", "grid", "extra"),
    [
        ((2, 256, 768), (224, 224), (16, 16), 0),
        ((2, 257, 768), (224, 224), (16, 16), 1),
        ((1, 261, 1024), (518, 518), (16, 16), 5),
        ((1, 1201, 384), (480, 640), (30, 40), 1),
        ((1, 197, 768), (480, 640), (14, 14), 1),  # a square of a photograph that is none
        ((3, 1370, 64), (518, 518), (37, 37), 1),
        ((1, 196, 384), (224, 224), (14, 14), 0),
    ],
)
def test_tokens(shape, size, grid, extra, caplog):
    signal = numbered(*shape)
    expected = signal[:, extra:].mT.reshape(shape[0], shape[2], *grid)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(arrange(signal, size, images=shape[0]), expected)
    assert f"is taken for tokens with a grid of {grid[0]} × {grid[1]}" in caplog.text
    assert torch.equal(arrange(signal, size, grid=grid), expected)


def test_tokens_of_any_grid_are_read_where_it_is_given():
    signal = numbered(2, 4 * 15 + 3, 7)
    made = arrange(signal, (224, 224), grid=(4, 15))
    assert torch.equal(made, signal[:, 3:].mT.reshape(2, 7, 4, 15))
    assert torch.equal(arrange(signal[0], (224, 224), grid=(4, 15)), made[:1])


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_a_declared_layout_is_taken(layout, caplog):
    signal = numbered(8, 8, 8)
    expected = signal[None] if layout == "channels_first" else signal[None].permute(0, 3, 1, 2)
    assert torch.equal(arrange(signal, (64, 64), layout=layout), expected)
    assert not caplog.records


@pytest.mark.parametrize(
    ("shape", "size", "options", "message"),
    [
        (
            (8, 8, 8),
            (64, 64),
            {},
            r"signal has the shape \[8, 8, 8\], which is channels_first with a grid of 8 × 8 or channels_last "
            r"with a grid of 8 × 8; accepted: `layout` or `grid`",
        ),
        (
            (1, 197, 384),
            (800, 800),
            {},
            r".* channels_first with a grid of 197 × 384 or tokens with a grid of 14 × 14 after 1",
        ),
        (
            (6, 9, 8),
            (400, 600),
            {},
            r".* channels_first with a grid of 9 × 8 or channels_last with a grid of 6 × 9",
        ),
        ((2, 3), (64, 64), {"grid": (9, 9)}, r"signal has the shape \[2, 3\], which does not fit a grid of 9 × 9"),
        ((2, 30, 5), (64, 64), {"grid": (9, 9)}, r"signal has the shape \[2, 30, 5\], which does not fit"),
        ((5,), (64, 64), {}, r"signal has the shape \[5\]; accepted: \[B, C, h, w\]"),
        ((1, 2, 3, 4, 5, 6), (64, 64), {}, r"signal has the shape"),
        ((1, 0, 3, 4), (64, 64), {}, r"signal has the shape"),
        ((8, 8, 3), (64, 64), {"layout": "NHWC"}, r"layout is 'NHWC'; accepted: auto, channels_first, channels_last"),
    ],
)
def test_what_fits_in_no_way_or_in_two_is_refused(shape, size, options, message):
    with pytest.raises(InputError, match=f"^{message}"):
        arrange(torch.zeros(shape), size, **options)


def test_upsample_takes_every_layout():
    image, signal = torch.rand(1, 3, 64, 96), torch.rand(1, 200, 8, 12)
    expected = omniup.upsample(image, signal)
    last = signal.permute(0, 2, 3, 1)
    assert torch.equal(omniup.upsample(image, last), expected)
    array = omniup.upsample(image, last[0].numpy())  # of other strides
    torch.testing.assert_close(torch.from_numpy(array), expected)
    assert torch.equal(omniup.upsample(image, last, layout="channels_last"), expected)
    tokens = torch.cat([torch.rand(1, 1, 200), signal.flatten(2).mT], dim=1)
    torch.testing.assert_close(omniup.upsample(image, tokens, grid=(8, 12)), expected)
    torch.testing.assert_close(omniup.upsample(image, tokens), expected)
    assert torch.equal(omniup.upsample(image, signal[0, 0])[0], omniup.upsample(image, signal[:, :1])[0])
    with pytest.raises(InputError, match=r"^grid is \(9, 9\), and the signal has 8 × 12 cells"):
        omniup.upsample(image, signal, grid=(9, 9))


def test_render_reads_by_its_grid():
    image, signal = torch.rand(1, 3, 64, 96), torch.rand(2, 5, 4, 12)
    prepared = omniup.upsampler("joint_bilateral").prepare(image, (4, 12))
    expected = prepared.render(signal)
    assert torch.equal(prepared.render(signal.permute(0, 2, 3, 1)), expected)
    torch.testing.assert_close(prepared.render(signal.flatten(2).mT), expected)
    assert torch.equal(prepared.render(np.asarray(signal.permute(0, 2, 3, 1)), layout="channels_last"), expected)


def test_a_square_array_is_no_list_of_tokens():
    """Of which each would have as many channels as there are tokens; found by its declared shape, before it is read."""
    for shape in ([1, 16_384, 16_384], [16_384, 16_384]):
        with pytest.raises(InputError, match="larger than the image"):
            check_declared(shape, (512, 512))
    check_declared([1, 1024, 8192], (512, 512))


# ---- images


def test_images_whose_channels_come_first_or_last(caplog):
    """Arrays [G, H, W] and tensors [B, H, W, G], which are taken with a note."""
    image, signal = torch.rand(1, 3, 48, 64), torch.rand(1, 2, 6, 8)
    expected = omniup.upsample(image, signal)
    assert torch.equal(omniup.upsample(image[0].permute(1, 2, 0).numpy(), signal), expected)
    assert not caplog.records
    assert torch.equal(omniup.upsample(image[0].numpy(), signal), expected)
    assert caplog.messages == ["image: the shape [3, 48, 64] is taken for [G, H, W]"]
    caplog.clear()
    assert torch.equal(omniup.upsample(image.permute(0, 2, 3, 1), signal), expected)
    assert caplog.messages == ["image: the shape [1, 48, 64, 3] is taken for [B, H, W, G]"]
    bands = np.random.default_rng(0).random((12, 48, 64)).astype(np.float32)
    assert torch.equal(omniup.scale_bands(bands), omniup.scale_bands(bands.transpose(1, 2, 0)))


@pytest.mark.parametrize("shape", [(1, 200, 3), (3, 100, 4), (2, 50, 1), (48, 64, 12), (5, 5, 5), (6, 6, 8)])
def test_other_images_have_their_channels_last(shape, caplog):
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    signal = torch.rand(1, 1, 1, min(2, shape[1]))
    assert omniup.upsample(image, signal, method="joint_bilateral").shape == (1, 1, *shape[:2])
    assert not caplog.records
