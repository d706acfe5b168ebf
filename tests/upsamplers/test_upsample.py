"""`omniup.upsample`, the registry and the checks at the door, for every method."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import omniup
from omniup import InputError
from omniup.mixing import radii
from omniup.mixing.dtypes import widest
from omniup.upsamplers import (
    GuidedFilter,
    JointBilateral,
    PyramidBilateral,
    UpsampleAnything,
    as_guidance,
    guided_filter,
    parse_memory,
    upsampler,
)
from support.anyup import random_anyup
from support.kernels import random_signal, smooth_image

METHODS = ["anyup", "bicubic", "bilinear", "ensemble", "guided_filter", "joint_bilateral", "nearest"]
METHODS += ["pyramid_bilateral", "upsample_anything"]
IMAGE = smooth_image((24, 32), dtype=torch.float32)
SIGNAL = random_signal((3, 4), dtype=torch.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights for AnyUp."""
    path = tmp_path_factory.mktemp("weights") / "anyup.pth"
    torch.save(random_anyup().state_dict(), path)
    return str(path)


@pytest.fixture(params=METHODS)
def method(request, weights):
    """The name of a method and settings that make it quick."""
    settings = {"anyup": {"weights": weights}, "ensemble": {"weights": weights}, "upsample_anything": {"iterations": 2}}
    return {"method": request.param} | settings.get(request.param, {})


def test_every_method_is_registered_with_one_line_and_its_settings(weights):
    registered = omniup.methods()
    assert sorted(registered) == METHODS
    for name, method in registered.items():
        assert method.name == name
        assert method.summary
        assert "\n" not in method.summary
        assert method.paths.keys() <= method.settings.keys()
        settings = {**method.settings, "weights": weights} if "weights" in method.settings else method.settings
        assert type(upsampler(name, **settings)) is type(method.build(**settings))
    registered.clear()
    assert omniup.methods()


def test_settings_reach_the_method():
    assert upsampler("joint_bilateral", sigma_r=0.5) == JointBilateral(sigma_r=0.5)
    assert upsampler("guided_filter", radius=3) == GuidedFilter(radius=3)
    assert upsampler("pyramid_bilateral", halvings=1) == PyramidBilateral(halvings=1)
    assert upsampler("upsample_anything") == UpsampleAnything.preset("paper")
    assert upsampler("upsample_anything", preset="spec", lr=0.1) == UpsampleAnything.preset("spec", lr=0.1)


def test_pyramid_bilateral_is_the_method_by_default():
    out = omniup.upsample(IMAGE, SIGNAL, signal_type="measurement")
    assert torch.equal(out, PyramidBilateral().prepare(IMAGE, (3, 4)).render(SIGNAL, "measurement"))


def test_all_forms_of_an_image_give_the_same(method):
    pixels = (IMAGE[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    results = [
        omniup.upsample(image, SIGNAL, **method)
        for image in (
            Image.fromarray(pixels),
            pixels,
            pixels.astype(np.float32) / 255,
            torch.from_numpy(pixels).permute(2, 0, 1)[None],
            torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255,
        )
    ]
    assert all(result.shape == (1, 4, 24, 32) for result in results)
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK"])
def test_images_of_any_mode_are_accepted(mode):
    image = Image.fromarray((IMAGE[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy()).convert(mode)
    assert omniup.upsample(image, SIGNAL, method="joint_bilateral").isfinite().all()


def test_grey_arrays_have_one_channel():
    grey = np.linspace(0, 1, 24 * 32, dtype=np.float32).reshape(24, 32)
    expected = omniup.upsample(torch.from_numpy(grey)[None, None], SIGNAL, method="joint_bilateral")
    assert torch.equal(omniup.upsample(grey, SIGNAL, method="joint_bilateral"), expected)
    assert torch.equal(omniup.upsample(grey[..., None], SIGNAL, method="joint_bilateral"), expected)


def test_signals_may_be_arrays_and_so_are_their_results(method):
    out = omniup.upsample(IMAGE, SIGNAL.numpy()[:, :, ::-1, :], **method)
    assert isinstance(out, np.ndarray)
    assert np.array_equal(out, omniup.upsample(IMAGE, SIGNAL.flip(2), **method).numpy())


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", np.uint16, bool])
def test_arrays_keep_their_dtype(dtype):
    signal = (SIGNAL.abs() > 0.5).numpy().astype(dtype)
    out = omniup.upsample(IMAGE, signal, method="bilinear", signal_type="labels" if dtype is bool else "measurement")
    assert out.dtype == np.dtype(dtype).newbyteorder("=")


def test_arrays_in_lists_and_of_several_signals():
    image, signal = IMAGE[0].permute(1, 2, 0).numpy(), SIGNAL.numpy()
    expected = omniup.upsample(IMAGE, SIGNAL).numpy()
    array, tensor = omniup.upsample([image, IMAGE], [signal, SIGNAL])
    assert np.array_equal(array, expected)
    assert torch.is_tensor(tensor)
    assert np.array_equal(omniup.upsample(image, signal[:, None]), expected[:, None])
    made = omniup.upsample(image, signal, confidence=True)
    assert np.array_equal(made.result, expected)
    assert np.array_equal(made.confidence, omniup.upsample(IMAGE, SIGNAL, confidence=True).confidence.numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_results_are_of_the_signals_type(method, dtype):
    out = omniup.upsample(IMAGE, SIGNAL.to(dtype), **method)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), omniup.upsample(IMAGE, SIGNAL, **method), rtol=0, atol=0.05)


@pytest.mark.parametrize("size", [(24, 32), (48, 64), (37, 51), (12, 16), (3, 4), [30, 20]])
def test_another_size_is_that_of_the_image_resized(method, size):
    out = omniup.upsample(IMAGE, SIGNAL, size=size, **method)
    assert out.shape == (1, 4, *size)
    if method["method"] in ("anyup", "ensemble"):
        return  # it looks at the image as it is, and averages its queries
    resized = F.interpolate(IMAGE, tuple(size), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(out, omniup.upsample(resized, SIGNAL, **method), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "grid"), [((25, 31), (3, 4)), ((17, 40), (1, 7)), ((9, 8), (9, 8)), ((5, 1), (2, 1))])
def test_any_ratio_is_accepted(method, size, grid):
    out = omniup.upsample(smooth_image(size, batch=2).float(), random_signal(grid, batch=2).float(), **method)
    assert out.shape == (2, 4, *size)
    assert out.isfinite().all()


def test_constants_stay_constant(method):
    out = omniup.upsample(IMAGE, torch.full((1, 1, 3, 4), 0.3), **method)
    torch.testing.assert_close(out, torch.full((1, 1, 24, 32), 0.3), rtol=0, atol=1e-5)


def test_every_method_is_differentiable_in_the_signal(method):
    signal = SIGNAL.clone().requires_grad_()
    out = omniup.upsample(IMAGE, signal, **method)
    out.square().sum().backward()
    assert signal.grad.abs().sum() > 0


def test_one_image_may_serve_many_signals(method):
    signals = random_signal((3, 4), batch=3, dtype=torch.float32)
    alone = torch.cat([omniup.upsample(IMAGE, signal[None], **method) for signal in signals])
    torch.testing.assert_close(omniup.upsample(IMAGE, signals, **method), alone, rtol=0, atol=1e-5)


def test_an_image_that_requires_a_gradient_is_no_obstacle(method):
    image = IMAGE.clone().requires_grad_()
    torch.testing.assert_close(omniup.upsample(image, SIGNAL, **method), omniup.upsample(IMAGE, SIGNAL, **method))


def test_nothing_is_changed_in_place(method):
    image, signal = IMAGE.clone(), SIGNAL.clone()
    omniup.upsample(image, signal, **method)
    assert torch.equal(image, IMAGE)
    assert torch.equal(signal, SIGNAL)


def test_views_are_accepted(method):
    image, signal = (tensor.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) for tensor in (IMAGE, SIGNAL))
    torch.testing.assert_close(omniup.upsample(image, signal, **method), omniup.upsample(IMAGE, SIGNAL, **method))


def test_the_memory_changes_nothing(method):
    expected = omniup.upsample(IMAGE, SIGNAL, **method)
    least = "1.1MB" if method["method"] in ("anyup", "ensemble") else "100KB"
    for memory in (least, 2**21, "1.5 MiB", "1GB"):
        torch.testing.assert_close(omniup.upsample(IMAGE, SIGNAL, memory=memory, **method), expected, rtol=0, atol=1e-5)


REFUSED = [
    ("image", IMAGE[0], r"^image has the shape \[3, 24, 32\]; accepted: \[B, G, H, W\]"),
    ("image", IMAGE[:, :, :0], r"^image has the shape \[1, 3, 0, 32\], which is empty"),
    ("image", IMAGE[:0], r"^image has the shape \[0, 3, 24, 32\], which is empty"),
    (
        "image",
        np.zeros((2, 24, 32, 3)),
        r"^image has the shape \[2, 24, 32, 3\]; accepted: arrays \[H, W\] and \[H, W, G\]$",
    ),
    ("image", np.zeros(24), r"^image has the shape \[24\]; accepted: arrays"),
    ("image", "photo.jpg", r"^photo.jpg cannot be read \(No such file"),
    ("image", 1.5, r"^image is a float; accepted: "),
    ("image", None, r"^image is a NoneType"),
    ("image", (IMAGE * 255).long(), r"^image is of type torch.int64"),
    ("image", (IMAGE * 255).to(torch.int16).numpy()[0].transpose(1, 2, 0), r"^image is of type torch.int16"),
    ("image", IMAGE > 0.5, r"^image is of type torch.bool"),
    ("image", IMAGE * 255, r"^image has values from .* to .*; accepted: 0..1"),
    ("image", IMAGE - 0.5, r"^image has values from -0\..*; accepted: 0..1"),
    ("image", IMAGE * math.nan, r"^image has values from nan to nan"),
    ("image", IMAGE.clone().fill_(math.inf), r"^image has values from .* to inf"),
    ("image", IMAGE.expand(2, -1, -1, -1), r"^signal is a batch of 1 and image of 2; accepted: equal batches"),
    ("image", IMAGE[:, :, :2], r"^signal is 3 × 4, larger than the image .*, 2 × 32"),
    ("signal", SIGNAL[0, 0, 0], r"^signal has the shape \[4\]; accepted: \[B, C, h, w\]"),
    ("signal", SIGNAL[:, :0], r"^signal has the shape \[1, 0, 3, 4\], which is empty"),
    (
        "signal",
        SIGNAL.long(),
        r"^signal_type is 'auto', and the signal is of type int64, which may be labels or a meas",
    ),
    ("signal", SIGNAL.to(torch.complex64), r"^signal is of type torch.complex64"),
    ("signal", [[[[1.0]]]], r"^signal is a list"),
    ("signal", SIGNAL * math.nan, r"^signal has 48 values of 48 that are not finite"),
    ("signal", SIGNAL.index_fill(3, torch.tensor([2]), math.inf), r"^signal has 12 values of 48 that are not finite"),
    ("signal", torch.zeros(1, 1, 25, 4), r"^signal is 25 × 4, larger than the image .*, 24 × 32"),
    (
        "signal",
        np.zeros((1, 2, 3, 4), dtype=object),
        r"^signal is an array of object; accepted: floating point and integers$",
    ),
    ("size", (0, 5), r"^size is \(0, 5\); accepted: two whole numbers of at least 1"),
    ("size", (24, 32, 3), r"^size is \(24, 32, 3\)"),
    ("size", (24.0, 32.0), r"^size is \(24.0, 32.0\)"),
    ("size", 0, r"^size is 0"),
    ("size", (2, 32), r"^signal is 3 × 4, larger than the image or the size asked for, 2 × 32"),
    ("memory", "lots", r"^memory is 'lots'; accepted: bytes, or texts such as 512MB"),
    ("memory", "", r"^memory is ''"),
    ("memory", 0, r"^memory is 0"),
    ("memory", -1, r"^memory is -1"),
    ("memory", "-1GB", r"^memory is '-1GB'"),
    ("memory", math.nan, r"^memory is nan"),
]


@pytest.mark.parametrize(
    ("name", "value", "message"), REFUSED, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(REFUSED)]
)
def test_an_argument_that_cannot_be_accepted_is_named(method, name, value, message):
    with pytest.raises(InputError, match=message) as refusal:
        omniup.upsample(**{"image": IMAGE, "signal": SIGNAL, name: value}, **method)
    assert "\n" not in str(refusal.value)


def test_arrays_of_the_other_byte_order_are_accepted_or_refused_by_name():
    for name, array in (("signal", SIGNAL.numpy()), ("image", IMAGE[0].permute(1, 2, 0).numpy())):
        arguments = {"image": IMAGE, "signal": SIGNAL, name: array.astype(array.dtype.newbyteorder())}
        try:
            out = omniup.upsample(**arguments, method="bilinear")
        except InputError as error:
            assert str(error).startswith(name)
        else:
            expected = omniup.upsample(IMAGE, SIGNAL, method="bilinear")
            torch.testing.assert_close(torch.as_tensor(out), expected)


def test_an_array_that_may_not_be_written_causes_no_warning():
    code = """
import numpy as np, omniup, torch
from PIL import Image
image = np.asarray(Image.new("RGB", (32, 24)))
signal = np.zeros((1, 2, 3, 4), np.float32)
signal.flags.writeable = image.flags.writeable = False
omniup.upsample(image, signal, method="joint_bilateral")
"""
    ran = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_devices_without_float64_give_the_same(method, monkeypatch):
    if method["method"] == "upsample_anything":
        method = {**method, "sigma": 3.0}  # so that cells have radii of their own
    expected = omniup.upsample(IMAGE, SIGNAL, **method)
    asked = []
    for module in (radii, guided_filter):
        monkeypatch.setattr(module, "widest", lambda device: asked.append(device) or torch.float32)
    torch.testing.assert_close(omniup.upsample(IMAGE, SIGNAL, **method), expected, rtol=0, atol=1e-4)
    assert bool(asked) == (method["method"] in ("guided_filter", "upsample_anything"))
    assert widest(torch.device("mps")) == torch.float32
    assert widest(torch.device("cuda")) == torch.float64


@pytest.mark.parametrize(
    "method", ["anyup", "joint_bilateral", "pyramid_bilateral", "upsample_anything"], indirect=True
)
def test_too_little_memory_is_the_callers_mistake(method):
    with pytest.raises(InputError, match=r"^memory is 100 bytes: .* takes? \d+; accepted: more$"):
        omniup.upsample(IMAGE, SIGNAL, memory=100, **method)


def test_an_unknown_method_is_refused_with_the_list():
    with pytest.raises(InputError, match=f"^method is 'jbu'; accepted: {', '.join(METHODS)}$"):
        omniup.upsample(IMAGE, SIGNAL, method="jbu")


def test_an_unknown_setting_is_refused_with_the_list():
    with pytest.raises(InputError, match=r"^radius is no setting of bilinear; accepted: none$"):
        omniup.upsample(IMAGE, SIGNAL, method="bilinear", radius=2)
    with pytest.raises(InputError, match=r"^r is no setting of guided_filter; accepted: radius, eps$"):
        omniup.upsample(IMAGE, SIGNAL, method="guided_filter", s=2, r=1)
    with pytest.raises(InputError, match=r"^steps is no setting of upsample_anything; accepted: preset, window, "):
        omniup.upsample(IMAGE, SIGNAL, method="upsample_anything", steps=2)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", 1),
        ("1B", 1),
        ("2k", 2048),
        ("512MB", 512 * 2**20),
        ("512 mb", 512 * 2**20),
        ("1.5GiB", 3 * 2**29),
        ("1 TB", 2**40),
        (12345, 12345),
        (1e6, 10**6),
    ],
)
def test_amounts_of_memory(text, amount):
    assert parse_memory(text) == amount


@pytest.mark.parametrize("text", ["", " ", "MB", "1 000", "1PB", "0", "0.2", "1e3", "0x10", None, True, -5, math.inf])
def test_what_is_no_amount_of_memory_is_refused(text):
    with pytest.raises(InputError, match=r"^memory is"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.uint8, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_guidance_is_float32_or_float64_in_0_to_1(dtype, expected):
    image = (IMAGE * 255).to(dtype) if dtype == torch.uint8 else IMAGE.to(dtype)
    guidance = as_guidance(image)
    assert guidance.dtype == expected
    torch.testing.assert_close(guidance.float(), IMAGE, rtol=0, atol=0.01)


def test_another_name_may_be_given_to_the_image():
    with pytest.raises(InputError, match=r"^guidance has the shape"):
        as_guidance(torch.zeros(3), name="guidance")
