import io

import pytest
from PIL import Image

from omniup.errors import InputError
from omniup.files import sample_image
from omniup.files.jpeg_quality import jpeg_quality


def saved(name, **options):
    file = io.BytesIO()
    sample_image("coffee").resize((40, 30)).save(file, name, **options)
    return file.getvalue()


@pytest.mark.parametrize("quality", [4, 10, 20, 35, 50, 75, 90, 95, 99])
def test_tables_tell_the_quality(quality):
    assert abs(jpeg_quality(saved("JPEG", quality=quality)) - quality) <= 1


def test_tables_of_other_encoders_get_the_nearest():
    """A table whose steps are all the standard's mean of the quality 50."""
    assert jpeg_quality(saved("JPEG", qtables=[[58] * 64, [58] * 64])) == 50
    assert jpeg_quality(saved("JPEG", qtables=[[1] * 64, [1] * 64])) >= 98


def test_other_formats_have_none(tmp_path):
    assert jpeg_quality(saved("PNG")) is None
    path = tmp_path / "photo.webp"
    path.write_bytes(saved("WEBP", quality=30))
    assert jpeg_quality(path) is None


def test_grey_pictures_have_one_table():
    file = io.BytesIO()
    Image.new("L", (16, 16), 100).save(file, "JPEG", quality=60)
    assert jpeg_quality(file.getvalue()) == 60


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.jpg"):
        jpeg_quality(tmp_path / "none.jpg")
