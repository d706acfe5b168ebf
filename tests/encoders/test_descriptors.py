import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.encoders import descriptors

ALL = {"hog": 18, "gabor": 24, "colours": 32}


@given(st.sampled_from(list(ALL)), st.integers(1, 4), st.integers(1, 4), st.sampled_from([4, 8, 16]))
def test_a_cell_each(kind, rows, columns, cell):
    image = torch.rand(2, 3, rows * cell, columns * cell)
    features = getattr(descriptors, kind)(image, cell)
    assert features.shape == (2, ALL[kind], rows, columns)
    assert features.isfinite().all()


@pytest.mark.parametrize("kind", ["hog", "gabor"])
def test_a_constant_image_shows_nothing(kind):
    assert getattr(descriptors, kind)(torch.full((1, 3, 32, 32), 0.7), 8).abs().max() < 2e-3


def test_gradients_fall_into_the_bin_of_their_direction():
    across = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    for image, orientation in ((across, 0), (across.flip(3), 180), (across.mT, 90), (across.mT.flip(2), 270)):
        histogram = descriptors.hog(image, 16)[0, :, 1, 1]
        place = orientation / 20
        expected = torch.zeros(18)
        expected[math.floor(place) % 18] += 1 - place % 1
        expected[math.ceil(place) % 18] += place % 1
        assert torch.nn.functional.cosine_similarity(histogram, expected, dim=0) > 0.999


def test_mirrored_images_have_mirrored_histograms():
    image = torch.rand(1, 3, 48, 64, dtype=torch.float64)
    mirrored = descriptors.hog(image.flip(3), 8).flip(3)
    # a gradient at angle θ points to π - θ in the mirror; bin b stands for the angle 20° b
    bins = [(9 - index) % 18 for index in range(18)]
    assert torch.allclose(mirrored[:, bins], descriptors.hog(image, 8))


@pytest.mark.parametrize("scale", range(3))
@pytest.mark.parametrize("direction", range(8))
def test_a_grating_is_seen_by_the_filter_it_was_made_for(scale, direction):
    angle, wavelength = direction * math.pi / 8, 4 * 2**scale
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    grating = 0.5 + 0.5 * torch.cos(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / wavelength)
    features = descriptors.gabor(grating.expand(1, 3, 128, 128), 16)[0, :, 4, 4]
    assert divmod(int(features.argmax()), 8) == (scale, direction)


def test_colours_are_means_of_cells():
    image = torch.rand(1, 3, 16, 16)
    means = torch.nn.functional.avg_pool2d(image, 8)
    assert torch.allclose(descriptors.colours(image, 8), descriptors.colours(means, 1), atol=1e-6)
