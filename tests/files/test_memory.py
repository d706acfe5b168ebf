"""Small files that declare much take little memory: their shapes are checked first, and alpha is composited in strips.

Each is read in a process of its own, whose peak of resident memory the system reports.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from omniup import InputError, files
from omniup.files import sources
from omniup.mixing.pages import give_back
from support.forks import Fork

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")

READERS = {"read_alpha", "read_guidance", "read_image", "read_labels", "read_signal", "read_stored"}


def _fits(shape, form):
    if max(shape[-2:]) > 512:
        raise InputError("signal", "is larger than the image")


def _peak() -> float:
    """The most megabytes that this process had; not getrusage's, which begin at what its parent had."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _print_peaks(calls, memory):
    sources.MEMORY = memory
    taken = []
    give_back()  # what earlier tests have left, which could be used again
    for call in calls:
        Path("/proc/self/clear_refs").write_text("5")  # peaks count anew
        before, said = _peak(), ""
        try:
            eval(call, {name: getattr(files, name) for name in READERS} | {"fits": _fits})
        except InputError as error:
            said = str(error)
        taken.append((_peak() - before, said))
    print(json.dumps(taken))
    return 0


@pytest.fixture
def megabytes(tmp_path):
    """How far each of some calls raises the peak of a process's memory, and what it says: `(taken, said), ...`."""

    def run(*calls: str, memory: int = 2**31) -> list[tuple[float, str]]:
        output = tmp_path / "peaks.json"
        assert Fork(lambda: _print_peaks(calls, memory), output).wait() == 0, Path(f"{output}.err").read_text()
        return [(taken, said) for taken, said in json.loads(output.read_text())]

    return run


def test_an_npz_is_refused_by_its_shape(megabytes, tmp_path: Path):
    path = tmp_path / "big.npz"
    np.savez_compressed(path, signal=np.zeros((1, 16_000, 16_000), np.uint8))
    assert path.stat().st_size < 2**20
    ((taken, said),) = megabytes(f"read_stored({str(path)!r}, check_shape=fits)")
    assert "is larger than the image" in said
    assert taken < 30


def test_a_safetensors_file_is_refused_by_its_shape(megabytes, tmp_path: Path):
    path = tmp_path / "big.safetensors"
    save_file({"signal": torch.zeros(1, 8000, 8000)}, path)
    ((taken, said),) = megabytes(f"read_stored({str(path)!r}, check_shape=fits)")
    assert "is larger than the image" in said
    assert taken < 30


def test_a_small_picture_as_a_signal_takes_2_gb_or_is_refused(megabytes, tmp_path: Path):
    for mode, side, is_refused in (("L", 3400, False), ("RGB", 2048, False), ("RGB", 4096, True)):
        path = tmp_path / f"{mode}{side}.png"
        Image.new(mode, (side, side)).save(path)
        calls = [f"{read}({str(path)!r})" for read in ("read_signal", "read_labels")]
        for taken, said in megabytes(*calls, memory=2**27):
            assert taken < 128 + 20
            assert ("and reading it would take" in said) == is_refused


def test_a_picture_as_a_signal_is_refused_by_its_shape(megabytes, tmp_path: Path):
    path = tmp_path / "big.png"
    Image.new("RGB", (4096, 4096)).save(path)
    assert path.stat().st_size < 2**20
    ((taken, said),) = megabytes(f"read_stored({str(path)!r}, check_shape=fits)")
    assert "is larger than the image" in said
    assert taken < 30


CASES = [  # megabytes at most, for 4096 × 4096 pixels
    ("RGB", "read_image", 330),  # 192 as float32, and 48 as bytes or 64 as Pillow decodes it
    ("I;16", "read_image", 300),  # NumPy has it from Pillow by way of bytes, twice
    ("RGB", "read_guidance", 130),
    ("RGBA", "read_guidance", 130),
    ("LA", "read_alpha", 180),
]


def test_a_picture_takes_little_more_than_its_result(megabytes, tmp_path: Path):
    calls = []
    for mode, read, _ in CASES:
        path = tmp_path / f"{mode}.png"
        Image.new(mode, (4096, 4096)).save(path)
        calls.append(f"{read}({str(path)!r})")
    for case, (taken, said) in zip(CASES, megabytes(*calls), strict=True):
        assert said == ""
        assert case[2] / 3 < taken < case[2], case


def test_a_small_picture_at_the_limit_takes_2_gb_or_is_refused(megabytes, tmp_path: Path):
    """Of 2²⁸ pixels; here of a 16th, with a 16th of the limit."""
    cases = []
    for mode in ("RGB", "RGBA", "L", "P", "1", "I;16"):
        path = tmp_path / f"{mode}.png"
        Image.new(mode, (4096, 4096)).save(path)
        cases += [(mode, read, str(path)) for read in ("read_guidance", "read_image", "read_alpha")]
    calls = [f"{read}({path!r})" for _, read, path in cases]
    for (mode, read, _), (taken, said) in zip(cases, megabytes(*calls, memory=2**27), strict=True):
        assert taken < 128 + 20, (mode, read)
        is_float = read == "read_image" or (mode, read) == ("I;16", "read_guidance")
        assert ("and reading it would take" in said) == is_float


def test_masks_as_run_lengths_take_2_gb_or_are_refused(megabytes, tmp_path: Path):
    for side, is_refused in ((7_500, False), (8_500, True)):  # a byte for each value, twice
        path = tmp_path / f"{side}.json"
        path.write_text(json.dumps({"size": [side, side], "counts": [side * side]}))
        ((taken, said),) = megabytes(f"read_stored({str(path)!r})", memory=2**27)
        assert taken < 128 + 20
        assert ("and reading it would take" in said) == is_refused


def test_a_declared_size_without_bytes(megabytes, tmp_path: Path):
    path = tmp_path / "lie.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("signal.npy", "w") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (3, 10_000, 10_000)}
        np.lib.format.write_array_header_1_0(file, header)
    ((taken, said),) = megabytes(f"read_signal({str(path)!r})")
    assert "is truncated" in said
    assert taken < 30
