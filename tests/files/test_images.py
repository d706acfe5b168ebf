"""Pixels come out as stored, upright and in 0..1, or the image is refused in one line."""

import os
import struct
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image
from torch import Tensor

from omniup.errors import InputError
from omniup.files import find_images, image_tensor, read_alpha, read_image, write_image

Encode = Callable[..., bytes]

_EXIF_ORIENTATION = 0x0112
_LOSSLESS: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("PPM", {}),
]
_FORMATS = [*_LOSSLESS, ("JPEG", {}), ("GIF", {})]


def _noise(height: int = 5, width: int = 7) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _expected(image: Image.Image) -> Tensor:
    """[1, 3, H, W] of an RGB image, by hand."""
    return torch.tensor(np.array(image), dtype=torch.float32).permute(2, 0, 1)[None] / 255


def _pixel(image: Image.Image) -> list[float]:
    tensor = image_tensor(image)
    assert tensor.dtype == torch.float32 and tensor.shape == (1, 3, image.height, image.width)
    return [round(value * 255, 3) for value in tensor[0, :, 0, 0].tolist()]


def _png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 2) -> bytes:
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (header, *chunks, (b"IEND", b""))
    )


def _refusal(source: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_image(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith("; accepted: an image (PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM)")
    return message.split("; accepted")[0]


# ---- formats and sources


@pytest.mark.parametrize(("file_format", "options"), _LOSSLESS)
def test_lossless_formats_are_exact(encode: Encode, file_format: str, options: dict[str, Any]) -> None:
    image = _noise()
    tensor = read_image(encode(image, file_format, **options))
    assert tensor.dtype == torch.float32 and tensor.is_contiguous()
    assert torch.equal(tensor, _expected(image))


def test_jpeg_is_close(encode: Encode) -> None:
    image = Image.linear_gradient("L").resize((32, 24)).convert("RGB")
    difference = read_image(encode(image, "JPEG", quality=95)) - _expected(image)
    assert 0 < difference.abs().max() < 0.03


def test_gif_gives_its_first_frame(encode: Encode) -> None:
    red, green = Image.new("RGB", (3, 2), (255, 0, 0)), Image.new("RGB", (3, 2), (0, 255, 0))
    tensor = read_image(encode(red, "GIF", save_all=True, append_images=[green]))
    assert torch.equal(tensor, _expected(red))


def test_every_kind_of_source(tmp_path: Path, encode: Encode) -> None:
    image = _noise()
    data = encode(image, "PNG")
    path = tmp_path / "named like nothing"
    path.write_bytes(data)
    with path.open("rb") as file:
        file.seek(20)  # an open file is read from its beginning
        sources = [path, str(path), data, BytesIO(data), file]
        for source in sources:
            assert torch.equal(read_image(source), _expected(image))
        assert not file.closed


@pytest.mark.parametrize("buffering", [-1, 0])
def test_pipe(encode: Encode, buffering: int) -> None:
    image = _noise(40, 40)
    receiver, sender = os.pipe()
    with open(receiver, "rb", buffering=buffering) as source:  # noqa: PTH123 (a descriptor)
        with open(sender, "wb") as file:  # noqa: PTH123
            file.write(encode(image, "BMP"))
        assert torch.equal(read_image(source), _expected(image))


# ---- modes

_RGB = Image.new("RGB", (2, 1), (10, 20, 30))
_GREY = Image.new("L", (2, 1), 100)


def _palette() -> Image.Image:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return image


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (_RGB, [10, 20, 30]),
        (_GREY, [100, 100, 100]),
        (Image.new("1", (2, 1), 1), [255, 255, 255]),
        (Image.new("1", (2, 1), 0), [0, 0, 0]),
        (_palette(), [10, 20, 30]),
        (Image.new("LA", (2, 1), (100, 255)), [100, 100, 100]),
        (Image.new("LA", (2, 1), (100, 0)), [255, 255, 255]),
        (Image.new("LA", (2, 1), (100, 51)), [224, 224, 224]),  # a fifth of 100 over white
        (Image.new("RGBA", (2, 1), (10, 20, 30, 255)), [10, 20, 30]),
        (Image.new("RGBA", (2, 1), (10, 20, 30, 0)), [255, 255, 255]),
        (Image.new("RGBA", (2, 1), (5, 55, 105, 51)), [205, 215, 225]),
        (Image.new("CMYK", (2, 1), (0, 255, 255, 0)), [255, 0, 0]),
        (Image.new("CMYK", (2, 1), (0, 0, 0, 255)), [0, 0, 0]),
        (_RGB.convert("YCbCr"), [10, 20, 30]),
        (Image.new("I;16", (2, 1), 65535), [255, 255, 255]),
        (Image.new("I", (2, 1), 257 * 3), [3, 3, 3]),
        (Image.new("F", (2, 1), 0.5), [127.5, 127.5, 127.5]),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_modes(image: Image.Image, pixel: list[float]) -> None:
    assert _pixel(image) == pytest.approx(pixel, abs=3 if image.mode == "YCbCr" else 0.001)


@pytest.mark.parametrize(
    ("image", "transparency", "pixel"),
    [
        (_palette(), 1, [255, 255, 255]),
        (_palette(), 0, [10, 20, 30]),
        (_palette(), bytes([255, 51]), [206, 208, 210]),
        (_RGB, (10, 20, 30), [255, 255, 255]),
        (_RGB, (10, 20, 31), [10, 20, 30]),
        (_GREY, 100, [255, 255, 255]),
        (_GREY, 99, [100, 100, 100]),
        (Image.new("I;16", (2, 1), 257), 257, [255, 255, 255]),
        (Image.new("I;16", (2, 1), 257), 258, [1, 1, 1]),
    ],
)
def test_png_transparency_is_white(encode: Encode, image: Image.Image, transparency: Any, pixel: list[float]) -> None:
    tensor = read_image(encode(image, "PNG", transparency=transparency))
    assert (tensor[0, :, 0, 0] * 255).tolist() == pytest.approx(pixel, abs=0.001)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_files(encode: Encode, file_format: str) -> None:
    tensor = read_image(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), file_format))
    assert (tensor[0, :, 0, 0] * 255).tolist() == pytest.approx([255, 0, 0], abs=3)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_every_step(encode: Encode, file_format: str) -> None:
    steps = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    tensor = read_image(encode(Image.fromarray(steps), file_format))
    assert tensor.shape == (1, 3, 256, 256)
    for channel in tensor[0]:
        assert torch.equal((channel.double() * 65535).round().long(), torch.from_numpy(steps.astype(np.int64)))


def test_16_bit_grey_of_the_other_byte_order(encode: Encode) -> None:
    image = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 1, 0xFF00))
    expected = [1 / 65535, 0xFF00 / 65535]
    assert image_tensor(image)[0, 0, 0].tolist() == pytest.approx(expected)
    assert read_image(encode(image, "TIFF"))[0, 0, 0].tolist() == pytest.approx(expected)


def test_float_tiff(encode: Encode) -> None:
    numbers = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    assert torch.equal(read_image(encode(Image.fromarray(numbers), "TIFF"))[0, 1], torch.from_numpy(numbers))


@settings(deadline=None)
@given(st_numpy.arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 4), st.just(4))))
def test_compositing_stays_in_range_and_keeps_opaque_pixels(pixels: np.ndarray) -> None:
    tensor = image_tensor(Image.fromarray(pixels))
    colour, alpha = pixels[..., :3] / 255, pixels[..., 3:] / 255
    expected = torch.from_numpy(colour * alpha + (1 - alpha)).permute(2, 0, 1)[None]
    assert tensor.min() >= 0 and tensor.max() <= 1
    torch.testing.assert_close(tensor.double(), expected, atol=1e-6, rtol=0)
    opaque = torch.from_numpy(pixels[..., 3] == 255)
    without_alpha = _expected(Image.fromarray(np.ascontiguousarray(pixels[..., :3])))
    assert torch.equal(tensor[0, :, opaque], without_alpha[0, :, opaque])


def test_the_image_is_left_as_it_was() -> None:
    image = _noise()
    before = image.tobytes()
    image_tensor(image).zero_()
    assert image.tobytes() == before


# ---- orientation

_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", _UPRIGHT)
@pytest.mark.parametrize(("file_format", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_exif_orientation(encode: Encode, file_format: str, options: dict[str, Any], orientation: int) -> None:
    image, exif = _noise(), Image.Exif()
    exif[_EXIF_ORIENTATION] = orientation
    tensor = read_image(encode(image, file_format, exif=exif, **options))
    upright = np.ascontiguousarray(_UPRIGHT[orientation](np.array(image)))
    assert torch.equal(tensor, _expected(Image.fromarray(upright)))


def test_exif_orientation_of_a_photo(encode: Encode) -> None:
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = 6
    image = Image.new("RGB", (32, 16))
    image.paste((255, 255, 255), (0, 0, 16, 16))  # white on the left, and on top once it is turned clockwise
    opened = Image.open(BytesIO(encode(image, "JPEG", exif=exif)))
    tensor = image_tensor(opened)
    assert tensor.shape == (1, 3, 32, 16)
    assert tensor[:, :, :14].min() > 0.9 and tensor[:, :, 18:].max() < 0.1


# ---- refusals


@pytest.mark.parametrize("data", [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", bytes(1000)])
def test_not_an_image(data: bytes) -> None:
    assert _refusal(data) == "image is not in a format that is read here"


@pytest.mark.parametrize("file_format", ["TGA", "ICO", "PCX"])
def test_formats_off_the_list(encode: Encode, file_format: str) -> None:
    data = encode(_noise(32, 32), file_format)
    Image.open(BytesIO(data))  # Pillow would read it
    assert "is not in a format that is read here" in _refusal(data)


def test_empty(tmp_path: Path) -> None:
    assert _refusal(b"") == "image is empty"
    assert _refusal(BytesIO()) == "image is empty"
    (tmp_path / "a.png").touch()
    assert _refusal(tmp_path / "a.png") == f"{tmp_path}/a.png is empty"


@pytest.mark.parametrize(("file_format", "options"), _FORMATS)
@pytest.mark.parametrize("kept", [0.4, 0.8])
def test_truncated(encode: Encode, file_format: str, options: dict[str, Any], kept: float) -> None:
    data = encode(_noise(64, 64), file_format, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of a TIFF directory that is cut off, and goes on
        assert _refusal(data[: int(len(data) * kept)]).startswith("image ")


def test_damaged(encode: Encode) -> None:
    data = bytearray(encode(_noise(), "PNG"))
    data[50] ^= 0xFF
    assert "cannot be read (broken" in _refusal(bytes(data))


def test_paths(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert _refusal(tmp_path / "missing.png") == f"{tmp_path}/missing.png cannot be read (No such file or directory)"
    assert _refusal(str(tmp_path)) == f"{tmp_path} cannot be read (Is a directory)"
    assert "Not a directory" in _refusal(tmp_path / "file" / "a.png")
    assert _refusal("a\nb\0.png") == "'a\\nb\\x00.png' cannot be read (embedded null byte)"
    assert _refusal(tmp_path / "file") == f"{tmp_path}/file is not in a format that is read here"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux")
def test_a_file_that_opens_and_cannot_be_read() -> None:
    assert _refusal("/proc/self/mem") == "/proc/self/mem cannot be read (Input/output error)"


def test_an_open_file_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"hello")
    with (tmp_path / "a.png").open("rb") as file:
        assert _refusal(file).startswith(f"{tmp_path}/a.png ")
    assert "closed file" in _refusal(file)


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)])
def test_declared_size_is_checked_before_decoding(width: int, height: int) -> None:
    # it holds no pixels at all, so decoding would say otherwise
    assert _refusal(_png(width, height)) == f"image declares more pixels than the limit of {2**28}"


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0)])
def test_no_pixels(width: int, height: int) -> None:
    assert _refusal(_png(width, height)) == "image is not in a format that is read here"
    with pytest.raises(InputError, match=f"image has {width} × {height} pixels; accepted: "):
        image_tensor(Image.new("I;16", (width, height)))


@pytest.mark.parametrize(("file_format", "options"), _FORMATS)
def test_max_pixels_is_the_limit(
    encode: Encode, monkeypatch: pytest.MonkeyPatch, file_format: str, options: dict[str, Any]
) -> None:
    data = encode(_noise(5, 7), file_format, **options)
    for pillows in (1, 30, 10**6):  # where Pillow alone would raise, would warn, and would do neither
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows)
        assert read_image(data, max_pixels=35).shape == (1, 3, 5, 7)
        for limit in (34, 33, 17, 1):
            assert f"than the limit of {limit}" in _refusal(data, max_pixels=limit)
        assert pillows == Image.MAX_IMAGE_PIXELS


def test_webp_canvas_is_checked_before_it_is_reserved() -> None:
    side = (20_000 - 1).to_bytes(3, "little")  # 20000 × 20000: 1.5 GiB of canvas
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + side + side
    data = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    assert _refusal(data) == f"image declares more pixels than the limit of {2**28}"


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (Image.new("I", (2, 1), 65536), "from 65536 to 65536, not within 0..65535"),
        (Image.new("I", (2, 1), -1), "from -1 to -1, not within 0..65535"),
        (Image.new("F", (2, 1), 1.5), "from 1.5 to 1.5, not within 0..1"),
        (Image.new("F", (2, 1), float("nan")), "from nan to nan, not within 0..1"),
    ],
)
def test_numbers_out_of_range(encode: Encode, image: Image.Image, problem: str) -> None:
    assert _refusal(encode(image, "TIFF")) == f"image has grey values {problem}"
    with pytest.raises(InputError, match="accepted: a PIL image"):
        image_tensor(image)


def test_a_mode_without_conversion() -> None:
    with pytest.raises(InputError, match=r"image cannot be read .*La to.*; accepted: a PIL image"):
        image_tensor(Image.new("La", (2, 2)))


def test_a_pil_image_that_is_truncated(encode: Encode) -> None:
    opened = Image.open(BytesIO(encode(_noise(64, 64), "PNG")[:2000]))
    with pytest.raises(InputError, match="image cannot be read"):
        image_tensor(opened)


@settings(deadline=None)
@given(st.data())
def test_damage_is_refused_or_read(encode: Encode, data: st.DataObject) -> None:
    file_format, options = data.draw(st.sampled_from([entry for entry in _FORMATS if entry[0] != "TIFF"]))
    file = bytearray(encode(_noise(), file_format, **options))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(file) - 1), st.integers(0, 255)), max_size=4)):
        file[place] = value
    cut = data.draw(st.integers(0, len(file)))
    try:
        tensor = read_image(bytes(file[:cut]), max_pixels=10_000)
    except InputError as error:
        assert str(error).isprintable()
    else:
        assert tensor.shape[:2] == (1, 3) and tensor.min() >= 0 and tensor.max() <= 1


# ---- writing


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tif", ".tiff", ".ppm"])
def test_write_and_read_back(tmp_path: Path, suffix: str) -> None:
    image = _noise()
    write_image(tmp_path / f"out{suffix}", image)
    assert torch.equal(read_image(tmp_path / f"out{suffix}"), _expected(image))


@pytest.mark.parametrize(
    ("suffix", "file_format"), [(".jpg", "JPEG"), (".jpeg", "JPEG"), (".webp", "WEBP"), (".gif", "GIF")]
)
def test_write_with_loss(tmp_path: Path, suffix: str, file_format: str) -> None:
    image = Image.linear_gradient("L").resize((32, 24)).convert("RGB")
    write_image(str(tmp_path / f"out{suffix}"), image)
    with Image.open(tmp_path / f"out{suffix}") as written:
        assert written.format == file_format
    assert (read_image(tmp_path / f"out{suffix}") - _expected(image)).abs().max() < 0.03


@pytest.mark.parametrize(
    ("name", "image", "problem"),
    [
        ("out.xyz", _RGB, "has the suffix '.xyz', which is no image format"),
        ("out.pdf", _RGB, "has the suffix '.pdf', which is no image format"),
        ("out", _RGB, "has no suffix"),
        ("out.jpg", Image.new("RGBA", (2, 2)), "cannot be written (cannot write mode RGBA as JPEG)"),
        ("out.webp", Image.new("RGB", (16_384, 1)), "cannot be written ("),
        ("no/out.png", _RGB, "is in the folder "),
    ],
)
def test_refused_writes(tmp_path: Path, name: str, image: Image.Image, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        write_image(tmp_path / name, image)
    assert f"{tmp_path}/{name} {problem}" in str(caught.value)
    assert "\n" not in str(caught.value) and "; accepted: " in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_s_images_are_those_that_belong_to_no_other(tmp_path: Path) -> None:
    images = [
        "a.jpg",
        "b.depth.PNG",
        "c.v2.png",
        "d.e.tif",
        "f.JPEG",
        "f.1.2.png",
        "below/a.labels.png",
        "below/g.webp",
    ]
    maps = ["a.labels.png", "a.depth.jpg", "d.e.segments.png", "f.labels.gif", "below/g.labels.png"]
    for name in (*images, *maps, "notes.txt", "a.txt", "folder.png/h.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    here = [tmp_path / name for name in sorted(images) if "/" not in name]
    assert find_images(tmp_path) == here
    assert find_images(str(tmp_path), below=True) == sorted(
        [*map(tmp_path.joinpath, images), tmp_path / "folder.png/h.png"]
    )


def test_alpha_is_read_beside_the_picture(tmp_path):
    path = tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    assert torch.equal(read_alpha(path)[0, 0], torch.from_numpy(pixels[..., 3] / 255).float())
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(path)
    assert read_alpha(path) is None
    Image.fromarray(pixels[..., :3]).save(path)
    assert read_alpha(path) is None
    grey = np.arange(35, dtype=np.uint16).reshape(5, 7) * 1000
    Image.fromarray(grey).save(path, transparency=3000)
    assert torch.equal(read_alpha(path)[0, 0], torch.from_numpy(grey != 3000).float())
