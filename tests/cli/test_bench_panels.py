import json

import pytest
from PIL import Image

from support.streets import write_streets


@pytest.fixture
def streets(tmp_path):
    return write_streets(tmp_path)


def test_a_sheet_for_each_image(omniup, streets, tmp_path):
    arguments = (
        "--data",
        streets,
        "--images",
        2,
        "--method",
        "bilinear",
        "--method",
        "near=nearest",
        "--device",
        "cpu",
    )
    outcome = omniup("bench", "panels", "-o", tmp_path / "out", *arguments, "--json")
    assert outcome.status == 0, outcome.stderr
    sheets = json.loads(outcome.stdout)["sheets"]
    assert len(sheets) == 2
    for name in sheets:
        picture = Image.open(tmp_path / "out" / name)
        assert picture.width > 4 * 360  # image, features and two methods in a row
        assert len(picture.getcolors(2**24)) > 100


def test_sheets_replace_sheets_and_nothing_else(omniup, refusal, streets, tmp_path):
    command = ("bench", "panels", "-o", tmp_path / "out", "--data", streets, "--images", 1, "--method", "bilinear")
    for _ in range(2):
        outcome = omniup(*command, "--json")
        assert outcome.status == 0, outcome.stderr
    (name,) = json.loads(outcome.stdout)["sheets"]
    (tmp_path / "out/omniup.json").unlink()
    assert f"{name} exists already; accepted: another name, or --overwrite" in refusal(*command)
    assert omniup(*command, "--overwrite").status == 0


def test_a_factor_that_has_no_reference_is_refused(refusal, streets, tmp_path):
    said = refusal("bench", "panels", "-o", tmp_path / "out", "--data", streets, "--factor", 8, "--method", "bilinear")
    assert said == "factor is 8; accepted: 16, 32\n"


def test_without_data_it_is_refused(refusal, tmp_path):
    said = refusal("bench", "panels", "-o", tmp_path / "out", "--method", "bilinear")
    assert said.startswith("--data is missing; accepted: a folder of data sets")
    assert not (tmp_path / "out").exists()
