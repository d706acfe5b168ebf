"""What a user gets wrong ends in one line, exit status 2, and no output."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def _refused_upsample(refusal, image, signal, *options):
    before = set(Path().iterdir())
    said = refusal("upsample", image, signal, "-o", "out.npy", "--method", "bilinear", *options)
    assert set(Path().iterdir()) == before
    return said


def _bomb():
    """A PNG that declares 10⁵ × 10⁵ pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 10**5, 10**5, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b""))]
    packed = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_images(refusal, photo, features, folder):
    whole = (folder / photo).read_bytes()
    files = {
        "empty.png": (b"", "is empty"),
        "text.png": (b"not a picture", "is not in a format that is read here"),
        "truncated.png": (whole[: len(whole) // 2], "cannot be read"),
        "bomb.png": (_bomb(), "declares more pixels than the limit"),
    }
    for name, (content, problem) in files.items():
        Path(name).write_bytes(content)
        said = _refused_upsample(refusal, name, features)
        assert said.startswith(name)
        assert problem in said
    assert "No such file" in _refused_upsample(refusal, "missing.png", features)
    assert "Is a directory" in _refused_upsample(refusal, ".", features)
    assert "sample is 'cat'; accepted: coffee" in _refused_upsample(refusal, "sample:cat", features)
    assert "is empty" in refusal("upsample", "-", features, "-o", "out.npy")


def test_signals(refusal, photo, features, folder):
    np.save("nan.npy", np.array([[0.0, np.nan]], np.float32))
    np.save("complex.npy", np.zeros((2, 2), complex))
    np.save("objects.npy", np.array([[{}]], object), allow_pickle=True)
    np.save("fine.npy", np.zeros((100, 100), np.float32))
    np.savez("many.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    Path("cut.npy").write_bytes((folder / features).read_bytes()[:-4])
    Image.new("RGBA", (4, 3)).save("alpha.png")
    for name, problem in {
        "nan.npy": "has 1 numbers that are not finite, the first (nan) at [0, 1]",
        "complex.npy": "holds numbers of type complex128",
        "objects.npy": "holds Python objects",
        "fine.npy": "signal is 100 × 100, larger than the image or the size asked for, 48 × 64",
        "many.npz": "holds 2 arrays, so name one of 'a', 'b'",
        "cut.npy": "is truncated",
        "alpha.png": "is an image of the mode RGBA",
        "missing.npy": "No such file",
    }.items():
        assert problem in _refused_upsample(refusal, photo, name)
    assert "holds no array called 'c'" in _refused_upsample(refusal, photo, "many.npz", "--name", "c")
    assert "holds numbers of type torch.float32" in _refused_upsample(refusal, photo, features, "--labels")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--method", "magic"), "method is 'magic'; accepted: anyup, bicubic"),
        (("--preset", "paper"), "preset is no setting of bilinear; accepted: none"),
        (("--method", "upsample_anything", "--preset", "finest"), "preset is 'finest'; accepted: spec, paper"),
        (("--method", "upsample_anything", "--iters", "-1"), "Invalid value for '--iters'"),
        (("--method", "upsample_anything", "--iters", "many"), "Invalid value for '--iters'"),
        (
            ("--method", "upsample_anything", "--set", "speed=9"),
            "speed is no setting of upsample_anything; accepted: preset, window",
        ),
        (("--method", "upsample_anything", "--set", "radius=99"), "radius is 99; accepted: whole numbers from 0 to 16"),
        (("--method", "upsample_anything", "--set", "radius=wide"), "radius is 'wide'; accepted: whole numbers"),
        (("--method", "joint_bilateral", "--set", "sigma_x=-1"), "sigma_x is -1; accepted: numbers from"),
        (("--set", "radius"), "Invalid value for '--set': 'radius' is not name=value"),
        (("--size", "10x"), "Invalid value for '--size': '10x' is not height x width"),
        (("--size", "0x10"), "Invalid value for '--size'"),
        (("--size", "2x2"), "signal is 3 × 4, larger than the image or the size asked for, 2 × 2"),
        (("--memory", "lots"), "memory is 'lots'; accepted: bytes"),
        (("--memory", "0"), "memory is '0'; accepted: bytes"),
        (("--method", "joint_bilateral", "--memory", "9"), "memory is 9 bytes: the window of one pixel takes"),
        (("--device", "tpu"), "Invalid value for '--device': 'tpu' is none of auto, cuda, mps, cpu"),
        (("--bits", "12"), "--bits is 12; accepted: 8 and 16"),
        (("--quiet", "--verbose"), "--quiet is given together with --verbose; accepted: one of the two"),
        (("--colour",), "No such option: --colour"),
    ],
)
def test_options(refusal, photo, features, options, problem):
    assert problem in _refused_upsample(refusal, photo, features, *options)


def test_outputs(refusal, photo, features, folder):
    Path("folder.npy").mkdir()
    for output, problem in {
        "out.bmp": "has another suffix than those of the formats; accepted: .npy, .npz, .safetensors, .png; or -",
        "out": "has another suffix than",
        "missing/out.npy": f"is in the folder {folder / 'missing'}, which does not exist",
        "folder.npy": "is a directory",
        "photo.png/out.npy": "Not a directory",
        "out.png": "is a PNG, which holds one channel, or three of 8 bits, and not a signal of 1 x 5 x 3 x 4 in 8 bits",
    }.items():
        assert problem in refusal("upsample", photo, features, "-o", output)


def test_standard_streams_are_used_once(refusal, photo, features):
    assert "- is named for two inputs" in refusal("upsample", "-", "-", "-o", "out.npy")
    assert "-o - is given together with --json" in refusal("upsample", photo, features, "-o", "-", "--json")


def test_what_a_png_cannot_hold(refusal, photo):
    for array, options, problem in (
        (np.array([[-1, 1]]), ("--values",), "which holds 0 to 255, and not values from -1 to 1"),
        (np.array([[0, 300]]), ("--values", "--bits", 8), "which holds 0 to 255, and not values from 0 to 300"),
        (np.array([[0, 70000]]), ("--labels",), "which holds 0 to 65535, and not values from 0 to 70000"),
        (np.zeros((5, 2, 2)), (), "one channel, or three of 8 bits, and not a signal of 1 x 5 x 2 x 2 in 8"),
        (np.full((3, 2, 2), 300.0), (), "and not a signal of 1 x 3 x 2 x 2 in 16"),
    ):
        np.save("signal.npy", array)
        assert problem in refusal("upsample", photo, "signal.npy", "-o", "out.png", *options)
    assert not Path("out.png").exists()


def test_fit(refusal, photo):
    both = ("--grid", "3x4", "--stride", 16)
    assert "--stride is missing, and so is --grid" in refusal("fit", photo, "-o", "out.safetensors")
    assert "--grid is given together with --stride" in refusal("fit", photo, "-o", "out.safetensors", *both)
    assert "out.npy is no name for a file of kernels; accepted: names that end in .safetensors" in refusal(
        "fit", photo, "-o", "out.npy", "--stride", 16
    )
    assert "missing, which does not exist" in refusal("fit", photo, "-o", "missing/out.safetensors", "--stride", 16)
    assert "larger than the image" in refusal("fit", photo, "-o", "out.safetensors", "--grid", "49x10")
    assert "preset is 'finest'" in refusal("fit", photo, "-o", "out.safetensors", "--stride", 16, "--preset", "finest")
    assert not Path("out.safetensors").exists()


def test_render(refusal, omniup, photo, features):
    omniup("fit", photo, "--grid", "6x8", "--iters", 0, "-o", "kernels.safetensors")
    arguments = ("-o", "out.npy")
    assert "which does not fit a grid of 6 × 8; accepted: signals of that grid" in refusal(
        "render", "kernels.safetensors", features, *arguments
    )
    assert "accepted: a safetensors file" in refusal("render", photo, features, *arguments)
    confidence = ("--confidence", "missing/trust.npy")
    assert "missing, which does not exist" in refusal(
        "render", "kernels.safetensors", features, *arguments, *confidence
    )


def test_reconstruct(refusal, photo):
    for options, problem in {
        ("-o", photo): f"{photo} cannot be written (File exists)",
        ("-o", f"{photo}/out"): "Not a directory",
        ("-o", "out", "--encoder", "magic"): "--encoder magic: ",
        ("-o", "out", "--encoder-set", "layer=2"): "--encoder-set: settings do not fit projection (",
        ("-o", "out", "--encoder-set", "channels=0"): "--encoder-set: channels is 0",
        ("-o", "out", "--stride", "0"): "Invalid value for '--stride'",
        ("-o", "out", "--set", "speed=9"): "speed is no setting of upsample_anything",
    }.items():
        assert problem in refusal("reconstruct", photo, *options)
    assert not Path("out").exists()


def test_usage(refusal, photo):
    assert "No such command 'paint'" in refusal("paint")
    assert "Missing argument 'IMAGE'" in refusal("upsample")
    assert "Missing option '--output'" in refusal("upsample", photo, photo)


def test_names_that_would_break_the_line(refusal, features):
    said = refusal("upsample", "no\nsuch\x1b[2J.png", features, "-o", "out.npy")
    assert r"no\nsuch\x1b[2J.png" in said
    assert "\x1b" not in refusal("render", "no\nsuch\x1b[2J", features, "-o", "out.npy")
