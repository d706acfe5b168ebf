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
from omniup.files import read_guidance, read_image, read_signal, read_stored

def fits(shape, form):
    if max(shape[-2:]) > 512:
        raise InputError("signal", "is larger than the image")

def peak():  # not getrusage's, which begins at what the parent of this process had when it started it
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

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

    def run(call: str) -> tuple[float, str]:
        code = _READ.format(warm=str(warm), call=call)
        made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return float(made.stdout), made.stderr

    return run


def test_an_npz_is_refused_by_its_shape(megabytes, tmp_path: Path):
    path = tmp_path / "big.npz"
    np.savez_compressed(path, signal=np.zeros((1, 16_000, 16_000), np.uint8))
    assert path.stat().st_size < 2**20
    taken, said = megabytes(f"read_stored({str(path)!r}, check_shape=fits)")
    assert "is larger than the image" in said
    assert taken < 30


def test_a_picture_as_a_signal_is_refused_by_its_shape(megabytes, tmp_path: Path):
    path = tmp_path / "big.png"
    Image.new("RGB", (4096, 4096)).save(path)
    assert path.stat().st_size < 2**20
    taken, said = megabytes(f"read_stored({str(path)!r}, check_shape=fits)")
    assert "is larger than the image" in said
    assert taken < 30


@pytest.mark.parametrize(("mode", "read"), [("RGB", "read_image"), ("RGBA", "read_guidance")])
def test_a_picture_takes_little_more_than_its_result(megabytes, tmp_path: Path, mode: str, read: str):
    path = tmp_path / "big.png"
    Image.new(mode, (4096, 4096)).save(path)  # 192 MB as float32, and 64 as Pillow decodes it
    taken, _ = megabytes(f"{read}({str(path)!r})")
    assert 190 < taken < 330


def test_a_declared_size_without_bytes(megabytes, tmp_path: Path):
    path = tmp_path / "lie.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("signal.npy", "w") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (3, 10_000, 10_000)}
        np.lib.format.write_array_header_1_0(file, header)
    taken, said = megabytes(f"read_signal({str(path)!r})")
    assert "is truncated" in said
    assert taken < 30
