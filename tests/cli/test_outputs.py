"""No command loses a file: inputs, files of others, results that another process writes, what a kill leaves behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("kornia")

INPUT, THERE = "is an input, which the result would overwrite", "exists already"


def names(folder="."):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def contents(folder="."):
    return {name: Path(folder, name).read_bytes() for name in names(folder)}


@pytest.fixture
def kernels(omniup, photo):
    assert omniup("fit", photo, "--grid", "3x4", "--iters", 0, "-o", "kernels.safetensors").status == 0
    return "kernels.safetensors"


@pytest.fixture
def unchanged(photo, features):
    before = contents()
    yield
    assert {name: content for name, content in contents().items() if name in before} == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_no_command_overwrites_an_input(refusal, photo, features, kernels, overwrite):
    Path("pairs/gt").mkdir(parents=True)
    Image.open(photo).save("pairs/gt/photo.png")
    Image.open(photo).save("original.png")
    Path("link.npy").symlink_to(features)
    Path("hard.npy").hardlink_to(features)
    before = contents()
    for command in [
        ("upsample", photo, features, "-o", features),
        ("upsample", photo, features, "-o", photo),
        ("upsample", photo, features, "-o", "link.npy"),
        ("upsample", photo, "link.npy", "-o", Path(features).resolve()),
        ("upsample", photo, "hard.npy", "-o", features),
        ("fit", photo, "--stride", 16, "-o", kernels),
        ("render", kernels, features, "-o", kernels),
        ("render", kernels, features, "-o", "out.npy", "--confidence", features),
        ("reconstruct", "original.png", "-o", "."),
        ("degrade", "pairs/gt/photo.png", "pairs"),
        ("restore", photo, "-o", ".", "--model", "tiny"),
        ("restore", photo, "-o", photo, "--model", "tiny"),
    ]:
        said = refusal(*command, *overwrite)
        assert INPUT in said or (command[0] == "fit" and THERE in said) or overwrite == (), command
        assert contents() == before
        if command[0] == "fit" and overwrite:
            break
