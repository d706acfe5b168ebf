"""`omniup.upsample` of lists, of several signals of an image, and of parts of an image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import omniup
from omniup import InputError
from omniup.files import sample_image
from omniup.mixing import cell_means

torch.manual_seed(0)
IMAGES = torch.rand(2, 3, 48, 64)


def test_a_batch_of_signals_for_a_list_of_images():
    images, signals = [torch.rand(1, 3, 48, 64), torch.rand(1, 3, 30, 40)], torch.rand(2, 5, 6, 8)
    made = omniup.upsample(images, signals)
    for image, signal, result in zip(images, signals.split(1), made, strict=True):
        assert torch.equal(result, omniup.upsample(image, signal))


def test_lists_of_images_of_any_sizes():
    images = [torch.rand(1, 3, 48, 64), np.random.default_rng(0).random((40, 40, 3)), torch.rand(1, 1, 30, 50)]
    signals = [torch.rand(1, 5, 6, 8), torch.rand(1, 2, 5, 5), torch.rand(1, 1, 3, 5)]
    results = omniup.upsample(images, signals)
    assert [tuple(each.shape) for each in results] == [(1, 5, 48, 64), (1, 2, 40, 40), (1, 1, 30, 50)]
    for image, signal, result in zip(images, signals, results, strict=True):
        assert torch.equal(result, omniup.upsample(image, signal))
    masks = [None, torch.rand(5, 5) > 0.3, None]
    masked = omniup.upsample(images, signals, valid=masks, method="bilinear")
    assert torch.equal(masked[1], omniup.upsample(images[1], signals[1], valid=masks[1], method="bilinear"))


@pytest.mark.parametrize("images", [1, 2])
def test_several_signals_of_each_image(images):
    signals, valid = torch.rand(2, 3, 4, 6, 8), torch.rand(2, 3, 1, 6, 8) > 0.2
    result = omniup.upsample(IMAGES[:images], signals, valid=valid)
    assert result.shape == (2, 3, 4, 48, 64)
    for b in range(2):
        for t in range(3):
            image = IMAGES[min(b, images - 1)][None]
            one = omniup.upsample(image, signals[b, t][None], valid=valid[b, t][None])
            torch.testing.assert_close(result[b, t], one[0], atol=1e-5, rtol=1e-5)


def test_the_confidence_is_that_of_the_result():
    signal, region = torch.rand(2, 5, 6, 8), (-8, 0, 60, 64)
    valid = torch.rand(2, 1, 6, 8) > 0.2
    options = {"method": "joint_bilateral", "consistency": 1, "valid": valid}
    made = omniup.upsample(IMAGES, signal, confidence=True, **options)
    assert torch.equal(made.result, omniup.upsample(IMAGES, signal, **options))
    prepared = omniup.upsampler("joint_bilateral").prepare(IMAGES, (6, 8))
    assert torch.equal(made.confidence, prepared.confidence(signal, valid=valid, result=made.result))
    assert not torch.equal(made.confidence, prepared.confidence(signal, valid=valid))  # of no steps of consistency
    part = omniup.upsample(IMAGES, signal, region=region, confidence=True)
    assert (part.result.shape, part.confidence.shape) == ((2, 5, 48, 64), (2, 1, 48, 64))
    large = omniup.upsample(IMAGES, signal, size=(60, 70), confidence=True)
    assert (large.result.shape, large.confidence.shape) == ((2, 5, 60, 70), (2, 1, 60, 70))
    each = omniup.upsample([IMAGES[:1], IMAGES[1:]], [signal[:1], signal[1:]], confidence=True)
    assert torch.equal(each[1].confidence, omniup.upsample(IMAGES[1:], signal[1:], confidence=True).confidence)


@pytest.mark.parametrize("images", [1, 2])
def test_each_of_several_signals_has_its_confidence(images):
    signals = torch.rand(2, 3, 4, 6, 8)
    made = omniup.upsample(IMAGES[:images], signals, confidence=True)
    assert (made.result.shape, made.confidence.shape) == ((2, 3, 4, 48, 64), (2, 3, 1, 48, 64))
    one = omniup.upsample(IMAGES[images - 1][None], signals[1, 2][None], confidence=True)
    torch.testing.assert_close(made.confidence[1, 2], one.confidence[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", ["pyramid_bilateral", "joint_bilateral", "bilinear", "guided_filter"])
def test_a_crop_is_upsampled_by_its_part_of_the_image(method):
    signal, region = torch.rand(1, 5, 4, 5), (8, 16, 32, 40)
    made = omniup.upsample(IMAGES[:1], signal, region=region, method=method)
    assert torch.equal(made, omniup.upsample(IMAGES[:1, :, 8:40, 16:56], signal, method=method))


@pytest.mark.parametrize("method", ["pyramid_bilateral", "joint_bilateral", "bilinear", "guided_filter"])
def test_padding_is_left_out(method):
    signal = torch.rand(1, 3, 8, 8)
    region = (0, 0, 64, 64)  # a picture of 48 × 64, padded below to a square
    made = omniup.upsample(IMAGES[:1], signal, region=region, method=method)
    assert made.shape == (1, 3, 48, 64)
    poisoned = signal.clone()
    poisoned[:, :, 6:] = torch.nan
    assert torch.equal(omniup.upsample(IMAGES[:1], poisoned, region=region, method=method), made)
    whole = omniup.upsample(IMAGES[:1], signal[:, :, :6], method=method)
    torch.testing.assert_close(made[:, :, :16], whole[:, :, :16], atol=0.05, rtol=0)


def test_a_letterboxed_depth_keeps_its_edges():
    truth = torch.zeros(1, 1, 48, 64)
    truth[..., 29:] = 1
    image = truth.expand(1, 3, 48, 64) * 0.8
    padded = F.pad(truth, (0, 0, 8, 8), value=9.0)  # above and below
    made = omniup.upsample(image, cell_means(padded, (8, 8)), region=(-8, 0, 64, 64), signal_type="measurement")
    bilinear = F.interpolate(cell_means(truth, (6, 8)), (48, 64), mode="bilinear")
    assert (made - truth).abs().mean() < 0.2 * (bilinear - truth).abs().mean()


@pytest.mark.parametrize(
    ("image", "signal", "options", "message"),
    [
        ([IMAGES], torch.rand(1, 5, 6, 8), {}, r"signal is a batch of 1 and image of 2"),
        ([IMAGES[:1]] * 3, torch.rand(2, 5, 6, 8), {}, r"signal is a list of 2, and image one of 3"),
        ([IMAGES], [], {}, r"signal is a list of 0, and image one of 1; accepted: a signal for each image"),
        (IMAGES, [torch.rand(1, 5, 6, 8)], {}, r"signal is a list, and the image is none"),
        ([IMAGES[:1]], [torch.rand(1, 5, 6, 8)], {"valid": torch.ones(6, 8)}, r"valid is no list of a mask for each"),
        (IMAGES, torch.rand(3, 2, 5, 6, 8), {}, r"signal is a batch of 3 and image of 2"),
        (
            IMAGES,
            torch.rand(2, 5, 6, 8),
            {"region": (0, 0, 48)},
            r"region is \(0, 0, 48\); accepted: four whole",
        ),
        (IMAGES, torch.rand(2, 5, 6, 8), {"region": (0, 0, 0, 9)}, r"region is \(0, 0, 0, 9\); accepted: four"),
        (IMAGES, torch.rand(2, 5, 6, 8), {"region": (0, 0, 1000, 9)}, r"region is .* at most four times the image"),
        (IMAGES, torch.rand(2, 5, 6, 8), {"region": (0.0, 0, 9, 9)}, r"region is \(0.0, 0, 9, 9\)"),
        (
            IMAGES,
            torch.rand(2, 5, 6, 8),
            {"region": (48, 0, 9, 9)},
            r"region of 9 × 9 pixels at top 48, left 0 lies outside the image",
        ),
        (
            IMAGES,
            torch.rand(2, 5, 6, 8),
            {"region": (0, 0, 48, 64), "size": (96, 128)},
            r"size is given together with `region`",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(image, signal, options, message):
    with pytest.raises(InputError, match=f"^{message}"):
        omniup.upsample(image, signal, **options)


def test_paths_and_pictures_are_read_as_by_the_command(tmp_path):
    photo, depth = sample_image("chelsea").resize((60, 40)), Image.fromarray(np.random.rand(8, 12).astype(np.float32))
    labels = Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12) // 32)
    labels.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    photo.save(tmp_path / "photo.png")
    depth.save(tmp_path / "depth.tif")
    labels.save(tmp_path / "labels.png")
    full = omniup.upsample(str(tmp_path / "photo.png"), tmp_path / "depth.tif")
    assert full.shape == (1, 1, 40, 60)
    assert torch.equal(omniup.upsample(photo, depth), full)
    assert torch.equal(omniup.upsample(photo, torch.from_numpy(np.array(depth))[None, None]), full)
    found = omniup.upsample([photo, tmp_path / "photo.png"], [labels, tmp_path / "labels.png"], size=30)
    assert torch.equal(*found)
    assert found[0].shape == (1, 1, 20, 30)
    assert found[0].unique().tolist() == [0, 1, 2]  # a palette picture's numbers are never mixed


def test_samples_have_names():
    assert omniup.upsample("sample:coffee", torch.rand(1, 2, 20, 30), size=60).shape == (1, 2, 40, 60)


@pytest.mark.parametrize(("size", "shape"), [(128, (85, 128)), (np.int64(90), (60, 90)), (2, (1, 2))])
def test_one_number_is_the_longer_side(size, shape):
    assert omniup.upsample(torch.rand(1, 3, 40, 60), torch.rand(1, 1, 1, 2), size=size).shape[2:] == shape


@pytest.mark.parametrize("size", [0, -3, True, 2.5, "60"])
def test_sizes_that_are_none(size):
    with pytest.raises(InputError, match=r"^size is "):
        omniup.upsample(torch.rand(1, 3, 40, 60), torch.rand(1, 1, 4, 6), size=size)
