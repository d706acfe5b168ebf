"""Guidance of any number of channels comes out as stored: 16-bit colour, bands of a TIFF, arrays."""

import io
import logging
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, features

from omniup.errors import InputError
from omniup.files import (
    find_images,
    read_alpha,
    read_guidance,
    read_image,
    read_orientation,
    read_signal,
    read_stored,
)
from omniup.files.orientation import turn_back, turn_upright
from omniup.upsamplers import as_guidance

Encode = Callable[..., bytes]
RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 2**16, (5, 7, 3), dtype=np.uint16)
ALPHA = RANDOM.integers(0, 2**16, (5, 7, 4), dtype=np.uint16)
BANDS = RANDOM.integers(0, 10_000, (4, 5, 7), dtype=np.uint16)


def _png16(pixels: np.ndarray, **chunks: bytes) -> bytes:
    """A PNG of 16-bit colour, which Pillow does not write."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    named = {"IHDR": header, **chunks, "IDAT": zlib.compress(rows), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name.encode() + data + struct.pack(">I", zlib.crc32(name.encode() + data))
        for name, data in named.items()
    )


def _ppm(pixels: np.ndarray, largest: int = 65535, *, plain: bool = False) -> bytes:
    """A PPM of colour beyond 8 bits."""
    numbers = " ".join(map(str, pixels.flat)).encode() if plain else pixels.astype(">u2").tobytes()
    return b"P%d\n# a comment\n%d %d %d\n" % (3 if plain else 6, *pixels.shape[1::-1], largest) + numbers


def _tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _refusal(source: Any, read: Callable[..., Any] = read_guidance, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(source, **options)
    assert str(caught.value).isprintable()
    return str(caught.value).partition("; accepted: ")[0]


def _expected(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.astype(np.float64)).permute(2, 0, 1)[None]


# ---- 16-bit colour


@pytest.mark.parametrize(
    "encoded",
    [_png16(COLOUR), _tiff(COLOUR, photometric="rgb"), _ppm(COLOUR), _ppm(COLOUR, plain=True)],
    ids=["png", "tiff", "ppm", "plain ppm"],
)
def test_16_bit_colour_keeps_every_step(encoded: bytes) -> None:
    for read in (read_image, read_guidance):
        assert torch.equal((read(encoded).double() * 65535).round(), _expected(COLOUR))
    assert torch.equal(read_signal(encoded).double(), _expected(COLOUR))


@pytest.mark.parametrize(
    "encoded", [_png16(ALPHA), _tiff(ALPHA, photometric="rgb", extrasamples=["unassalpha"])], ids=["png", "tiff"]
)
def test_16_bit_alpha_is_composited_over_white(encoded: bytes) -> None:
    colour, alpha = _expected(ALPHA)[:, :3] / 65535, _expected(ALPHA)[:, 3:] / 65535
    for read in (read_image, read_guidance):
        torch.testing.assert_close(read(encoded).double(), colour * alpha + 1 - alpha, atol=1e-6, rtol=0)
    assert "is an image of the mode RGBA" in _refusal(encoded, read_signal)


def test_16_bit_grey_with_alpha() -> None:
    encoded = _png16(ALPHA[..., :2])
    grey, alpha = _expected(ALPHA[..., :2]).split(1, dim=1)
    grey, alpha = grey / 65535, alpha / 65535
    for read in (read_image, read_guidance):
        wanted = (grey * alpha + 1 - alpha).expand(-1, 3, -1, -1)
        torch.testing.assert_close(read(encoded).double(), wanted, atol=1e-6, rtol=0)
    found = read_alpha(encoded)
    assert found is not None
    torch.testing.assert_close(found.double(), alpha, atol=1e-6, rtol=0)
    assert "is an image of the mode LA" in _refusal(encoded, read_signal)


@pytest.mark.parametrize("plain", [False, True])
def test_colour_between_8_and_16_bits(plain: bool) -> None:
    encoded = _ppm(COLOUR % 1024, 1023, plain=plain)
    for read in (read_image, read_guidance):
        assert torch.equal((read(encoded).double() * 1023).round(), _expected(COLOUR % 1024))
    assert "that Pillow rescales, so its raw numbers would be lost" in _refusal(encoded, read_signal)


def test_16_bit_transparency_is_white() -> None:
    encoded = _png16(COLOUR, tRNS=COLOUR[2, 3].astype(">u2").tobytes())
    found = (read_image(encoded).double() * 65535).round()
    assert found[0, :, 2, 3].tolist() == [65535] * 3
    assert torch.equal(found[0, :, :2], _expected(COLOUR)[0, :, :2])


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    "encoded",
    [
        _png16(COLOUR),
        _png16(ALPHA[..., :2]),
        _ppm(COLOUR),
        _tiff(BANDS, photometric="minisblack", planarconfig="separate"),
    ],
)
def test_truncated(encoded: bytes, kept: float) -> None:
    for read in (read_guidance, read_signal):
        _refusal(encoded[: int(len(encoded) * kept)], read)


# ---- bands


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f2", "f4", "f8"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"bigtiff": True}], ids=str)
def test_bands_of_a_tiff(dtype: str, options: dict[str, Any]) -> None:
    bands = (BANDS % 200).astype(dtype)
    for planes, config in ((bands, "separate"), (bands.transpose(1, 2, 0), "contig")):
        encoded = _tiff(np.ascontiguousarray(planes), photometric="minisblack", planarconfig=config, **options)
        guidance = read_guidance(encoded)
        assert guidance.dtype in (torch.uint8, torch.float32, torch.float64)
        assert np.array_equal(guidance[0].numpy(), bands)
        assert np.array_equal(read_signal(encoded)[0].numpy(), bands)


def test_a_fourth_band_that_is_no_alpha() -> None:
    encoded = _tiff((BANDS % 256).astype("u1").transpose(1, 2, 0), photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(read_guidance(encoded)[0].numpy(), BANDS % 256)


def test_float_tiff_of_any_unit(encode: Encode) -> None:
    metres = Image.fromarray(np.linspace(-5, 40, 12, dtype=np.float32).reshape(3, 4))
    assert np.array_equal(read_guidance(encode(metres, "TIFF"))[0, 0].numpy(), np.array(metres))
    assert "has grey values from" in _refusal(encode(metres, "TIFF"), read_image)


def test_bands_that_declare_too_much() -> None:
    encoded = _tiff(BANDS, photometric="minisblack", planarconfig="separate")
    assert "declares more pixels than the limit of 30" in _refusal(encoded, max_pixels=30)
    assert "declares 560 bytes, more than the limit of 500" in _refusal(encoded, read_signal, max_bytes=500)


# ---- arrays


@pytest.mark.parametrize(("shape", "channels"), [((5, 7), 1), ((4, 5, 7), 4), ((5, 7, 4), 4), ((1, 4, 5, 7), 4)])
def test_arrays(shape: tuple[int, ...], channels: int, caplog: pytest.LogCaptureFixture) -> None:
    array = RANDOM.random(shape)
    guidance = read_guidance(_npy(array))
    assert guidance.shape == (1, channels, 5, 7) and guidance.dtype == torch.float64
    last = shape == (5, 7, 4)
    assert np.array_equal(guidance[0].numpy(), array.transpose(2, 0, 1) if last else array.reshape(channels, 5, 7))
    assert [record.getMessage() for record in caplog.records] == last * [
        "image: 4 channels, which come last, of 5 × 7 pixels"
    ]


@pytest.mark.parametrize("shape", [(4, 4, 4), (5, 7, 5), (9, 7, 8), (2, 3, 5, 7), (5,), (0, 5, 7)])
def test_other_shapes(shape: tuple[int, ...]) -> None:
    assert f"has the shape {list(shape)}" in _refusal(_npy(np.zeros(shape)))


def test_an_archive_of_arrays() -> None:
    file = io.BytesIO()
    np.savez(file, guide=BANDS, height=BANDS[0])
    assert np.array_equal(read_guidance(file, name="guide")[0].numpy(), BANDS)
    assert "holds 2 arrays, so name one of 'guide', 'height'" in _refusal(file)
    assert "has none called 'x'" in _refusal(_png16(COLOUR), name="x")
    assert "numbers of type" in _refusal(_npy(np.zeros((5, 7), complex)))


# ---- pages, frames and orientation


def _frames() -> list[Image.Image]:
    return [Image.fromarray(RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)) for _ in range(3)]


@pytest.mark.parametrize(("file_format", "options"), [("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
def test_pages_and_frames(
    encode: Encode, caplog: pytest.LogCaptureFixture, file_format: str, options: dict[str, Any]
) -> None:
    frames = _frames()
    encoded = encode(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    expected = torch.cat([_expected(np.array(frame))[0] for frame in frames])
    assert torch.equal(read_signal(encoded)[0].double(), expected)
    assert not caplog.records
    for read in (read_image, read_guidance):
        assert torch.equal((as_guidance(read(encoded))[0].double() * 255).round(), expected[:3])
    assert {record.getMessage() for record in caplog.records} == {
        "image: 3 pages or frames, of which the first is read"
    }
    assert caplog.records[0].levelno == logging.WARNING
    assert "declares 1260 bytes, more than the limit of 1000" in _refusal(encoded, read_signal, max_bytes=1000)


def test_an_animated_gif_is_no_label_map(encode: Encode) -> None:
    frames = [frame.convert("P") for frame in _frames()]
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_signal(encoded).shape == (1, 9, 5, 7)
    assert read_stored(encoded).palette is None
    assert read_stored(encode(frames[0], "GIF")).palette is not None


def test_pages_of_a_stack_and_smaller_versions(caplog: pytest.LogCaptureFixture) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for depth in BANDS:
            writer.write(depth, contiguous=False, metadata=None)
        writer.write(BANDS[0, ::2, ::2], subfiletype=1, metadata=None)
    assert np.array_equal(read_signal(file)[0].numpy(), BANDS)
    read_image(file)
    assert [record.getMessage()[:15] for record in caplog.records] == ["image: 4 pages "]
    unequal = io.BytesIO()
    with tifffile.TiffWriter(unequal) as writer:
        writer.write(BANDS[0], metadata=None)
        writer.write(BANDS[1, 1:], metadata=None)
    assert "has pages of several sizes" in _refusal(unequal, read_signal)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_turn_back(encode: Encode, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = _frames()[0]
    encoded = encode(image, "PNG", exif=exif)
    assert read_orientation(encoded) == orientation
    upright = (read_image(encoded) * 255).round().byte().numpy()[0]
    stored = np.array(image).transpose(2, 0, 1)
    assert np.array_equal(turn_upright(stored, orientation), upright)
    assert np.array_equal(turn_back(upright, orientation), stored)
    bands = BANDS.astype(np.float32)
    turned = _tiff(
        bands, photometric="minisblack", planarconfig="separate", extratags=[(274, "H", 1, orientation, True)]
    )
    assert np.array_equal(read_guidance(turned)[0].numpy(), turn_upright(bands, orientation))


def test_orientation_of_what_has_none() -> None:
    assert read_orientation(_npy(np.zeros((5, 7)))) == 1
    assert read_orientation(_tiff(BANDS, photometric="minisblack", planarconfig="separate")) == 1


# ---- masks, folders


@pytest.mark.parametrize(("mode", "file_format"), [("1", "PNG"), ("L", "PNG"), ("L", "BMP"), ("I;16", "PNG")])
def test_masks_keep_their_integers(encode: Encode, mode: str, file_format: str) -> None:
    mask = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8))
    encoded = encode(mask.convert(mode), file_format)
    assert not read_stored(encoded).signal(keep_integers=True).is_floating_point()
    assert read_signal(encoded).dtype == torch.float32
    grey = Image.fromarray(np.array([[0, 128, 255]], np.uint8))
    assert read_stored(encode(grey, file_format)).signal(keep_integers=True).dtype == torch.float32


def test_hidden_files_and_folders_are_no_pictures(tmp_path: Path) -> None:
    for name in (".hidden.png", "._a.png", ".cache/b.png", "c/.d/e.png", "a.png", "c/f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    hidden_itself = tmp_path / ".cache"
    assert find_images(tmp_path, below=True) == [tmp_path / "a.png", tmp_path / "c/f.png"]
    assert find_images(hidden_itself) == [hidden_itself / "b.png"]


# ---- the extra `formats`


def test_exr_keeps_linear_light(tmp_path: Path) -> None:
    exr = pytest.importorskip("OpenEXR")
    light = RANDOM.random((5, 7, 3)).astype(np.float32) * 4
    path = tmp_path / "light.exr"
    header = {"type": exr.scanlineimage, "compression": exr.ZIP_COMPRESSION}
    with exr.File(header, {"RGB": light}) as file:
        file.write(str(path))
    for read in (read_guidance, read_signal):
        assert np.array_equal(read(path)[0].numpy(), light.transpose(2, 0, 1))
    assert "more pixels than the limit of 30" in _refusal(path, max_pixels=30)
    _refusal(path.read_bytes()[:200])
    with exr.File(header, {"Z": light[..., 0].copy(), "A": light[..., 1].copy()}) as file:
        file.write(str(path))
    assert np.array_equal(read_signal(path)[0].numpy(), light.transpose(2, 0, 1)[[1, 0]])


def test_radiance_keeps_linear_light() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    light = RANDOM.random((5, 7, 3)).astype(np.float32) * 4
    encoded = imagecodecs.rgbe_encode(light)
    for read in (read_guidance, read_signal):
        np.testing.assert_allclose(read(encoded)[0].numpy(), light.transpose(2, 0, 1), atol=0.02)
    assert "more pixels than the limit of 30" in _refusal(encoded, max_pixels=30)
    assert "is not in a format" in _refusal(encoded.replace(b"-Y 5", b"+Y 5"))


@pytest.mark.parametrize("compression", ["lzw", "zstd"])
def test_bands_with_compressions_of_imagecodecs(compression: str) -> None:
    pytest.importorskip("imagecodecs")
    encoded = _tiff(BANDS, photometric="minisblack", planarconfig="separate", compression=compression)
    assert np.array_equal(read_guidance(encoded)[0].numpy(), BANDS)


def test_heic(encode: Encode) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    image = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    difference = read_image(encode(image, "HEIF", quality=95)) - _expected(np.array(image)) / 255
    assert difference.abs().max() < 0.05
    assert "more pixels than the limit of 30" in _refusal(encode(image, "HEIF"), read_image, max_pixels=30)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow was built without")
def test_avif(encode: Encode, tmp_path: Path) -> None:
    image = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    encoded = encode(image, "AVIF", quality=95)
    assert (read_image(encoded) - _expected(np.array(image)) / 255).abs().max() < 0.05
    (tmp_path / "a.avif").write_bytes(encoded)
    assert find_images(tmp_path) == [tmp_path / "a.avif"]


@pytest.mark.parametrize(
    ("start", "package"),
    [
        (b"v/1\x01" + bytes(20), "OpenEXR"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 5 +X 7\n", "imagecodecs"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "pillow_heif"),
    ],
)
def test_a_missing_reader_is_named(monkeypatch: pytest.MonkeyPatch, start: bytes, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf'^{package} is needed for this .*: pip install "omniup\[formats\]"'):
        read_guidance(start)
