import numpy as np
import pytest
import torch

from omniup.encoders import descriptors
from omniup.training.anyup.configuration import DataSettings
from omniup.training.anyup.views import cut, regions


def settings(image_size, input_size, crop_size, crops):
    return DataSettings(
        images=["sample:coffee"], image_size=image_size, input_size=input_size, crop_size=crop_size, crops=crops
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("patch", [4, 8, 16])
def test_a_crop_s_features_are_those_of_its_part_of_the_photograph(patch, seed):
    """For a descriptor that looks at one cell at a time, which makes them equal."""
    images = torch.rand(2, 3, 96, 96)
    views = cut(images, patch, settings(96, 48, 32, 3), np.random.default_rng(seed))
    whole = descriptors.colours(images, patch)
    assert whole.shape[2:] == views.size
    expected = descriptors.colours(views.crops.flatten(0, 1), patch)
    assert torch.allclose(regions(whole, views.corners, views.cells), expected, atol=1e-6)


def test_shapes():
    views = cut(torch.rand(2, 3, 448, 448), 14, settings(448, 224, 224, 4), np.random.default_rng(0))
    assert views.guidance.shape == (2, 3, 224, 224)
    assert views.crops.shape == (2, 4, 3, 224, 224)
    assert views.corners.shape == (2, 4, 2)
    assert (views.cells, views.size) == (16, (32, 32))


def test_all_places_are_drawn():
    views = cut(torch.rand(1, 3, 32, 32), 8, settings(32, 16, 16, 64), np.random.default_rng(0))
    places = {tuple(corner) for corner in views.corners[0].tolist()}
    assert places == {(row, column) for row in range(3) for column in range(3)}


def test_without_crops_the_photograph_is_the_guidance_and_the_target():
    images = torch.rand(2, 3, 32, 32)
    views = cut(images, 8, settings(32, 16, 224, 0), np.random.default_rng(0))
    assert torch.equal(views.guidance, images)
    assert torch.equal(views.crops[:, 0], images)
    assert views.reduced.shape == (2, 3, 16, 16)
    assert (views.corners.tolist(), views.cells, views.size) == ([[[0, 0]], [[0, 0]]], 4, (4, 4))


def test_one_crop_may_be_the_whole():
    images = torch.rand(1, 3, 32, 32)
    views = cut(images, 8, settings(32, 32, 32, 1), np.random.default_rng(0))
    assert torch.equal(views.crops[:, 0], images)
    assert torch.equal(views.guidance, images)
