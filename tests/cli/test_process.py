"""What only a process of its own can show."""

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

import omniup as library
from omniup.cli import main

COMMAND = (sys.executable, "-m", "omniup")


def _python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_help_does_without_torch():
    code = """
import sys
from omniup.cli import main
commands = "upsample", "video", "fit", "render", "reconstruct", "methods", "encoders", "info", "bench"
measured = (["bench", command, "--help"] for command in ("quality", "speed", "report", "table", "panels"))
for arguments in (["--version"], ["--help"], [], *([command, "--help"] for command in commands), *measured):
    try:
        main(arguments)
    except SystemExit as left:
        assert not left.code
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""
    outcome = _python(code)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith(f"omniup {library.__version__}\n")
    for word in ("--memory", "--confidence", "sample:coffee", "C x h x w"):
        assert word in outcome.stdout


def test_a_pipe(photo, features):
    upsample = (*COMMAND, "upsample", photo, "-", "-o", "-", "--method", "bilinear")
    outcome = subprocess.run(upsample, input=Path(features).read_bytes(), capture_output=True)
    assert outcome.returncode == 0
    assert np.load(BytesIO(outcome.stdout)).shape == (1, 5, 48, 64)
    assert outcome.stderr.startswith(b"-: 1 x 5 x 48 x 64 float32")


def test_a_reader_that_goes_away(photo):
    np.save("large.npy", np.zeros((99, 3, 4), np.float32))  # more than a pipe holds
    upsample = (*COMMAND, "upsample", photo, "large.npy", "-o", "-", "--method", "bilinear", "--quiet")
    process = subprocess.Popen(upsample, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_behind_standard_output():
    with Path("/dev/full").open("w") as full:
        outcome = subprocess.run([*COMMAND, "encoders"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert outcome.returncode == 2
    assert outcome.stderr == "omniup: standard output cannot be written (No space left on device)\n"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_no_numbers_on_a_terminal(photo, features, capsys, monkeypatch):
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal, pytest.raises(SystemExit) as left:
        monkeypatch.setattr(sys, "stdout", terminal)
        main(["upsample", photo, features, "-o", "-"])
    os.close(ours)
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("omniup: standard output is a terminal")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("CUDA out of memory. Tried to allocate 20.74 GiB"),
    ],
)
def test_out_of_memory(error, refusal, photo, features, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("omniup.cli.options.pick_device", fail)
    assert refusal("degrade", photo, "out") == "out of memory: a smaller image or size, or fewer channels need less\n"
    for command in (("upsample", photo, features, "-o", "-"), ("bench", "quality", "-o", "out")):
        assert refusal(*command).startswith("out of memory: a smaller --memory, a smaller image or size, or ")


def test_a_defect_keeps_its_traceback(monkeypatch):
    def defect():
        raise RuntimeError("a defect")

    monkeypatch.setattr("omniup.encoders.encoders", defect)
    with pytest.raises(RuntimeError, match="a defect"):
        main(["encoders"])


def test_a_missing_package_is_one_line(refusal, photo, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    said = refusal("reconstruct", photo, "-o", "out", "--encoder", "timm:resnet18")
    assert 'pip install "omniup[features]"' in said
