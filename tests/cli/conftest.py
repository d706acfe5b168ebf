import logging
import sys
import warnings
from dataclasses import dataclass
from io import BytesIO, StringIO, TextIOWrapper

import numpy as np
import pytest
from PIL import Image

from omniup.cli import main


@dataclass
class Outcome:
    status: int
    stdout: bytes
    stderr: str


@pytest.fixture
def omniup(monkeypatch):
    """The command in this process, which has torch already: `omniup("fit", image, "--stride", 16, stdin=b"...")`."""
    root, ours = logging.getLogger(), logging.getLogger("omniup")
    handlers, level = root.handlers[:], ours.level

    def run(*arguments, stdin=b""):
        stdout, stderr = TextIOWrapper(BytesIO()), StringIO()
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as left:
            patch.setattr(warnings, "showwarning", warnings.showwarning)  # to have it back afterwards
            patch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin)))
            patch.setattr(sys, "stdout", stdout)
            patch.setattr(sys, "stderr", stderr)
            main([str(argument) for argument in arguments])
        return Outcome(left.value.code, stdout.buffer.getvalue(), stderr.getvalue())

    yield run
    root.handlers[:] = handlers
    ours.setLevel(level)


@pytest.fixture
def refusal(omniup):
    """What a command says in refusing, which is one line; nothing else is printed."""

    def run(*arguments, stdin=b""):
        outcome = omniup(*arguments, stdin=stdin)
        assert outcome.status == 2, outcome
        assert outcome.stdout == b""
        assert outcome.stderr.startswith("omniup: ")
        assert outcome.stderr.count("\n") == 1
        assert outcome.stderr.endswith("\n")
        return outcome.stderr.removeprefix("omniup: ")

    return run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photo(folder):
    """A picture of 48 × 64 pixels: noise, left darker than right."""
    pixels = np.random.default_rng(0).integers(0, 100, (48, 64, 3), dtype=np.uint8)
    pixels[:, 32:] += 150
    Image.fromarray(pixels).save("photo.png")
    return "photo.png"


@pytest.fixture
def features(folder):
    """5 channels on a grid of 3 × 4."""
    np.save("features.npy", np.random.default_rng(1).standard_normal((5, 3, 4)).astype(np.float32))
    return "features.npy"


@pytest.fixture
def mask(folder):
    """A palette image of 3 × 4 with the labels 3, 7 and 200."""
    labels = Image.fromarray(np.array([[3, 3, 7, 7], [3, 3, 200, 7], [3, 200, 200, 7]], dtype=np.uint8))
    labels.putpalette([(37 * index) % 256 for index in range(768)])
    labels.save("mask.png")
    return "mask.png"
