from io import BytesIO

import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import GPS, IFD, Base

from omniup import InputError
from omniup.files.metadata import read_metadata

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def file(image=None, file_format="JPEG", **options):
    held = BytesIO()
    (image or Image.new("RGB", (8, 6))).save(held, file_format, **options)
    return held.getvalue()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_what_describes_the_picture_is_kept_and_what_its_file_is_not(file_format):
    exif = Image.Exif()
    exif[Base.Copyright], exif[Base.Orientation] = "Ada", 3
    exif[IFD.Exif] = {Base.ISOSpeedRatings: 200, Base.ExifImageWidth: 8, Base.MakerNote: b"abc"}
    exif[IFD.GPSInfo] = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (1.0, 2.0, 3.0)}
    found = read_metadata(file(file_format=file_format, exif=exif.tobytes(), icc_profile=SRGB))
    assert found.profile == SRGB
    assert set(found.exif) == {Base.Copyright, IFD.Exif, IFD.GPSInfo}
    assert found.exif[Base.Copyright] == "Ada"
    assert found.exif[IFD.Exif] == {Base.ISOSpeedRatings: 200}
    assert found.exif[IFD.GPSInfo][GPS.GPSLatitude] == (1.0, 2.0, 3.0)


def test_a_file_without_any():
    found = read_metadata(file())
    assert (found.profile, dict(found.exif)) == (None, {})


def test_the_profile_of_other_colours_is_dropped():
    assert read_metadata(file(icc_profile=LAB)).profile is None


@pytest.mark.filterwarnings("ignore::UserWarning")  # those of Pillow
def test_damaged_exif_is_left_out(caplog):
    exif = Image.Exif()
    exif[Base.Artist] = "Ada Lovelace"
    exif[IFD.GPSInfo] = {GPS.GPSLatitudeRef: "N"}
    whole = file(exif=exif, icc_profile=SRGB)
    start = whole.index(b"Exif\0\0") + 6
    for at in range(start, start + len(exif.tobytes()) - 6):
        found = read_metadata(whole[:at] + bytes([5]) + whole[at + 1 :])
        found.exif.tobytes()
        assert found.profile == SRGB
    assert "EXIF is not kept: " in caplog.text


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_metadata(tmp_path / "none.png")
