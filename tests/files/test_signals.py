"""Signals and label maps come out with the numbers that were stored, or are refused in one line."""

import io
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from omniup.errors import InputError
from omniup.files import image_tensor, read_labels, read_signal, read_stored, write_signal

Encode = Callable[..., bytes]


def _npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def _npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _npy_claim(shape: tuple[int, ...], descr: str = "<f4", data: bytes = b"") -> bytes:
    """An .npy file whose header says what it likes."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def _zip(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return file.getvalue()


def _png(depth: int, colour: int, row: bytes) -> bytes:
    """A PNG of one pixel, of the kinds that Pillow does not write."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, depth, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" + row)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _palette() -> Image.Image:
    image = Image.frombytes("P", (3, 2), bytes([0, 1, 2, 2, 1, 0]))
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    return image


def _refusal(source: Any, read: Callable[..., Any] = read_signal, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(source, **options)
    problem, _, accepted = str(caught.value).partition("; accepted: ")
    assert problem.isprintable() and accepted.isprintable()
    accepted = accepted.removesuffix("; masks as COCO's run lengths, .json")
    assert accepted.endswith("as .npy, .npz, .safetensors or an image (PNG, JPEG, WEBP, BMP, TIFF, GIF, PPM)")
    return problem


# ---- arrays


def test_ranks() -> None:
    array = np.arange(24, dtype=np.float32)
    for shape, expected in {
        (4, 6): (1, 1, 4, 6),
        (2, 3, 4): (1, 2, 3, 4),
        (2, 1, 3, 4): (2, 1, 3, 4),
        (1, 24): (1, 1, 1, 24),
    }.items():
        signal = read_signal(_npy(array.reshape(shape)))
        assert signal.shape == expected
        assert torch.equal(signal.flatten(), torch.from_numpy(array))


@pytest.mark.parametrize("shape", [(), (5,), (1, 1, 1, 2, 3), (0, 3), (2, 3, 0), (1, 0, 4, 4)])
def test_other_ranks_and_empty_sides(shape: tuple[int, ...]) -> None:
    assert _refusal(_npy(np.zeros(shape))) == f"signal has the shape {list(shape)}"


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
def test_floats_are_kept(dtype: str) -> None:
    array = np.array([[0.5, -2], [3, 4]], dtype)
    signal = read_signal(_npy(array))
    assert signal.dtype == {"2": torch.float16, "4": torch.float32, "8": torch.float64}[dtype[-1]]
    assert signal[0, 0].tolist() == array.tolist()


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "<i2", ">i2", "<u2", ">u2", "<i4", "<u4", "<i8", "<u8", ">u8"])
def test_integers_become_float32(dtype: str) -> None:
    array = np.array([[0, 1], [1, 0]], dtype)
    signal = read_signal(_npy(array))
    assert signal.dtype == torch.float32 and signal[0, 0].tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_safetensors_floats_are_kept(dtype: torch.dtype) -> None:
    tensor = torch.linspace(-1, 1, 24).reshape(2, 3, 4).to(dtype)
    signal = read_signal(save({"only": tensor}, {"some": "metadata"}))
    assert signal.dtype == dtype and torch.equal(signal, tensor[None])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.uint16, torch.int64])
def test_safetensors_integers_become_float32(dtype: torch.dtype) -> None:
    signal = read_signal(save({"only": torch.tensor([[0, 1]]).to(dtype)}))
    assert signal.dtype == torch.float32 and signal.tolist() == [[[[0, 1]]]]


def test_fortran_order_and_header_versions() -> None:
    array = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    signal = read_signal(_npy(array))
    assert signal.is_contiguous() and torch.equal(signal[0], torch.arange(24.0, dtype=torch.float64).reshape(2, 3, 4))
    for version in ((2, 0), (3, 0)):
        file = io.BytesIO()
        np.lib.format.write_array(file, array, version=version)
        assert torch.equal(read_signal(file), signal)


def test_archives() -> None:
    one, two = np.full((2, 3), 1.0), np.full((4, 5), 2.0)
    both = {"npz": _npz(one=one, two=two), "safetensors": save({"one": torch.tensor(one), "two": torch.tensor(two)})}
    for data in both.values():
        assert read_signal(data, name="two").shape == (1, 1, 4, 5)
        assert read_signal(data, name="one").unique().tolist() == [1]
        assert _refusal(data) == "signal holds 2 arrays, so name one of 'one', 'two'"
        assert _refusal(data, name="six") == "signal holds no array called 'six', only 'one', 'two'"
    for data in (_npz(one=one), save({"one": torch.tensor(one)})):
        assert read_signal(data).shape == read_signal(data, name="one").shape == (1, 1, 2, 3)
        assert _refusal(data, name="") == "signal holds no array called '', only 'one'"
    assert "has none called 'x'" in _refusal(_npy(one), name="x")
    many = {f"a{index:02}": one for index in range(25)}
    assert _refusal(_npz(**many)).endswith("'a18', 'a19', …")


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "signal.png"
    path.write_bytes(_npy(np.ones((2, 3))))
    assert read_signal(path).shape == read_signal(str(path)).shape == (1, 1, 2, 3)
    with path.open("rb") as file:
        file.seek(7)
        assert read_signal(file).shape == (1, 1, 2, 3)
        assert not file.closed


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors", "png"])
def test_pipe(encode: Encode, kind: str) -> None:
    ones = np.ones((2, 3), dtype=np.uint8)
    data = {
        "npy": _npy(ones),
        "npz": _npz(a=ones),
        "safetensors": save({"a": torch.tensor(ones)}),
        "png": encode(Image.fromarray(ones), "PNG"),
    }[kind]

    def piped(**options: Any) -> Tensor:
        receiver, sender = os.pipe()
        with open(receiver, "rb") as source:  # noqa: PTH123 (a descriptor)
            with open(sender, "wb") as file:  # noqa: PTH123
                file.write(data)
            return read_signal(source, **options)

    assert torch.equal(piped(), torch.ones(1, 1, 2, 3))
    with pytest.raises(InputError, match=f"signal gives more than {len(data) - 1} bytes"):
        piped(max_bytes=len(data) - 1)


@settings(deadline=None)
@given(
    st_numpy.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        st_numpy.array_shapes(min_dims=4, max_dims=4, max_side=4),
        elements=st.floats(-1000, 1000, width=16),
    ),
    st.sampled_from(["npy", "npz", "safetensors"]),
)
def test_round_trip(array: np.ndarray, file_format: str) -> None:
    signal, file = torch.from_numpy(array), io.BytesIO()
    write_signal(file, signal, format=file_format)
    read = read_signal(file)
    assert read.dtype == signal.dtype and torch.equal(read, signal)


# ---- refused arrays


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    trap = np.array([[_Trap(sprung)]], dtype=object)
    for data in (_npy(trap, allow_pickle=True), _zip(a__npy=_npy(trap, allow_pickle=True))):
        assert _refusal(data) == "signal holds Python objects, which are never unpickled here"
    assert "is a pickle" in _refusal(pickle.dumps(_Trap(sprung)))
    assert not sprung.exists()
    np.load(io.BytesIO(_npy(trap, allow_pickle=True)), allow_pickle=True)
    assert sprung.exists()  # the trap works


def test_pytorch_checkpoint() -> None:
    file = io.BytesIO()
    torch.save({"a": torch.ones(2, 3)}, file)
    old = io.BytesIO()
    torch.save({"a": torch.ones(2, 3)}, old, _use_new_zipfile_serialization=False)
    for checkpoint in (file, old):
        problem = _refusal(checkpoint)
        assert problem.startswith("signal is a pickle, as torch.save writes it")
        assert "numpy.save(path, tensor.numpy())" in problem
    assert _refusal(_zip()) == "signal holds no arrays"
    assert _refusal(save({})) == "signal holds no arrays"


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.zeros((2, 2), np.complex64), "complex64"),
        (np.zeros((2, 2), "U3"), "<U3"),
        (np.zeros((2, 2), "datetime64[s]"), "datetime64[s]"),
        (np.zeros((2, 2), [("a", "f4")]), "[('a', '<f4')]"),
        (np.zeros((2, 2), "V2"), "|V2"),  # what a bfloat16 from elsewhere looks like
    ],
)
def test_types_without_numbers(array: np.ndarray, named: str) -> None:
    assert _refusal(_npy(array)) == f"signal holds numbers of type {named}"


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is float64 there")
def test_long_double() -> None:
    assert "holds numbers of type float" in _refusal(_npy(np.zeros((2, 2), np.longdouble)))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn])
def test_types_of_safetensors(dtype: torch.dtype) -> None:
    assert _refusal(save({"a": torch.zeros(2, 2).to(dtype)})) == f"signal holds numbers of type {dtype}"


def test_declared_size_is_checked_before_allocation() -> None:
    assert _refusal(_npy_claim((10**5, 10**5, 10**5))) == (
        f"signal declares {4 * 10**15} bytes, more than the limit of {2**32}"
    )
    assert "declares" in _refusal(_npy_claim((2**62, 2**62)))
    assert _refusal(_npy_claim((10, 10), data=bytes(399))) == (
        "signal is truncated: it declares 400 bytes of numbers and holds 399"
    )
    assert _refusal(_npy_claim((-1, 5), data=bytes(20))) == "signal declares the shape [-1, 5]"
    data = _npy(np.zeros((10, 10), np.float32))
    assert read_signal(data, max_bytes=400).shape == (1, 1, 10, 10)
    assert _refusal(data, max_bytes=399) == "signal declares 400 bytes, more than the limit of 399"


def test_zip_bombs() -> None:
    bomb = _npz(a=np.zeros((1000, 1000)))
    assert len(bomb) < 10_000
    assert _refusal(bomb, max_bytes=10**6) == "signal declares 8000000 bytes, more than the limit of 1000000"
    assert "it declares 400 bytes of numbers and holds 396" in _refusal(
        _zip(a__npy=_npy_claim((10, 10), data=bytes(396)))
    )
    assert "more than the limit" in _refusal(_zip(a__npy=_npy_claim((10**9, 10**9))))
    # an archive that understates what is packed in it: no more than it states is ever unpacked
    honest = _zip(a__npy=_npy(np.zeros((100, 100))))
    size = struct.pack("<I", zipfile.ZipFile(io.BytesIO(honest)).infolist()[0].file_size)
    assert honest.count(size) == 2
    assert "Bad CRC-32" in _refusal(honest.replace(size, struct.pack("<I", 100)))


def test_damaged_archives() -> None:
    data = bytearray(_npz(a=np.random.default_rng(0).random((50, 50))))
    assert "cannot be read (File is not a zip file)" in _refusal(bytes(data[: len(data) // 2]))
    data[len(data) // 2] ^= 0xFF
    assert _refusal(bytes(data)).startswith("signal cannot be read (")
    assert _refusal(_zip(a__npy=b"hello")).startswith("signal cannot be read (")
    for cut in (8, 20, 100):
        assert _refusal(_npy(np.ones((2, 3)))[:cut]).startswith("signal cannot be read (")


def test_safetensors_that_lie() -> None:
    data = save({"a": torch.ones(10, 10)})
    length = struct.unpack("<Q", data[:8])[0]
    for damaged in (
        data[:-1],
        data[:50],
        struct.pack("<Q", length + 1) + data[8:],
        struct.pack("<Q", 2**47) + data[8:],
        data.replace(b"[10,10]", b"[99,99]"),
        data.replace(b"[0,400]", b"[0,999]"),
        data.replace(b"[0,400]", b"[-4,396]"),
        data.replace(b"[0,400]", b"[400,0]"),
    ):
        assert _refusal(damaged).startswith("signal cannot be read (")
    assert _refusal(data, max_bytes=100) == "signal declares 400 bytes, more than the limit of 100"


def test_of_several_tensors_only_the_one_asked_for_is_read() -> None:
    tensors = {"a": torch.rand(50, 60), "b": torch.rand(3, 4, 5).bfloat16(), "c": torch.rand(2, 2)}
    data = save(tensors, {"made": "here"})
    for name, tensor in tensors.items():
        assert torch.equal(read_signal(data, name=name).reshape(tensor.shape), tensor)
    shapes: list[tuple[int, ...]] = []
    read_stored(data, name="b", check_shape=lambda shape, form: shapes.append(shape), max_bytes=120)
    assert shapes == [(3, 4, 5)]


def test_non_finite_values() -> None:
    array = np.zeros((2, 3, 4))
    array[1, 0, 2], array[1, 2, 3] = np.nan, np.inf
    assert _refusal(_npy(array)) == "signal has 2 numbers that are not finite, the first (nan) at [1, 0, 2]"
    tensor = torch.ones(2, 2, dtype=torch.bfloat16)
    tensor[1, 0] = -torch.inf
    assert _refusal(save({"a": tensor})) == "signal has 1 numbers that are not finite, the first (-inf) at [1, 0]"


def test_a_message_of_several_lines_becomes_one() -> None:
    claim = {"descr": "<f4", "fortran_order": False, "shape": (1,) * 20_000}
    file = io.BytesIO()
    np.lib.format.write_array_header_2_0(file, claim)
    assert "is large and may not be safe to load securely. To allow loading" in _refusal(file)


def test_paths_and_content(tmp_path: Path) -> None:
    path = tmp_path / "s.npy"
    assert _refusal(path) == f"{path} cannot be read (No such file or directory)"
    assert _refusal(tmp_path) == f"{tmp_path} cannot be read (Is a directory)"
    path.touch()
    assert _refusal(path) == f"{path} is empty"
    path.write_text("1 2 3")
    assert _refusal(path) == f"{path} is not in a format that is read here"
    assert _refusal(b"1,2,3") == "signal is not in a format that is read here"


@settings(deadline=None)
@given(st.data())
def test_damage_is_refused_or_read(data: st.DataObject) -> None:
    ones = np.ones((2, 3))
    file = bytearray(data.draw(st.sampled_from([_npy(ones), _npz(a=ones), save({"a": torch.tensor(ones)})])))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(file) - 1), st.integers(0, 255)), max_size=4)):
        file[place] = value
    cut = data.draw(st.integers(0, len(file)))
    for read, dtype in ((read_signal, None), (read_labels, torch.int64)):
        try:
            read_back = read(bytes(file[:cut]), max_bytes=10_000)
        except InputError as error:
            assert str(error).isprintable()
        else:
            assert dtype is None or read_back.dtype == dtype


# ---- images as signals


def test_8_bit_images_keep_their_numbers(encode: Encode) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    for file_format in ("PNG", "TIFF", "BMP", "PPM"):
        signal = read_signal(encode(Image.fromarray(pixels), file_format))
        assert signal.dtype == torch.float32 and signal.is_contiguous()
        assert torch.equal(signal[0], torch.from_numpy(pixels).permute(2, 0, 1).float())
        signal = read_signal(encode(Image.fromarray(pixels[..., 0]), file_format))
        assert torch.equal(signal[0, 0], torch.from_numpy(pixels[..., 0]).float())


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_a_depth_image_keeps_its_millimetres(encode: Encode, file_format: str) -> None:
    millimetres = np.array([[0, 1, 1234], [40_000, 65_534, 65_535]], dtype=np.uint16)
    signal = read_signal(encode(Image.fromarray(millimetres), file_format))
    assert signal.dtype == torch.float32 and signal[0, 0].tolist() == millimetres.tolist()


def test_a_depth_image_of_the_other_byte_order(encode: Encode) -> None:
    data = encode(Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 1, 1234)), "TIFF")
    assert data.startswith(b"MM")
    assert read_signal(data)[0, 0].tolist() == read_labels(data)[0].tolist() == [[1, 1234]]


def test_other_images(encode: Encode) -> None:
    assert read_signal(encode(_palette(), "PNG"))[0, 0].tolist() == [[0, 1, 2], [2, 1, 0]]
    assert read_signal(encode(_palette(), "PNG", transparency=1))[0, 0].tolist() == [[0, 1, 2], [2, 1, 0]]
    assert read_signal(
        encode(_palette().convert("L").point(lambda v: 255 * (v > 0)).convert("1"), "PNG")
    ).unique().tolist() == [0, 1]
    metres = np.array([[0.25, -3], [1e6, 0]], dtype=np.float32)
    assert read_signal(encode(Image.fromarray(metres), "TIFF"))[0, 0].tolist() == metres.tolist()
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_signal(encode(_palette(), "PNG", exif=exif))[0, 0].tolist() == [[2, 0], [1, 1], [0, 2]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "CMYK"])
def test_image_modes_without_raw_numbers(encode: Encode, mode: str) -> None:
    data = encode(Image.new(mode, (2, 2)), "TIFF")
    assert _refusal(data) == f"signal is an image of the mode {mode}, not grey, RGB or palette"


@pytest.mark.parametrize(
    "data",
    [
        _png(4, 0, b"\x30"),  # 4-bit grey
        _png(2, 0, b"\x40"),
        b"P5 1 1 1000\n\x01\x00",
        b"P2 1 1 7\n3",
        b"P6 1 1 1000\n" + bytes(6),
    ],
)
def test_depths_that_pillow_would_rescale(data: bytes) -> None:
    image_tensor(Image.open(io.BytesIO(data)))  # as pictures they are fine
    for read in (read_signal, read_labels):
        assert "is an image of a bit depth that Pillow rescales" in _refusal(data, read)


@pytest.mark.parametrize(
    "data", [_png(8, 0, b"\x03"), b"P5 1 1 255\n\x03", b"P2 1 1 65535\n3", b"P5 1 1 65535\n\0\x03"]
)
def test_depths_that_are_stored_as_they_are(data: bytes) -> None:
    assert read_signal(data).item() == read_labels(data).item() == 3


def test_images_have_no_names_and_a_limit(encode: Encode) -> None:
    data = encode(Image.new("L", (4, 4)), "PNG")
    assert "has none called 'x'" in _refusal(data, name="x")
    assert read_signal(data, max_bytes=16 * 12).shape == (1, 1, 4, 4)
    assert "than the limit of 15" in _refusal(data, max_bytes=16 * 12 - 1)
    assert "cannot be read" in _refusal(data[:45])


# ---- labels


def test_labels_of_images(encode: Encode) -> None:
    stored = np.array([[0, 1, 2], [2, 1, 0]])
    for image in (_palette(), *(Image.fromarray(stored.astype(dtype)) for dtype in (np.uint8, np.uint16))):
        labels = read_labels(encode(image, "PNG"))
        assert labels.dtype == torch.int64 and labels.tolist() == [stored.tolist()]
    assert read_labels(encode(Image.fromarray(stored.astype(bool)), "PNG")).tolist() == [[[0, 1, 1], [1, 1, 0]]]


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "<u2", ">i4", "<u4", "<i8", "<u8"])
def test_labels_of_arrays(dtype: str) -> None:
    stored = np.array([[0, 1, 1]], dtype)
    for shape in ((1, 3), (1, 1, 3), (1, 1, 1, 3)):
        labels = read_labels(_npy(stored.reshape(shape)))
        assert labels.dtype == torch.int64 and labels.tolist() == [[[0, 1, 1]]]


def test_labels_may_be_negative_and_large() -> None:
    stored = np.array([[-1, 2**62]])
    assert read_labels(_npy(stored)).tolist() == [stored.tolist()]
    assert read_labels(_npz(a=stored, b=stored[:, :1]), name="b").tolist() == [[[-1]]]


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_grey_that_is_stored_as_colour(encode: Encode, caplog: pytest.LogCaptureFixture, file_format: str) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (4, 5), dtype=np.uint8)
    encoded = encode(Image.fromarray(grey).convert("RGB"), file_format)
    assert np.array_equal(read_signal(encoded)[0, 0].numpy(), grey)
    assert [record.getMessage() for record in caplog.records] == [
        "signal: three equal channels, which are taken for one"
    ]
    assert np.array_equal(read_labels(encoded)[0].numpy(), grey)
    colour = np.stack([grey, grey, grey ^ 1], axis=2)
    assert read_signal(encode(Image.fromarray(colour), file_format)).shape == (1, 3, 4, 5)
    pages = [Image.fromarray(grey)] * 3
    if file_format == "TIFF":  # several signals, which may be equal
        assert read_signal(encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])).shape == (1, 3, 4, 5)


def test_refused_labels(encode: Encode) -> None:
    colour = encode(Image.new("RGB", (4, 5), "red"), "PNG")
    assert _refusal(colour, read_labels) == "labels has the shape [3, 5, 4]"
    assert _refusal(encode(Image.new("F", (4, 5)), "TIFF"), read_labels) == "labels holds numbers of type torch.float32"
    assert _refusal(_npy(np.zeros((2, 3))), read_labels) == "labels holds numbers of type torch.float64"
    for shape in ((2, 3, 4), (2, 1, 3, 4), (3,), (0, 3), (1, 1, 1, 3, 4)):
        assert _refusal(_npy(np.zeros(shape, int)), read_labels) == f"labels has the shape {list(shape)}"
    assert _refusal(b"", read_labels) == "labels is empty"
    with pytest.raises(InputError, match=r"accepted: one integer per pixel, \[h, w\], as"):
        read_labels(colour)


def test_palettes(encode: Encode) -> None:
    assert read_stored(encode(_palette(), "PNG")).palette == [0, 0, 0, 200, 0, 0, 0, 200, 0]
    zeros = np.zeros((2, 3), np.uint8)
    for image in (Image.fromarray(zeros), Image.new("RGB", (2, 2)), Image.new("I;16", (2, 2))):
        assert read_stored(encode(image, "PNG")).palette is None
    for data in (_npy(zeros), _npz(a=zeros), save({"a": torch.tensor(zeros)})):
        assert read_stored(data).palette is None


# ---- writing


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".NPY"])
def test_write_and_read_back(tmp_path: Path, suffix: str) -> None:
    signal = torch.arange(24.0).reshape(1, 2, 3, 4).requires_grad_().mT  # not contiguous, and part of a graph
    write_signal(tmp_path / f"s{suffix}", signal)
    assert torch.equal(read_signal(tmp_path / f"s{suffix}"), signal)
    assert [entry.name for entry in tmp_path.iterdir()] == [f"s{suffix}"]


def test_what_other_programs_see(tmp_path: Path) -> None:
    signal = torch.rand(1, 2, 3, 4)
    write_signal(str(tmp_path / "s.npy"), signal)
    assert np.array_equal(np.load(tmp_path / "s.npy"), signal.numpy())
    write_signal(tmp_path / "s.npz", signal)
    with np.load(tmp_path / "s.npz") as archive:
        assert archive.files == ["signal"] and np.array_equal(archive["signal"], signal.numpy())


def test_bfloat16(tmp_path: Path) -> None:
    signal = torch.rand(2, 1, 3, 4).bfloat16()
    for suffix, dtype in (("npy", torch.float32), ("npz", torch.float32), ("safetensors", torch.bfloat16)):
        write_signal(tmp_path / f"s.{suffix}", signal)
        read = read_signal(tmp_path / f"s.{suffix}")
        assert read.dtype == dtype and torch.equal(read, signal.to(dtype))


@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (3, 8), (1, 16)])
def test_png_round_trip(tmp_path: Path, channels: int, bits: int) -> None:
    signal = torch.randint(0, 2**bits, (1, channels, 4, 5)).float()
    signal[0, 0, 0, 0], signal[0, 0, 0, 1] = 0, 2**bits - 1
    write_signal(tmp_path / "s.png", signal, bits=bits)
    assert torch.equal(read_signal(tmp_path / "s.png"), signal)
    write_signal(tmp_path / "s.png", signal.double() + 0.4, bits=bits)
    assert torch.equal(read_signal(tmp_path / "s.png"), signal)
    with Image.open(tmp_path / "s.png") as image:
        assert image.mode == {(1, 8): "L", (3, 8): "RGB", (1, 16): "I;16"}[channels, bits]


@pytest.mark.parametrize(("bits", "value"), [(8, 255.6), (8, -0.6), (16, 65_535.6), (16, -1.0), (8, float("nan"))])
def test_png_out_of_range(tmp_path: Path, bits: int, value: float) -> None:
    with pytest.raises(
        InputError, match=rf"s\.png cannot hold values from .*, not within 0\.\.{2**bits - 1}; accepted: "
    ):
        write_signal(tmp_path / "s.png", torch.full((1, 1, 2, 2), value), bits=bits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("shape", "bits"), [((2, 1, 3, 4), 8), ((1, 2, 3, 4), 8), ((1, 4, 3, 4), 8), ((1, 3, 3, 4), 16), ((1, 1, 3, 4), 32)]
)
def test_png_cannot_hold(tmp_path: Path, shape: tuple[int, ...], bits: int) -> None:
    with pytest.raises(InputError) as caught:
        write_signal(tmp_path / "s.png", torch.zeros(shape), bits=bits)
    assert f"cannot hold a signal of shape {list(shape)} in {bits} bits; accepted: " in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_refused_writes(tmp_path: Path) -> None:
    signal = torch.zeros(1, 1, 2, 2)
    for name, problem in (
        ("s.jpg", "has the format 'jpg', which is unknown"),
        ("s", "has neither a suffix nor `format`"),
    ):
        with pytest.raises(InputError, match=f"{name} {problem}.*; accepted: .*npy, .npz or .safetensors"):
            write_signal(tmp_path / name, signal)
    with pytest.raises(InputError, match="signal has neither a suffix nor `format`;"):
        write_signal(io.BytesIO(), signal)
    for shape in ((2, 2), (1, 2, 2), (1, 1, 0, 2)):
        with pytest.raises(InputError, match="cannot hold a signal of shape"):
            write_signal(tmp_path / "s.npy", torch.zeros(shape))
    with pytest.raises(InputError, match=r"is in the folder .*, which does not exist"):
        write_signal(tmp_path / "no" / "s.npy", signal)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_signal_leaves_the_old_file(tmp_path: Path) -> None:
    write_signal(tmp_path / "s.png", torch.full((1, 1, 2, 2), 7.0))
    with pytest.raises(InputError):
        write_signal(tmp_path / "s.png", torch.full((1, 1, 2, 2), 700.0))
    assert read_signal(tmp_path / "s.png").unique().tolist() == [7]


@pytest.mark.parametrize("file_format", ["npy", "npz", "safetensors", "png"])
def test_write_to_a_pipe(file_format: str) -> None:
    signal = torch.arange(6.0).reshape(1, 1, 2, 3)
    receiver, sender = os.pipe()
    with open(receiver, "rb") as source:  # noqa: PTH123 (a descriptor)
        with open(sender, "wb") as file:  # noqa: PTH123
            write_signal(file, signal, format=file_format)
            assert not file.closed
        assert torch.equal(read_signal(source), signal)


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_truncated_palette_images_are_refused_by_every_reader(encode: Encode, file_format: str, kept: float) -> None:
    labels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    image = Image.fromarray(labels).convert("P")
    image.putpalette(list(range(256)) * 3)
    data = encode(image, file_format)
    truncated = data[: int(len(data) * kept)]
    for read in (read_labels, read_signal):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of a TIFF directory that is cut off, and goes on
            problem = _refusal(truncated, read)
        assert problem.startswith(("labels cannot be read (", "signal cannot be read ("))
