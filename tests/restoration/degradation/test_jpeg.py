from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from omniup.evaluation import psnr
from omniup.files import SAMPLES, image_tensor, sample_image
from omniup.restoration.degradation.jpeg import compress, quantisation_steps, quantise_blocks
from oracles import jpeg as oracle

QUALITIES = (30, 45, 60, 75, 90, 95)


def pillows(image, quality):
    """What Pillow makes of a PIL image, still to be decoded."""
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def colour_gradient(image):
    """The mean absolute difference of neighbours in what remains of an image without its grey."""
    colour = image - image.mean(1, keepdim=True)
    return colour.diff(dim=2).abs().mean() + colour.diff(dim=3).abs().mean()


def assert_like_pillows(photo, quality):
    image, real = image_tensor(photo), image_tensor(pillows(photo, quality))
    ours = compress(image, [quality])
    assert abs(psnr(ours, image) - psnr(real, image)) < 0.05
    assert abs(colour_gradient(ours) / colour_gradient(real) - 1) < 0.005
    assert psnr(ours, real) > 54


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("quality", QUALITIES)
def test_it_is_real_jpeg(name, quality):
    assert_like_pillows(sample_image(name).crop((60, 0, 313, 251)), quality)


@pytest.mark.parametrize("quality", QUALITIES)
def test_it_is_real_jpeg_of_other_photographs(shared, quality):
    for path in sorted((shared / "data/bsds500/val").glob("*.jpg"))[::25]:
        with Image.open(path) as photo:
            assert_like_pillows(photo, quality)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 50), (17, 16), (24, 23)])
def test_it_is_real_jpeg_of_any_size(size):
    photo = sample_image("chelsea").crop((120, 90, 120 + size[1], 90 + size[0]))
    difference = compress(image_tensor(photo), [80]) - image_tensor(pillows(photo, 80))
    assert difference.abs().max() < 2.5 / 255
    assert difference.abs().mean() < 0.05 / 255


def test_the_tables_are_pillows():
    for quality in range(1, 101):
        luma, chroma = pillows(Image.new("RGB", (8, 8)), quality).quantization.values()
        assert quantisation_steps(quality).tolist() == [list(luma), list(chroma)]


def test_blocks_are_the_oracles():
    random = np.random.default_rng(0)
    blocks = random.integers(-128, 128, (3, 2, 8, 16)) * random.choice([1.0, 0.1], (3, 2, 1, 1)) // 1
    steps = random.integers(1, 120, (3, 64))
    made = quantise_blocks(torch.from_numpy(blocks), torch.from_numpy(steps).double())
    for at in np.ndindex(3, 2):
        for left in (0, 8):
            expected = oracle.quantised(blocks[at][:, left : left + 8], steps[at[0]].reshape(8, 8))
            np.testing.assert_array_equal(made[at][:, left : left + 8], expected)


def test_halves_of_a_step_are_rounded_away_from_zero():
    flat = torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)  # a first coefficient of 8
    made = quantise_blocks(flat, torch.full((1, 64), 16.0))
    assert torch.equal(made, 2 * flat)


def test_the_quality_is_each_images_own():
    image = image_tensor(sample_image("astronaut").crop((60, 0, 316, 256)))
    qualities = [20, 50, 90]
    together = compress(image.expand(3, -1, -1, -1), qualities)
    errors = [(coded - image[0]).square().mean() for coded in together]
    assert errors == sorted(errors, reverse=True)
    for quality, coded in zip(qualities, together, strict=True):
        assert torch.equal(compress(image, [quality])[0], coded)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types(dtype):
    image = image_tensor(sample_image("coffee").crop((100, 100, 150, 133))).to(dtype)
    coded = compress(image, [80])
    assert coded.dtype == dtype
    torch.testing.assert_close(coded.float(), compress(image.float(), [80]), rtol=0, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu():
    images = image_tensor(sample_image("astronaut").crop((60, 0, 316, 256))).expand(3, -1, -1, -1)
    made, there = compress(images, [30, 60, 95]), compress(images.cuda(), [30, 60, 95]).cpu()
    assert ((made - there).abs() > 0.5 / 255).float().mean() < 1e-3


def test_what_is_out_of_range_is_cut_off():
    wide = torch.linspace(-1, 2, 3 * 32 * 32).view(1, 3, 32, 32)
    assert torch.equal(compress(wide, [50]), compress(wide.clamp(0, 1), [50]))
