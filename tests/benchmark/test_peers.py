"""OpenCV's guided filters as methods of the benchmark."""

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from omniup import InputError
from omniup.upsamplers import methods
from omniup_bench.methods import Entry, default_methods
from omniup_bench.peers import PEERS, FastGlobalSmoother, GuidedFilter, JointBilateralFilter

PRESETS = [f"{name}:{preset}" for name, method in PEERS.items() for preset in method.variants["preset"]]


def step(height=48, width=64):
    """An image of two colours, and depth with the same edge, which lies inside a cell of 8 pixels."""
    right = (torch.arange(width) >= 36).float().expand(1, 1, height, width)
    image = torch.cat([0.2 + 0.5 * right, 0.7 - 0.3 * right, 0.4 + 0.1 * right], dim=1)
    return image, 1 + 2 * right


@pytest.mark.parametrize("name", PRESETS)
def test_constants_stay_constant_and_edges_get_sharper_than_bicubic(name):
    (image, depth), method = step(), Entry.parse(name).build()
    prepared = method.prepare(image, (6, 8))
    torch.testing.assert_close(
        prepared.render(torch.full((1, 5, 6, 8), 0.7), "features"), torch.full((1, 5, 48, 64), 0.7)
    )
    low = F.adaptive_avg_pool2d(depth, (6, 8))
    errors = [
        (found - depth).square().mean()
        for found in (
            prepared.render(low, "measurement"),
            F.interpolate(low, (48, 64), mode="bicubic", align_corners=False),
        )
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("name", PEERS)
def test_channels_images_and_signals_do_not_influence_each_other(name):
    torch.manual_seed(0)
    images, signal, method = torch.rand(2, 3, 32, 40), torch.rand(2, 7, 4, 5), Entry.parse(name).build()
    found = method.prepare(images, (4, 5)).render(signal, "features")
    for image in range(2):
        one = method.prepare(images[image : image + 1], (4, 5))
        for channel in range(7):
            alone = one.render(signal[image : image + 1, channel : channel + 1], "features")
            torch.testing.assert_close(found[image : image + 1, channel : channel + 1], alone)
    several = method.prepare(images[:1], (4, 5)).render(signal, "features")
    torch.testing.assert_close(several[:1], found[:1])
    assert not torch.allclose(several[1:], found[1:])


@pytest.mark.parametrize(
    ("method", "direct"),
    [
        (GuidedFilter(0.5, 0.01), lambda image, wide: cv2.ximgproc.guidedFilter(image, wide, 4, 0.01)),
        (
            JointBilateralFilter(0.5, 0.1),
            lambda image, wide: cv2.ximgproc.jointBilateralFilter(image, wide, -1, 0.1, 4.0),
        ),
        (
            FastGlobalSmoother(1, 0.02),
            lambda image, wide: cv2.ximgproc.fastGlobalSmootherFilter(
                (255 * image).round().astype(np.uint8), wide, 64.0, 5.1
            ),
        ),
    ],
    ids=lambda each: type(each).__name__,
)
def test_results_are_those_of_opencv_at_cells_of_eight_pixels(method, direct):
    random = np.random.default_rng(0)
    image = random.random((32, 40, 3), dtype=np.float32)
    low = torch.from_numpy(random.random((1, 1, 4, 5), dtype=np.float32))
    wide = F.interpolate(low, (32, 40), mode="bicubic", align_corners=False)[0, 0].numpy()
    found = method.prepare(torch.from_numpy(image).permute(2, 0, 1)[None], (4, 5)).render(low, "measurement")
    np.testing.assert_allclose(found[0, 0].numpy(), direct(image, wide), atol=1e-6)


@pytest.mark.parametrize("name", PEERS)
def test_grey_guidance_is_taken_and_four_bands_are_refused(name):
    method = Entry.parse(name).build()
    assert method.prepare(torch.rand(1, 1, 32, 32), (4, 4)).render(torch.rand(1, 2, 4, 4)).shape == (1, 2, 32, 32)
    with pytest.raises(InputError, match=r"^image has 4 channels; accepted: one or three, with OpenCV$"):
        method.prepare(torch.rand(1, 4, 32, 32), (4, 4))


def test_they_have_names_in_the_benchmark_and_not_in_the_library():
    assert not PEERS.keys() & methods().keys()
    assert not PEERS.keys() & set(default_methods())
    entry = Entry.parse("opencv_guided_filter:masks,eps=0.5")
    assert entry.build() == GuidedFilter(GuidedFilter.presets["masks"]["radius"], 0.5)
    assert entry.settings() == {**GuidedFilter.presets["masks"], "eps": 0.5}
    with pytest.raises(InputError, match=r"^preset is 'nonsense'; accepted: depth, masks, street_scenes$"):
        Entry.parse("opencv_fgs:nonsense").build()
    with pytest.raises(InputError, match=r"^smoothness is -1; accepted: numbers from "):
        Entry.parse("opencv_fgs,smoothness=-1").build()
