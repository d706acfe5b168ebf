"""The example that the page opens with is what the server computes today."""

import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

import omniup.web

STATIC = Path(omniup.web.__file__).with_name("static")
TOOL = Path(__file__).parents[2] / "tools" / "opening.py"


@pytest.fixture(scope="module")
def stored():
    """The example as the page has it."""
    text = (STATIC / "opening.js").read_text("utf-8")
    return json.loads(text.partition("OPENING = ")[2].rstrip().removesuffix(";"))


def test_its_numbers_are_those_of_today(stored):
    spec = importlib.util.spec_from_file_location("opening", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    found = tool.opening()
    assert (stored["H"], stored["W"], stored["grid"]) == (found["H"], found["W"], found["grid"])
    for kept, made in zip(stored["results"], found["results"], strict=True):
        same = ("method", "settings", "shown", "iterations")
        assert {name: kept[name] for name in same} == {name: made[name] for name in same}
        assert kept["psnr"] == pytest.approx(made["psnr"], abs=0.3)  # a fit differs a little between machines


def test_its_pictures_are_there_and_small(stored):
    files = [
        STATIC / url.removeprefix("/static/") for url in (stored["original"], *(r["image"] for r in stored["results"]))
    ]
    for file in files:
        with Image.open(file) as picture:
            assert picture.size == (stored["W"], stored["H"])
    assert sum(file.stat().st_size for file in files) < 40_000
