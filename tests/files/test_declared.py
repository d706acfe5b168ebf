"""Files that declare other than they hold are refused before memory is taken for it; found by tests/fuzzing."""

import struct
import time
from collections.abc import Callable

import pytest
import torch
from PIL import Image

from omniup.errors import InputError
from omniup.files import read_guidance, read_image, read_labels, read_signal, read_stored
from omniup.restoration.degradation import Degradation
from support.small_files import png, png_chunks, small_files

FILES = small_files()
SIDE = 16_000  # below the limit of an image's pixels
IMAGE_READERS = (read_image, read_guidance, read_signal, read_labels)

_TAGS = {"width": 256, "height": 257}


def _tagged(tiff: bytes, **numbers: int) -> bytes:
    """Overwrite numbers of the first page of a TIFF: `_tagged(tiff, width=7)`."""
    is_big = tiff[2] == 43  # of 64 bits
    (place,) = struct.unpack_from("<Q", tiff, 8) if is_big else struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<Q" if is_big else "<H", tiff, place)
    first, step, value = (place + 8, 20, 12) if is_big else (place + 2, 12, 8)
    changed, left = bytearray(tiff), {_TAGS[name]: number for name, number in numbers.items()}
    for entry in range(first, first + count * step, step):
        tag, kind = struct.unpack_from("<HH", tiff, entry)
        if tag in left:
            struct.pack_into({3: "<H", 4: "<I", 16: "<Q"}[kind], changed, entry + value, left.pop(tag))
    assert not left
    return bytes(changed)


def _png_header(content: bytes, width: int, height: int) -> bytes:
    (kind, header), *chunks = png_chunks(content)
    return png([(kind, struct.pack(">II", width, height) + header[8:]), *chunks])


def _refusals(content: bytes) -> list[str]:
    refusals = []
    for read in IMAGE_READERS:
        with pytest.raises(InputError) as caught:
            read(content)
        refusals.append(str(caught.value))
    return refusals


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("png") and name != "png-animated"])
def test_a_png_of_more_pixels_than_its_bytes_can_hold(name):
    for said in _refusals(_png_header(FILES[name], SIDE, SIDE)):
        assert f"is truncated: it declares {SIDE} × {SIDE} pixels and holds " in said


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("tiff")])
def test_a_tiff_of_more_pixels_than_its_bytes_can_hold(name):
    for said in _refusals(_tagged(FILES[name], width=SIDE, height=SIDE)):
        assert f"is truncated: it declares {SIDE} × {SIDE} pixels and holds " in said


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("tiff")])
@pytest.mark.parametrize("side", ["width", "height"])
def test_a_tiff_without_pixels(name, side):
    """Neither a traceback nor an empty tensor."""
    _refusals(_tagged(FILES[name], **{side: 0}))


def test_an_even_picture_needs_few_bytes(encode: Callable[..., bytes]):
    """The densest real files are read: deflate, LZW, PackBits and faxes of one colour."""
    blank = Image.new("1", (2048, 2048))
    for format, options in [
        ("PNG", {}),
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        *(("TIFF", {"compression": name}) for name in ("group4", "tiff_lzw", "tiff_adobe_deflate", "packbits")),
    ]:
        content = encode(blank.convert("RGB") if format == "WEBP" else blank, format, **options)
        assert read_image(content).shape == (1, 3, 2048, 2048), format


def test_a_deflated_page_at_the_limit(encode: Callable[..., bytes]):
    """A blank mask of 1 bit a pixel, which deflate packs as well as it can, is larger than what is refused."""
    content = encode(Image.new("1", (8192, 8192)), "PNG", compress_level=9)
    assert 8192 * 8192 / len(content) > 8000  # near the bound, 8256
    assert read_stored(content).numbers.shape == (8192, 8192)


@pytest.mark.parametrize("frames", [2**18, 2**31 - 1])
def test_an_animation_of_more_frames_than_there_are(frames):
    chunks = [
        (kind, struct.pack(">I", frames) + data[4:] if kind == b"acTL" else data)
        for kind, data in png_chunks(FILES["png-animated"])
    ]
    began = time.process_time()
    with pytest.raises(InputError):
        read_signal(png(chunks))
    assert read_image(png(chunks)).shape == (1, 3, 16, 24)
    assert time.process_time() - began < 2


# ---- settings


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a: &a {x: 1}\nb: {<<: [*a, *a]}", "merge keys, <<, are not read here"),
        (f"pool_size: 0x{'f' * 6000}", "whole numbers of more than 64 bits are not read here"),
        (f"pool_size: 1{':59' * 6000}", "whole numbers of more than 64 bits are not read here"),
        ("#" * 2**16 + "\n", "is larger than 65536 bytes"),
        ("[" * 2**16, "more than 20 brackets within each other are not read here"),
        ("a: " + "{a: " * 2**13, "more than 20 brackets within each other are not read here"),
        ("- " * 2**15, "cannot be read"),
    ],
)
def test_settings_that_take_time_or_cannot_be_printed(content, problem):
    began = time.process_time()
    with pytest.raises(InputError, match=problem):
        Degradation.read(content.encode())
    assert time.process_time() - began < 2


def test_numbers_of_settings_are_read_as_before():
    assert Degradation.read(b"pool_size: 0x20").pool_size == 32
    assert torch.tensor(Degradation.read(b"stage2_scale: 3.5").stage2_scale) == 3.5
