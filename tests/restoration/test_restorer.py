"""The small restorer as it comes with the package."""

import io
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from omniup.errors import InputError
from omniup.evaluation.metrics import psnr
from omniup.files import image_tensor, read_image, sample_image
from omniup.files.jpeg_quality import jpeg_quality
from omniup.restoration import Damage, Restorer, load_model, locate_model
from omniup.restoration.restorer import UNDAMAGED, weights_path
from omniup.restoration.sizes import resize


@pytest.fixture(scope="module")
def restorer():
    return Restorer.from_pretrained()


@pytest.fixture(scope="module")
def photo():
    """A photograph, [1, 3, 300, 450] in 0..1."""
    return image_tensor(sample_image("coffee").resize((450, 300), Image.Resampling.LANCZOS))


def degraded(image, *, noise=0.0, quality=None):
    """Add noise of so many grey levels, and compress: the picture and its file."""
    generator = torch.Generator().manual_seed(0)
    noisy = (image + torch.randn(image.shape, generator=generator) * noise / 255).clamp(0, 1)
    picture = Image.fromarray((noisy[0] * 255).round().byte().permute(1, 2, 0).numpy())
    file = io.BytesIO()
    picture.save(file, "PNG") if quality is None else picture.save(file, "JPEG", quality=quality)
    return read_image(file.getvalue()), file.getvalue()


@pytest.mark.parametrize(("noise", "quality", "gain"), [(0, 30, 1.0), (8, 45, 1.0), (8, None, 2.0)])
def test_noise_and_blocks_go(restorer, photo, noise, quality, gain):
    image, file = degraded(photo, noise=noise, quality=quality)
    damage = restorer.estimate(image, quality=jpeg_quality(file))
    assert psnr(restorer(image, damage=damage), photo) > psnr(image, photo) + gain


def test_enlarging_a_damaged_picture_is_better_than_bicubic(restorer, photo):
    small = F.interpolate(photo, scale_factor=0.5, mode="area")
    image, file = degraded(small, noise=6, quality=45)
    bicubic = F.interpolate(image, scale_factor=2, mode="bicubic").clamp(0, 1)
    made = restorer(image, scale=2, damage=restorer.estimate(image, quality=jpeg_quality(file)))
    assert made.shape == photo.shape
    assert psnr(made, photo) > psnr(bicubic, photo) + 0.3


def test_a_clean_picture_comes_back_as_it_was(restorer, photo):
    assert psnr(restorer(photo), photo) > 40
    torch.testing.assert_close(restorer(photo, damage=[Damage(0, 100, 3)]), photo)  # nothing that is to be restored
    changes = [(restorer(photo, damage=[Damage(noise, 100, 0)]) - photo).abs().mean() for noise in (0, 0.3, 1, 3)]
    assert changes == sorted(changes)


@pytest.mark.parametrize(("noise", "quality"), [(0, 75), (0, 90), (15, None)])
def test_what_is_reduced_is_not_taken_for_as_damaged_as_it_was(restorer, photo, noise, quality):
    image, file = degraded(photo, noise=noise, quality=quality)
    expected, reduced = (resize(each, (75, 112)).clamp(0, 1) for each in (photo, image))
    damage = restorer.estimate(image, quality=jpeg_quality(file), longest_side=112)
    made = restorer(image, longest_side=112, damage=damage)
    torch.testing.assert_close(made, restorer(image, longest_side=112))
    assert psnr(made, expected) > psnr(reduced, expected) - 0.3


def test_a_grey_picture_stays_grey(restorer, photo):
    grey, _ = degraded(photo.mean(1, keepdim=True).expand(-1, 3, -1, -1), noise=8)
    coloured, _ = degraded(photo, noise=8)
    grey = grey[:, :1].expand(-1, 3, -1, -1)
    made = restorer(torch.cat([grey, coloured]))
    assert torch.equal(made[0, 0], made[0, 1]) and torch.equal(made[0, 0], made[0, 2])
    assert not torch.equal(made[1, 0], made[1, 1])
    assert not torch.equal(made[:1], grey)


def test_bars_have_no_part_in_the_estimate(restorer, photo):
    noisy, _ = degraded(photo, noise=15)
    (damage,) = restorer.estimate(noisy)
    for bars in ((0, 0, 80, 80), (50, 0, 0, 33)):
        assert restorer.estimate(F.pad(noisy, bars)) == [damage]
    white_and_black = torch.cat([torch.ones(1, 3, 60, 60), torch.zeros(1, 3, 60, 60)])
    assert restorer.estimate(white_and_black) == [UNDAMAGED, UNDAMAGED]
    torch.testing.assert_close(restorer(white_and_black), white_and_black)
    assert restorer.estimate(noisy[:, :, :20, :20]) == [UNDAMAGED]  # too small to say


def test_the_estimate_is_made_in_tiles(restorer):
    image = torch.rand(1, 3, 533, 1043, generator=torch.Generator().manual_seed(0))
    whole = Damage.of_levels(restorer.network.estimator(image)[0])
    (tiled,) = restorer.estimate(image)
    assert tiled.levels == pytest.approx(whole.levels, abs=1e-6)


def test_estimates_tell_what_was_done(restorer, photo):
    (clean,) = restorer.estimate(photo)
    (noisy,) = restorer.estimate(degraded(photo, noise=10)[0])
    (blocky,) = restorer.estimate(degraded(photo, quality=25)[0])
    (blurred,) = restorer.estimate(F.avg_pool2d(photo, 5, stride=1, padding=2, count_include_pad=False))
    assert abs(blocky.quality - 25) < 15
    assert noisy.noise > clean.noise + 2
    assert clean.quality > blocky.quality + 30
    assert blurred.blur > clean.blur + 0.3
    (told,) = restorer.estimate(photo, quality=12)
    assert told == replace(clean, quality=12)


def test_strength_0_is_bicubic_and_more_does_more(restorer, photo):
    image, _ = degraded(photo, noise=8)
    enlarged = F.interpolate(image, (450, 675), mode="bicubic").clamp(0, 1)
    torch.testing.assert_close(restorer(image, longest_side=675, strength=0), enlarged)
    changes = [(restorer(image, strength=strength) - image).square().mean() for strength in (0.3, 1, 2)]
    assert changes == sorted(changes)


def test_blur_is_left_unless_asked_for(restorer, photo):
    blurred = F.avg_pool2d(photo, 5, stride=1, padding=2, count_include_pad=False)
    damage = [replace(each, noise=2) for each in restorer.estimate(blurred)]
    left = restorer(blurred, damage=damage)
    assert psnr(left, blurred) > 38
    made = restorer(blurred, damage=damage, deblur=1)
    assert psnr(made, photo) > psnr(left, photo) + 0.1


def test_damage_is_what_a_caller_says(restorer, photo):
    image, _ = degraded(photo, noise=8)
    damage = restorer.estimate(image)
    torch.testing.assert_close(restorer(image), restorer(image, damage=damage))
    assert (restorer(image, damage=[Damage(25, 100, 0)]) - restorer(image)).abs().max() > 0.01
    assert Damage.of_levels(torch.tensor(damage[0].levels)).noise == pytest.approx(damage[0].noise)
    assert str(Damage(7.4, 43.2, 0.94)) == "noise 7, JPEG quality 43, blur 0.9 px"


def test_tiles_agree(restorer):
    """Those with a margin give the whole picture's result, at whatever size and borders."""
    image = torch.rand(1, 3, 520, 801, generator=torch.Generator().manual_seed(0))
    seen = []
    tiled = restorer(image, tile=512, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(count, 12) for count in range(1, 13)]
    torch.testing.assert_close(tiled, restorer(image), rtol=0, atol=2e-5)


def test_pictures_of_a_batch_do_not_influence_each_other(restorer, photo):
    other, _ = degraded(photo.flip(3), noise=12)
    both = restorer(torch.cat([photo, other]))
    torch.testing.assert_close(both[1:], restorer(other), rtol=0, atol=2e-5)
    assert len(restorer.estimate(torch.cat([photo, other]))) == 2


def test_what_comes_with_the_package(restorer):
    path = weights_path()
    assert path.stat().st_size < 4 * 2**20
    card = (path.parent / "README.md").read_text()
    for said in ("ImageNet", "BSDS500", "Apache-2.0", "does not cover"):
        assert said in card
    files = locate_model("small")
    assert files.have_weights
    assert files.fingerprint() == locate_model("small").fingerprint()
    assert isinstance(load_model(files), Restorer)


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"strength": -1}, "strength is -1; accepted: 0 to 10"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"deblur": 11}, "deblur is 11; accepted: 0 to 10"),
        ({"scale": 0}, "scale is 0"),
        ({"scale": float("inf")}, "scale is inf"),
        ({"tile": 100}, "tile is 100; accepted: 512 pixels or more"),
        ({"memory": "1MB"}, "memory is 1 MB; accepted: "),
        ({"damage": []}, "damage is of 0 pictures; accepted: that of 1"),
    ],
)
def test_refusals(restorer, photo, settings, refusal):
    with pytest.raises(InputError, match=refusal):
        restorer(photo, **settings)


def test_refused_pictures_and_files(restorer, tmp_path):
    with pytest.raises(InputError, match=r"image has values from 0 to 255; accepted: 0 to 1"):
        restorer(torch.tensor([0.0, 255.0]).expand(1, 3, 4, 2))
    with pytest.raises(InputError, match="is no file"):
        locate_model(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="weights is given, and the model is small"):
        locate_model("small", weights="lora.safetensors")
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, other)
    with pytest.raises(InputError, match="cannot be read"):
        Restorer.from_pretrained(other)
