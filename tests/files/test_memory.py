"""Small files that declare much take little memory: their shapes are checked first, and alpha is composited in strips.

Each is read in a process of its own, whose peak of resident memory the system reports.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")

_READ = """
import sys
import torch
from omniup.errors import InputError
from omniup.files import read_alpha, read_guidance, read_image, read_labels, read_palette, read_signal, sources

def fits(shape):
    if max(shape[-2:]) > 512:
        raise InputError("signal", "is larger than the image")

def peak():  # not getrusage's, which begins at what the parent of this process had when it started it
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

sources.MEMORY = {memory}
read_image({warm!r})  # imports what decoding needs
before = peak()
try:
    {call}
except InputError as error:
    print(error, file=sys.stderr)
print(peak() - before)
"""


@pytest.fixture
def megabytes(tmp_path):
    """How far reading a file raises the peak of a process's memory: `megabytes("read_image(path)", path)`."""
    warm = tmp_path / "warm.png"
    Image.new("RGBA", (64, 64)).save(warm)

    def run(call: str, memory: int = 2**31) -> tuple[float, str]:
        code = _READ.format(warm=str(warm), call=call, memory=memory)
        made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return float(made.stdout), made.stderr

    return run


def test_an_npz_is_refused_by_its_shape(megabytes, tmp_path: Path):
    path = tmp_path / "big.npz"
    np.savez_compressed(path, signal=np.zeros((1, 16_000, 16_000), np.uint8))
    assert path.stat().st_size < 2**20
    taken, said = megabytes(f"read_signal({str(path)!r}, check_shape=fits)")
    assert "is larger than the image" in said
    assert taken < 30


def test_a_picture_as_a_signal_is_refused_by_its_shape(megabytes, tmp_path: Path):
    path = tmp_path / "big.png"
    Image.new("RGB", (4096, 4096)).save(path)
    assert path.stat().st_size < 2**20
    taken, said = megabytes(f"read_signal({str(path)!r}, check_shape=fits)")
    assert "is larger than the image" in said
    assert taken < 30


@pytest.mark.parametrize(
    ("mode", "read", "most"),
    [
        ("RGB", "read_image", 330),  # 192 MB as float32, and 48 as bytes or 64 as Pillow decodes it
        ("I;16", "read_image", 260),
        ("RGB", "read_guidance", 130),
        ("RGBA", "read_guidance", 130),
        ("LA", "read_alpha", 180),
    ],
)
def test_a_picture_takes_little_more_than_its_result(megabytes, tmp_path: Path, mode: str, read: str, most: int):
    path = tmp_path / "big.png"
    Image.new(mode, (4096, 4096)).save(path)
    taken, _ = megabytes(f"{read}({str(path)!r})")
    assert most / 3 < taken < most


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "I;16"])
def test_a_small_picture_at_the_limit_takes_2_gb_or_is_refused(megabytes, tmp_path: Path, mode: str):
    """Of 2²⁸ pixels; here of a 16th, with a 16th of the limit."""
    path = tmp_path / "big.png"
    Image.new(mode, (4096, 4096)).save(path)
    for read, is_read in (("read_guidance", mode != "I;16"), ("read_image", False), ("read_alpha", True)):
        taken, said = megabytes(f"{read}({str(path)!r})", memory=2**27)
        assert taken < 128 + 20
        assert is_read == (not said)
        if said:
            assert "and reading it would take" in said and said.count("\n") == 1


def test_a_declared_size_without_bytes(megabytes, tmp_path: Path):
    path = tmp_path / "lie.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("signal.npy", "w") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (3, 10_000, 10_000)}
        np.lib.format.write_array_header_1_0(file, header)
    taken, said = megabytes(f"read_signal({str(path)!r})")
    assert "is truncated" in said
    assert taken < 30
