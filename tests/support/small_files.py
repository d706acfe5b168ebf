"""Small valid files of every format that is read, for tests that corrupt them."""

import io
import json
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import save

from omniup.files import write_tensors
from oracles.run_lengths import compressed, runs_of
from support.kernels import PAPER, random_kernels

imagecodecs, OpenEXR, pillow_heif = (
    pytest.importorskip(name, reason="a file of each format is written")
    for name in ("imagecodecs", "OpenEXR", "pillow_heif")
)

EXAMPLES = Path(__file__).parents[2] / "examples"
HEIGHT, WIDTH, GRID = 16, 24, (4, 6)

_numbers = np.random.default_rng(0)
_COLOUR = _numbers.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
_DEPTH = _numbers.integers(0, 65536, GRID, dtype=np.uint16)
_FEATURES = _numbers.standard_normal((5, *GRID)).astype(np.float32)


def small_files() -> dict[str, bytes]:
    """Make a file of each format and variant, by name."""
    return {**_pictures(), **_measurements(), **_arrays(), **_tensors(), **_yaml()}


def npz(content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Pack the bytes of an .npy file into an archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("signal.npy", content)
    return file.getvalue()


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Split a PNG file into its chunks, kind and data, as far as their lengths make sense."""
    chunks, place = [], 8
    while place + 12 <= len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        if length > len(content) - place - 12:
            break
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Join chunks to a PNG file with right lengths and checksums."""
    joined = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(joined)


def _pictures() -> dict[str, bytes]:
    colour = Image.fromarray(_COLOUR[..., :3])
    alpha = Image.fromarray(_COLOUR)
    grey, palette, bits = colour.convert("L"), colour.quantize(7), colour.convert("1")
    frames = {"save_all": True, "append_images": [colour.rotate(180), colour.rotate(90)], "duration": 50}
    turned = Image.Exif()
    turned[0x0112] = 6
    pillow_heif.register_heif_opener()
    deep = _COLOUR.astype(">u2") * 257
    return {
        "png-rgb": _encoded(colour, "PNG", exif=turned),
        "png-rgba": _encoded(alpha, "PNG"),
        "png-grey": _encoded(grey, "PNG"),
        "png-grey-alpha": _encoded(alpha.convert("LA"), "PNG"),
        "png-1-bit": _encoded(bits, "PNG"),
        "png-palette": _encoded(palette, "PNG", transparency=2),
        "png-grey-16": _encoded(Image.fromarray(_DEPTH), "PNG"),
        "png-rgb-16": _png_16(deep[..., :3], 2),
        "png-grey-alpha-16": _png_16(deep[..., :2], 4),
        "png-animated": _encoded(colour, "PNG", **frames),
        "jpeg": _encoded(colour, "JPEG", exif=turned),
        "jpeg-grey": _encoded(grey, "JPEG"),
        "jpeg-cmyk": _encoded(colour.convert("CMYK"), "JPEG"),
        "jpeg-progressive": _encoded(colour, "JPEG", progressive=True),
        "gif": _encoded(palette, "GIF"),
        "gif-animated": _encoded(colour, "GIF", **frames),
        "bmp": _encoded(colour, "BMP"),
        "bmp-palette": _encoded(palette, "BMP"),
        "webp": _encoded(colour, "WEBP"),
        "webp-lossless": _encoded(alpha, "WEBP", lossless=True),
        "webp-animated": _encoded(colour, "WEBP", **frames),
        "ppm": _encoded(colour, "PPM"),
        "ppm-16": b"P6 %d %d 65535\n" % (WIDTH, HEIGHT) + deep[..., :3].tobytes(),
        "ppm-10-text": b"P3 %d %d 1023\n" % (WIDTH, HEIGHT) + b" ".join(b"%d" % number for number in _COLOUR.flat),
        "pgm-16": _encoded(Image.fromarray(_DEPTH.astype(np.int32)), "PPM"),
        "pbm": _encoded(bits, "PPM"),
        "pgm-text": b"P2\n6 4\n255\n" + b" ".join(b"%d" % (number % 256) for number in _DEPTH.flat),
        "pfm": _encoded(Image.fromarray(_FEATURES[0]), "PPM"),
        "heic": _encoded(colour, "HEIF"),
        "avif": _encoded(colour, "AVIF"),
    }


def _measurements() -> dict[str, bytes]:
    colour = Image.fromarray(_COLOUR[..., :3])
    return {
        "tiff": _encoded(colour, "TIFF"),
        "tiff-lzw": _encoded(colour, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": _encoded(colour, "TIFF", compression="jpeg"),
        "tiff-fax": _encoded(colour.convert("1"), "TIFF", compression="group4"),
        "tiff-palette": _encoded(colour.quantize(7), "TIFF"),
        "tiff-float": _encoded(Image.fromarray(_FEATURES[0]), "TIFF"),
        "tiff-pages": _encoded(
            Image.fromarray(_DEPTH), "TIFF", save_all=True, append_images=[Image.fromarray(_DEPTH[::-1])]
        ),
        "tiff-rgb-16": _tiff(_COLOUR[..., :3].astype(np.uint16) * 257, photometric="rgb", compression="zlib"),
        "tiff-bands": _tiff(_FEATURES, photometric="minisblack", planarconfig="separate"),
        "tiff-tiles": _tiff(_COLOUR[..., :3], photometric="rgb", tile=(16, 16)),
        "tiff-big": _tiff(_FEATURES[0], bigtiff=True),
        "tiff-nodata": _tiff(_DEPTH, extratags=[(42113, "s", 0, "-9999", True)]),
        "hdr": imagecodecs.rgbe_encode(np.abs(_FEATURES[:3].transpose(1, 2, 0)).copy(), header=True),
        "exr": _exr({"RGB": np.abs(_FEATURES[:3].transpose(1, 2, 0)).copy()}),
        "exr-bands": _exr({"Y": _FEATURES[0].copy(), "Z": _FEATURES[1].copy()}),
    }


def _arrays() -> dict[str, bytes]:
    features, labels, second = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(features, _FEATURES)
    np.save(labels, _DEPTH.astype(np.int64) % 5)
    np.lib.format.write_array(second, _FEATURES, version=(2, 0))
    mask = _DEPTH % 2 == 0
    masks = [{"size": [*GRID], "counts": compressed(runs_of(mask))}, {"size": [*GRID], "counts": runs_of(~mask)}]
    return {
        "json": json.dumps(masks).encode(),
        "npy": features.getvalue(),
        "npy-labels": labels.getvalue(),
        "npy-2": second.getvalue(),
        "npz": npz(features.getvalue()),
        "npz-stored": npz(labels.getvalue(), zipfile.ZIP_STORED),
    }


def _tensors() -> dict[str, bytes]:
    pickled = io.BytesIO()
    torch.save({"layer.weight": torch.from_numpy(_FEATURES)}, pickled)
    with tempfile.TemporaryDirectory() as folder:
        kernels, weights = Path(folder, "kernels.safetensors"), Path(folder, "weights.safetensors")
        random_kernels((HEIGHT, WIDTH), GRID, PAPER).save(kernels)
        write_tensors(weights, {"layer.weight": torch.from_numpy(_FEATURES)}, {"format": "weights"})
        return {
            "safetensors": save({"signal": torch.from_numpy(_FEATURES)}),
            "weights": weights.read_bytes(),
            "kernels": kernels.read_bytes(),
            "pth": pickled.getvalue(),
        }


def _yaml() -> dict[str, bytes]:
    names = ("anyup_tiny", "hypir_tiny", "degradation")
    return {f"yaml-{name}": (EXAMPLES / f"{name}.yaml").read_bytes() for name in names}


def _encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _png_16(numbers: np.ndarray, colour_type: int) -> bytes:
    header = struct.pack(">IIBBBBB", *numbers.shape[1::-1], 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in numbers)
    return png([(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def _tiff(numbers: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, numbers, **options)
    return file.getvalue()


def _exr(channels: dict[str, np.ndarray]) -> bytes:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    return _written(".exr", lambda path: OpenEXR.File(header, channels).write(str(path)))


def _written(suffix: str, write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"file{suffix}")
        write(path)
        return path.read_bytes()
