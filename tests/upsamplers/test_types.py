"""Tensors of every type are taken or refused in one line, and images almost in 0..1 are clamped with a note."""

import logging

import numpy as np
import pytest
import torch

import omniup
from omniup.errors import InputError

IMAGE = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
FEATURES = torch.randn(1, 4, 3, 4, generator=torch.Generator().manual_seed(1))
MASK = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]]).view(1, 1, 3, 4)


def _upsample(**arguments):
    return omniup.upsample(**{"image": IMAGE, "signal": FEATURES, "method": "bilinear"} | arguments)


# ---- masks

INTEGERS = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("method", ["bilinear", "joint_bilateral", "guided_filter", "pyramid_bilateral"])
def test_a_mask_comes_back_as_one(dtype, method):
    for white in (1,) if dtype == torch.bool else (1, 120):
        mask = (MASK * white).to(dtype)
        found = omniup.upsample(IMAGE, mask, method=method)
        assert found.dtype == dtype and found.shape == (1, 1, 24, 32)
        assert set(found.long().unique().tolist()) == {0, white}
        assert torch.equal(found, omniup.upsample(IMAGE, mask, method=method, signal_type="labels"))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_an_empty_mask_stays_empty(dtype):
    assert not _upsample(signal=torch.zeros(1, 1, 3, 4, dtype=dtype)).any()


def test_masks_of_numpy():
    for dtype in (bool, np.uint8, np.int64, ">i2"):
        assert set(np.unique(_upsample(signal=MASK.numpy().astype(dtype)))) == {0, 1}


# ---- calls of every type


TAKEN = [
    ("signal", FEATURES.half()),
    ("signal", FEATURES.bfloat16()),
    ("signal", FEATURES.double()),
    ("signal", FEATURES.mT.contiguous().mT),
    ("signal", FEATURES.clone().requires_grad_()),
    ("image", IMAGE.half()),
    ("image", IMAGE.double()),
    ("image", (IMAGE * 255).byte()),
    ("size", (np.int64(24), np.int32(32))),
    ("size", [24, 32]),
    ("size", np.array([24, 32])),
    ("size", torch.tensor([24, 32])),
    ("size", torch.Size([24, 32])),
    ("size", IMAGE.shape[2:]),
]
REFUSED = [
    *((name, tensor.to(dtype), "is of type torch.float8") for name, tensor in (("signal", FEATURES), ("image", IMAGE))
      for dtype in (torch.float8_e4m3fn, torch.float8_e5m2)),
    ("signal", FEATURES.to(torch.complex64), "is of type torch.complex64"),
    ("signal", FEATURES.to_sparse(), "is a sparse tensor"),
    ("image", IMAGE.to_sparse(), "is a sparse tensor"),
    ("signal", torch.nested.nested_tensor([FEATURES[0], FEATURES[0]], layout=torch.jagged), "is a nested tensor"),
    ("signal", FEATURES.to("meta"), "is on the device meta"),
    ("image", IMAGE.to("meta"), "is on the device meta"),
    ("signal", FEATURES.numpy().astype(np.complex64), "is an array of complex64"),
    ("signal", FEATURES.numpy().astype(np.longdouble), "is an array of "),
    ("signal", np.array("text"), "is an array of <U4"),
    ("signal", np.float32(1), "is a float32"),
    ("signal", FEATURES.tolist(), "is a list"),
    ("signal", (3 * FEATURES).int(), "which may be labels or a measurement"),
    ("image", (IMAGE * 65535).int(), "is of type torch.int32"),
    ("image", IMAGE.bool(), "is of type torch.bool"),
    ("size", (24.0, 32.0), r"is \(24.0, 32.0\)"),
    ("size", (True, 32), "is "),
    ("size", (np.float64(24), 32), "is "),
    ("size", np.array([24.0, 32.0]), "is "),
    ("size", np.int64(0), "is "),
    ("size", (np.int64(0), 32), "is "),
    ("size", "24x32", "is '24x32'"),
]  # fmt: skip


def _id(case):
    return f"{case[0]}-{getattr(case[1], 'dtype', '')}-{type(case[1]).__name__}"


@pytest.mark.parametrize(("name", "value"), TAKEN, ids=map(_id, TAKEN))
def test_taken(name, value):
    assert _upsample(**{name: value}).shape == (1, 4, 24, 32)


@pytest.mark.parametrize(("name", "value", "problem"), REFUSED, ids=map(_id, REFUSED))
@pytest.mark.parametrize("method", ["bilinear", "pyramid_bilateral"])
def test_refused_in_one_line(name, value, problem, method):
    with pytest.raises(InputError, match=f"^{name}(_type)? .*{problem}") as refusal:
        _upsample(**{name: value, "method": method})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["signal", "image"])
def test_vmap_is_refused_in_one_line(name):
    tensor = {"signal": FEATURES, "image": IMAGE}[name]
    with pytest.raises(InputError, match=rf"^{name} is mapped over by torch.vmap"):
        torch.vmap(lambda one: _upsample(**{name: one}))(torch.stack([tensor, tensor]))


def test_points_of_every_type():
    prepared = omniup.upsampler("bilinear").prepare(IMAGE, (3, 4))
    points = torch.tensor([[0, 0], [23, 31]])
    expected = prepared.render(FEATURES)[0, :, points[:, 0], points[:, 1]].mT[None]
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.int64):
        torch.testing.assert_close(prepared.render_at(FEATURES, points.to(dtype)), expected)
    for refused in (points.float(), points.to_sparse(), points.to("meta"), points.numpy(), [[0, 0]]):
        with pytest.raises(InputError, match=r"^points is "):
            prepared.render_at(FEATURES, refused)


# ---- almost 0..1


def test_what_resizing_overshoots_is_clamped_with_a_note(caplog):
    stripes = (torch.arange(32) // 4 % 2).float().expand(1, 3, 24, 32)
    overshooting = torch.nn.functional.interpolate(stripes, size=(48, 64), mode="bicubic")
    assert overshooting.min() < -0.01 and overshooting.max() > 1.02
    found = _upsample(image=overshooting, method="joint_bilateral")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "image: values from -0.105 to 1.11, clamped to 0..1"
    assert torch.equal(found, _upsample(image=overshooting.clamp(0, 1), method="joint_bilateral"))


@pytest.mark.parametrize(
    ("image", "remedy"),
    [
        (IMAGE * 255, "image / 255"),
        (IMAGE * 258 - 1.5, "image / 255"),
        ((IMAGE - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / 0.225, "image * std + mean"),
        (IMAGE * 2 - 1, "image * std + mean"),
        (IMAGE * 18567, "omniup.scale_bands(image)"),
        (IMAGE * 4, "omniup.scale_bands(image)"),
        (IMAGE - 40, "omniup.scale_bands(image)"),
    ],
)
def test_other_units_are_refused_with_the_remedy(image, remedy):
    with pytest.raises(InputError, match=r"^image has values from .*; accepted: 0..1, which ") as refusal:
        _upsample(image=image)
    assert remedy in str(refusal.value)


# ---- the bands of a sensor


def test_bands_are_scaled_one_by_one():
    bands = torch.stack([torch.arange(101.0), torch.arange(101.0) * 50 + 7]).view(1, 2, 1, 101)
    bands = torch.cat([bands, torch.full((1, 1, 1, 101), 3.0)], dim=1)
    scaled = omniup.scale_bands(bands)
    expected = ((torch.arange(101.0) - 1) / 98).clamp(0, 1)
    for band in scaled[0, :2, 0]:
        torch.testing.assert_close(band, expected)
    assert not scaled[0, 2].any()
    assert torch.equal(omniup.scale_bands(bands.short()), scaled)
    assert torch.equal(omniup.scale_bands(bands[0].permute(1, 2, 0).numpy()), scaled)
    assert torch.equal(omniup.scale_bands(torch.cat([bands, 2 * bands]))[1:], scaled)
    torch.testing.assert_close(omniup.scale_bands(bands, (0, 100))[0, 0, 0], torch.arange(101.0) / 100)


@pytest.mark.parametrize(
    ("image", "percentiles", "problem"),
    [
        (IMAGE * torch.nan, (1, 99), "image holds NaN or infinite values"),
        (IMAGE[0], (1, 99), "image has the shape"),
        (IMAGE, (99, 1), "percentiles is"),
        (IMAGE, (1, 101), "percentiles is"),
    ],
)
def test_bands_that_cannot_be_scaled(image, percentiles, problem):
    with pytest.raises(InputError, match=f"^{problem}"):
        omniup.scale_bands(image, percentiles)


def test_a_satellite_s_bands_guide(shared):
    scene = np.load(shared / "data" / "canopy" / "scene_1.npz")
    with pytest.raises(InputError, match="scale_bands"):
        _upsample(image=torch.from_numpy(scene["guide"])[None])
    guide = omniup.scale_bands(torch.from_numpy(scene["guide"])[None])
    assert guide.min() == 0 and guide.max() == 1 and (guide.mean((2, 3)) > 0.1).all()
    low = torch.nn.functional.avg_pool2d(torch.from_numpy(scene["height"]).view(1, 1, 256, 256), 8)
    plain, *guided = (
        omniup.upsample(guide, low, method=name) for name in ("bilinear", "joint_bilateral", "pyramid_bilateral")
    )
    for found in guided:
        assert found.shape == (1, 1, 256, 256) and 0.1 < (found - plain).abs().mean() < 5
