"""Every pixel keeps its place on the earth, whatever part of a raster or grid it is of."""

from io import BytesIO

import numpy as np
import pytest
import tifffile
import torch

from omniup.files.georeference import read_georeference, write_tiff

SCALE, TIE, MATRIX, KEYS, TEXT = 33550, 33922, 34264, 34735, 34737
ORIGIN, PIXEL = (500_000.0, 4_000_000.0), 2.0


def geotiff(*, matrix=False, point=False):
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 2 if point else 1, 3072, 0, 1, 32633)
    place = (
        [(MATRIX, "d", 16, (PIXEL, 0, 0, ORIGIN[0], 0, -PIXEL, 0, ORIGIN[1], 0, 0, 0, 0, 0, 0, 0, 1), True)]
        if matrix
        else [(SCALE, "d", 3, (PIXEL, PIXEL, 0.0), True), (TIE, "d", 6, (0, 0, 0, *ORIGIN, 0), True)]
    )
    file = BytesIO()
    tags = [*place, (KEYS, "H", len(keys), keys, True), (TEXT, "s", 0, "WGS 84 / UTM zone 33N|", True)]
    tifffile.imwrite(file, np.zeros((8, 12, 3), np.uint8), photometric="rgb", extratags=tags, metadata=None)
    file.seek(0)
    return file


def place(reference, x, y, *, point=False):
    """Where the corner (x, y) of a raster lies, of which (0, 0) is the corner of the first pixel."""
    x, y = (x - 0.5, y - 0.5) if point else (x, y)
    if MATRIX in reference.tags:
        return tuple((np.array(reference.tags[MATRIX]).reshape(4, 4) @ (x, y, 0, 1))[:2])
    i, j, _, east, north, _ = reference.tags[TIE]
    across, down, _ = reference.tags[SCALE]
    return east + (x - i) * across, north - (y - j) * down


@pytest.mark.parametrize("matrix", [False, True])
@pytest.mark.parametrize("point", [False, True])
def test_every_place_stays(matrix, point):
    whole = read_georeference(geotiff(matrix=matrix, point=point))
    for x, y in ((0, 0), (3, 5), (11.5, 7.25)):
        there = place(whole, x, y, point=point)
        assert place(whole.moved(3, -2), x - 3, y + 2, point=point) == pytest.approx(there)
        assert place(whole.scaled(4, 2.5), 4 * x, 2.5 * y, point=point) == pytest.approx(there)


@pytest.mark.parametrize("shape", [(1, 1, 6, 9), (1, 4, 6, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8])
def test_a_file_gives_back_what_was_written(tmp_path, shape, dtype):
    reference, values = read_georeference(geotiff()).moved(2, 3), (9 * torch.rand(shape)).to(dtype)
    write_tiff(tmp_path / "a.tif", values, reference)
    with (tmp_path / "a.tif").open("rb") as file:
        assert read_georeference(file) == reference
        assert file.tell() == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif").reshape(shape), values.numpy())


def test_others_have_none(tmp_path):
    write_tiff(tmp_path / "a.tif", torch.rand(1, 1, 3, 4))
    with (tmp_path / "a.tif").open("rb") as file:
        assert read_georeference(file) is None
    assert read_georeference(BytesIO(b"\x89PNG")) is None
