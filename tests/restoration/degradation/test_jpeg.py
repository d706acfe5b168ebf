import sys
from io import BytesIO

import pytest
import torch
from PIL import Image

from omniup import MissingPackageError
from omniup.evaluation import psnr
from omniup.files import image_tensor, sample_image
from omniup.restoration.degradation.jpeg import compress


@pytest.fixture(scope="module")
def photo():
    return sample_image("astronaut").crop((60, 0, 316, 256))


def pillows(image, quality):
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return image_tensor(Image.open(file))


@pytest.fixture(autouse=True, scope="module")
def _kornia():
    pytest.importorskip("kornia")


@pytest.mark.parametrize(("quality", "likeness"), [(10, 36), (30, 40), (60, 42), (95, 44)])
def test_it_comes_close_to_real_jpeg(photo, quality, likeness):
    image = image_tensor(photo)
    ours, real = compress(image, [quality]), pillows(photo, quality)
    assert psnr(ours, real) > likeness
    assert 0 <= psnr(ours, image) - psnr(real, image) < 1


def test_the_quality_is_each_images_own(photo):
    image = image_tensor(photo)
    qualities = [20, 50, 90]
    together = compress(image.expand(3, -1, -1, -1), qualities)
    errors = [(coded - image[0]).square().mean() for coded in together]
    assert errors == sorted(errors, reverse=True)
    for quality, coded in zip(qualities, together, strict=True):
        torch.testing.assert_close(compress(image, [quality])[0], coded, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (17, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_size(size, dtype):
    image = torch.full((1, 3, *size), 0.5, dtype=dtype)
    coded = compress(image, [80])
    assert coded.shape == image.shape and coded.dtype == dtype
    torch.testing.assert_close(coded, image, rtol=0, atol=2 / 255)


def test_what_is_out_of_range_is_cut_off():
    coded = compress(torch.linspace(-1, 2, 3 * 32 * 32).view(1, 3, 32, 32), [50])
    assert coded.min() >= 0 and coded.max() <= 1


def test_without_kornia(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia", None)
    monkeypatch.delitem(sys.modules, "kornia.enhance", raising=False)
    with pytest.raises(MissingPackageError, match=r'pip install "omniup\[restore\]"'):
        compress(torch.rand(1, 3, 8, 8), [50])
