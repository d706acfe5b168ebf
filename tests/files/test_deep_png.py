from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import Base

from omniup.files import read_alpha, read_image
from omniup.files.deep_png import write_deep_png
from omniup.files.metadata import Metadata, read_metadata


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 13)])
def test_what_is_written_is_read(channels, size):
    levels = np.random.default_rng(0).integers(0, 65536, (*size, channels), dtype=np.uint16)
    levels[..., 3:] = 65535 - levels[..., 3:] % 2  # nearly opaque
    file = BytesIO()
    write_deep_png(file, levels, Metadata())
    image = read_image(file.getvalue())
    difference = np.abs(image[0].permute(1, 2, 0).numpy() * 65535 - levels[..., :3])
    assert difference.max() < (0.1 if channels == 3 else 1.1)
    if channels == 4:
        alpha = read_alpha(file.getvalue())
        np.testing.assert_allclose(alpha[0, 0].numpy() * 65535, levels[..., 3], atol=0.1)
    with Image.open(file) as picture:
        picture.load()  # checks every chunk's sum


def test_metadata():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[Base.Artist] = "Ada"
    file = BytesIO()
    write_deep_png(file, np.zeros((2, 3, 3), np.uint16), Metadata(profile, exif))
    found = read_metadata(file.getvalue())
    assert (found.profile, dict(found.exif)) == (profile, {Base.Artist: "Ada"})
