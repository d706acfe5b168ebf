import pytest
import torch

from omniup import InputError
from omniup.files import image_tensor, sample_image
from omniup.restoration.degradation import Degradation, apply, degrade, draw
from omniup.restoration.degradation.config import SharpeningSettings
from omniup.restoration.degradation.jpeg import compress
from omniup.restoration.degradation.process import filter_images
from omniup.restoration.degradation.sharpen import sharpen


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


SILENT = {"sigma": [0.0, 0.0], "poisson": [0.0, 0.0]}
KEPT = {"up": 0.0, "down": 0.0, "keep": 1.0}


def settings(*, first=None, second=None, **others):
    """Nothing but JPEG, unless it is said otherwise."""
    nothing = {"blur": {"probability": 0.0}, "resize": KEPT, "noise": SILENT}
    last = {"low_pass": 0.0} | others.pop("last", {})
    stages = {"first": nothing | (first or {}), "second": nothing | (second or {})}
    return Degradation.model_validate(
        {"sharpening": {"weight": 0.0}, "stage2_scale": 1.0, "last": last} | stages | others
    )


@pytest.fixture(scope="module")
def photos():
    """Four parts of a photograph, [4, 3, 96, 112]."""
    photo = image_tensor(sample_image("chelsea"))
    return torch.cat([photo[:, :, top : top + 96, left : left + 112] for top in (40, 140) for left in (90, 220)])


@pytest.fixture(scope="module")
def pair(photos):
    return degrade(photos, Degradation(), seeded())


@pytest.mark.parametrize("seed", range(4))
def test_pairs_are_pictures_of_full_size(photos, seed):
    lq, target, draws = degrade(photos, Degradation(), seeded(seed))
    assert lq.shape == target.shape == photos.shape
    assert len(draws.images) == 4
    for images in (lq, target):
        assert images.dtype == torch.float32
        assert images.min() >= 0 and images.max() <= 1
        torch.testing.assert_close(images * 255, (images * 255).round(), rtol=0, atol=1e-4)
    assert ((lq - target).square().mean((1, 2, 3)) > 1e-4).all()  # below 40 dB


def test_the_target_is_the_sharpened_image(photos, pair):
    torch.testing.assert_close(pair.target, sharpen(photos, SharpeningSettings()), rtol=0, atol=0.501 / 255)


def test_one_seed_is_one_result(photos, pair):
    again, other = degrade(photos, Degradation(), seeded()), degrade(photos, Degradation(), seeded(1))
    assert torch.equal(again.lq, pair.lq) and torch.equal(again.target, pair.target)
    assert again.draws == pair.draws != other.draws
    assert (other.lq != pair.lq).flatten(1).any(1).all()
    assert torch.equal(apply(photos, Degradation(), pair.draws).lq, pair.lq)


def test_a_generator_that_is_restored_goes_on_as_before(photos):
    generator = seeded()
    degrade(photos[:1], Degradation(), generator)
    state = generator.get_state()
    second = degrade(photos[:1], Degradation(), generator)
    resumed = torch.Generator()
    resumed.set_state(state)
    assert torch.equal(degrade(photos[:1], Degradation(), resumed).lq, second.lq)


@pytest.mark.parametrize("count", [1, 3])
def test_the_batch_does_not_matter(photos, pair, count):
    fewer = degrade(photos[:count], Degradation(), seeded())
    assert fewer.draws.images == pair.draws.images[:count]
    assert torch.equal(fewer.lq, pair.lq[:count]) and torch.equal(fewer.target, pair.target[:count])
    elsewhere = torch.cat([photos[:count], photos[count:].flip(3)])
    assert torch.equal(degrade(elsewhere, Degradation(), seeded()).lq[:count], fewer.lq)


@pytest.mark.parametrize("seed", [0, 2])
def test_nor_does_it_where_images_are_large(seed):
    photo = image_tensor(sample_image("astronaut"))
    among = degrade(photo.expand(4, -1, -1, -1), Degradation(), seeded(seed)).lq
    assert torch.equal(among[:1], degrade(photo, Degradation(), seeded(seed)).lq)


def test_types(photos, pair):
    double = degrade(photos.double(), Degradation(), seeded())
    assert double.lq.dtype == double.target.dtype == torch.float64
    assert double.draws == pair.draws
    half = degrade(photos.half(), Degradation(), seeded())
    assert half.lq.dtype == torch.float16
    levels = (255 * half.lq.float()).round() / 255
    single = degrade(photos.half().float(), Degradation(), seeded())
    torch.testing.assert_close(levels, single.lq, rtol=0, atol=1e-6)  # it is computed in float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(photos, pair):
    there = degrade(photos.cuda(), Degradation(), seeded())
    assert there.lq.device.type == "cuda" and there.draws == pair.draws
    again = degrade(photos.cuda(), Degradation(), seeded())
    assert torch.equal(there.lq, again.lq)
    quiet = settings(first={"noise": SILENT}, second={"noise": SILENT})
    ours, theirs = (degrade(images, quiet, seeded()).lq for images in (photos, photos.cuda()))
    assert (theirs.cpu() - ours).abs().mean() < 0.1 / 255  # a level that is rounded the other way may change a block


@pytest.mark.parametrize("size", [(1, 1), (2, 90), (13, 8), (33, 34)])
@pytest.mark.parametrize("seed", range(3))
def test_small_images(size, seed):
    lq = degrade(torch.rand(2, 3, *size), Degradation(), seeded(seed)).lq
    assert lq.shape == (2, 3, *size) and lq.isfinite().all()


def test_without_the_rest_it_is_jpeg_twice(photos):
    lq, target, draws = degrade(photos, settings(), seeded())
    torch.testing.assert_close(target, photos)
    once = compress(photos, [image.first.quality for image in draws.images])
    twice = compress(once, [image.second.quality for image in draws.images])
    torch.testing.assert_close(lq, twice, rtol=0, atol=0.501 / 255)


def test_quality_100_compresses_nothing(photos):
    """JPEG at 100 would still lose half of the colours' resolution, so there would be no pictures without JPEG."""
    untouched = degrade(photos, settings(first={"quality": [100, 100]}, second={"quality": [100, 100]}), seeded())
    assert torch.equal(untouched.lq, untouched.target)
    some = settings(first={"quality": [100, 100]}, second={"quality": [99, 100]})
    made = degrade(photos, some, seeded())
    qualities = [image.second.quality for image in made.draws.images]
    assert set(qualities) == {99, 100}
    for quality, lq, target in zip(qualities, made.lq, made.target, strict=True):
        assert torch.equal(lq, target) == (quality == 100)


@pytest.mark.parametrize("jpeg_after", [False, True])
def test_the_order_at_the_end(photos, jpeg_after):
    last = {"low_pass": 1.0, "jpeg_after": float(jpeg_after)}
    lq, _, draws = degrade(photos, settings(last=last), seeded())
    kernels = [image.low_pass for image in draws.images]
    qualities = [image.second.quality for image in draws.images]
    expected = compress(photos, [image.first.quality for image in draws.images])
    if jpeg_after:
        expected = compress(filter_images(expected, kernels, (7, 21)), qualities)
    else:
        expected = filter_images(compress(expected, qualities), kernels, (7, 21)).clamp(0, 1)
    differs = (lq - expected).abs() > 0.501 / 255
    assert differs.float().mean() < 0.005  # a few blocks, where a level was rounded the other way before the JPEG


def test_a_constant_image_without_noise_stays_as_it_is():
    images = torch.tensor([0.2, 0.5, 0.9]).view(3, 1, 1, 1).expand(3, 3, 80, 80)
    quiet = settings(first={"blur": {}, "resize": {}}, second={"blur": {}, "resize": {}}, stage2_scale=4.0)
    for seed in range(4):
        lq = degrade(images, quiet, seeded(seed)).lq
        torch.testing.assert_close(lq, images, rtol=0, atol=4 / 255)  # what JPEG makes of a colour


@pytest.mark.parametrize(
    ("weaker", "stronger"),
    [
        ({"quality": [95, 95]}, {"quality": [10, 10]}),
        ({"noise": {"sigma": [1.0, 1.0], "gaussian": 1.0}}, {"noise": {"sigma": [50.0, 50.0], "gaussian": 1.0}}),
        ({"resize": KEPT}, {"resize": {"up": 0.0, "down": 1.0, "keep": 0.0, "factor": [0.1, 1.0]}}),
        ({"blur": {"sigma": [0.2, 0.2], "low_pass": 0.0}}, {"blur": {"sigma": [3.0, 3.0], "low_pass": 0.0}}),
    ],
)
def test_stronger_settings_degrade_more(photos, weaker, stronger):
    errors = [
        (pair.lq - pair.target).square().mean((1, 2, 3))
        for pair in (degrade(photos, settings(first=first), seeded()) for first in (weaker, stronger))
    ]
    assert (errors[1] > errors[0]).all()


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.rand(3, 8, 8), r"shape \[3, 8, 8\]"),
        (torch.rand(1, 1, 8, 8), r"shape \[1, 1, 8, 8\]"),
        (torch.rand(0, 3, 8, 8), r"shape \[0, 3, 8, 8\]"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "torch.uint8"),
        (torch.rand(1, 3, 8, 8) * 2 - 1, r"has values from -0\.\d+ to 0\.\d+; accepted: 0 to 1"),
        (torch.full((1, 3, 8, 8), torch.nan), "has values from nan"),
    ],
)
def test_refusals(images, said):
    with pytest.raises(InputError, match=said):
        degrade(images, Degradation(), seeded())


def test_draws_for_other_images_are_no_match(photos):
    with pytest.raises(InputError, match="draws are for 3 images; accepted: those for 4"):
        apply(photos, Degradation(), draw(Degradation(), 3, seeded()))
