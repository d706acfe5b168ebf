"""Corrupted files end in a value or in an `InputError`: soon, and in little memory.

`make fuzz` tries 5,000 files instead of the 200 or so of `make test`, and prints the slowest and the largest. A file is
made again by `corrupted(name, small_files()[name], seed)`.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient
from torch import Tensor

from omniup.cli import main
from omniup.errors import InputError
from omniup.files import read_image, read_labels, read_signal, read_tensors
from omniup.files.settings import SettingsError
from omniup.files.weights import read_state_dict
from omniup.restoration.degradation import Degradation
from omniup.training.anyup.configuration import read_configuration as read_anyup
from omniup.training.hypir.configuration import read_configuration as read_hypir
from omniup.upsamplers import GaussianKernels
from omniup.web import Settings, create_app
from support.corruption import corrupted
from support.demo import SMALL, encoded, noise, npy, post_run, post_upsample
from support.forks import Fork
from support.peaks import READERS, resident
from support.small_files import small_files

FILES = small_files()
COUNT = int(os.environ.get("OMNIUP_FUZZ", 200))
SECONDS, MEGABYTES = 2, 512

IMAGE, SIGNAL = encoded(noise(16, 24)), npy(np.random.default_rng(0).random((5, 4, 6), np.float32))
PATH_READERS = (read_tensors, GaussianKernels.load, read_state_dict)
YAML_READERS = (Degradation.read, read_anyup, read_hypir)

pytestmark = pytest.mark.filterwarnings("ignore")  # of decoders, which would become errors and end there


@dataclasses.dataclass
class Trial:
    """What reading a file took, and what went wrong."""

    what: str
    seconds: float
    megabytes: float
    problem: str


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(Settings(hosts=(), offline=True)), raise_server_exceptions=False) as client:
        assert post_upsample(client, IMAGE, SIGNAL).status_code == 200  # loads what is loaded on first use
        assert post_run(client, IMAGE, **SMALL).status_code == 200
        yield client


def _read(reader: Callable, source: bytes | Path) -> str:
    """Return what is wrong with how a file is read, if anything."""
    try:
        return _wrong(reader, reader(source))
    except InputError as error:
        several = isinstance(error, SettingsError)
        return "" if several or "\n" not in str(error) else f"more than one line: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _wrong(reader: Callable, value: object) -> str:
    """Return what is wrong with the value of a reader: empty, or outside its range."""
    if not isinstance(value, Tensor):
        return ""
    if value.numel() == 0 or value.ndim != (3 if reader is read_labels else 4):
        return f"the shape {list(value.shape)}"
    if reader is read_image and not (value.min() >= 0 and value.max() <= 1):  # NaN fails too
        return f"values from {value.min()} to {value.max()}"
    return "" if reader is not read_signal or value.isfinite().all() else "values that are not finite"


def _ask(post: Callable, *files: bytes, **config: object) -> str:
    answer = post(*files, **config)
    return "" if answer.status_code in (200, 413, 422) else f"status {answer.status_code}: {answer.text[:300]}"


def _attempts(name: str, content: bytes, client: TestClient, path: Path, *, runs: bool = True):
    """List what to do with a file, by name; with `runs` fits too, which take longer than all else."""
    if name.startswith("yaml"):
        path.write_bytes(content)
        return {
            f"{reader.__module__}.{reader.__qualname__}": lambda r=reader: _read(r, path) for reader in YAML_READERS
        }
    attempts = {reader.__name__: lambda r=reader: _read(r, content) for reader in READERS}
    attempts["/api/upsample signal"] = lambda: _ask(post_upsample, client, IMAGE, content, method="bilinear")
    attempts["/api/upsample image"] = lambda: _ask(post_upsample, client, content, SIGNAL, method="bilinear")
    if not name.startswith(("json", "np", "safetensors", "weights", "kernels", "pth")):
        if runs:
            attempts["/api/run"] = lambda: _ask(post_run, client, content, **SMALL)
    else:
        path = path.with_suffix(".pth" if name == "pth" else ".safetensors")
        path.write_bytes(content)
        attempts |= {reader.__qualname__: lambda r=reader: _read(r, path) for reader in PATH_READERS}
    return attempts


def _measured(what: str, attempt: Callable[[], str]) -> Trial:
    before, began = resident(reset=True), time.process_time()  # which others' processes do not slow
    problem = attempt()
    seconds, megabytes = time.process_time() - began, resident() - before
    if seconds > SECONDS:
        problem = problem or f"{seconds:.1f} s"
    if megabytes > MEGABYTES:
        problem = problem or f"{megabytes:.0f} MB"
    return Trial(what, seconds, megabytes, problem)


@pytest.mark.parametrize("name", FILES)
def test_the_file_itself_is_read(client, tmp_path, name):
    """What is corrupted is a file that one of the readers takes."""
    taken = []
    for what, attempt in _attempts(name, FILES[name], client, tmp_path / "file", runs=False).items():
        assert attempt() == "", what
    for reader in (*READERS[:4], *PATH_READERS, *YAML_READERS):
        path = tmp_path / ("file.yaml" if name.startswith("yaml") else "file.pth" if name == "pth" else "f.safetensors")
        path.write_bytes(FILES[name])
        try:
            reader(path)
        except InputError:
            continue
        taken.append(reader)
    assert taken


@pytest.mark.parametrize("name", FILES)
def test_corrupted_files_are_read_or_refused(client, tmp_path, name):
    trials = []
    for seed in range(-(-COUNT // len(FILES))):
        content = corrupted(name, FILES[name], seed)
        attempts = _attempts(name, content, client, tmp_path / "file", runs=seed % 4 == 0)
        for what, attempt in attempts.items():
            trials.append(_measured(f"{name}, seed {seed}, {what}", attempt))
    slowest = max(trials, key=lambda trial: trial.seconds)
    largest = max(trials, key=lambda trial: trial.megabytes)
    print(f"{slowest.seconds:.2f} s at most ({slowest.what}), {largest.megabytes:.0f} MB at most ({largest.what})")
    failed = [f"{trial.what}: {trial.problem}" for trial in trials if trial.problem]
    assert not failed, "\n".join(failed)


def test_each_kind_takes_little_memory_in_a_process_of_its_own():
    """Where nothing is left of earlier files that could be used again."""
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), *filter(None, [os.environ.get("PYTHONPATH")])])
    made = subprocess.run(
        [sys.executable, "-m", "support.peaks", str(-(-COUNT // 100))],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    peaks = json.loads(made.stdout)  # which nothing else has been printed to
    print(f"{max(peaks.values()):.0f} MB at most ({max(peaks, key=peaks.get)})")
    assert {name for name in FILES if not name.startswith("yaml")} == peaks.keys()
    assert {name: peak for name, peak in peaks.items() if peak > MEGABYTES} == {}


REFUSED = [  # the first seeds whose file is no image, or no signal
    ("exr", 4),
    ("tiff-lzw", 2),
    ("tiff-fax", 0),
    ("tiff-nodata", 0),
    ("png-rgb-16", 0),
    ("safetensors", 1),
]
"""Among them files about which OpenEXR, libtiff, tifffile and Pillow print or warn."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(("name", "seed"), REFUSED, ids=[name for name, _ in REFUSED])
def test_the_command_refuses_corrupted_files_in_one_line(tmp_path, name, seed):
    image, signal = tmp_path / "image.png", tmp_path / "signal.npy"
    image.write_bytes(IMAGE)
    signal.write_bytes(SIGNAL)
    damaged = signal if name == "safetensors" else image
    for number in (seed, *range(1000, 1000 + (COUNT - 200) // 1000)):  # others by `make fuzz` alone
        damaged.write_bytes(corrupted(name, FILES[name], number))
        command = ["upsample", str(image), str(signal), "-o", "-", "--method", "bilinear"]
        status = Fork(lambda command=command: main(command), tmp_path / "said").wait()
        said = (tmp_path / "said.err").read_text()
        assert "Traceback" not in said
        assert status == 2 or (number != seed and status == 0), said
        if status == 2:
            assert (tmp_path / "said").read_bytes() == b""
            assert said.startswith("omniup: ") and said.count("\n") == 1, said
