"""The numbers of a picture become what they become of a whole picture in memory, to the last digit."""

import numpy as np
import pytest
import torch

from omniup import InputError
from omniup.jobs.pictures import opened_picture
from omniup.jobs.units import find_units
from omniup.upsamplers.bands import scale_bands
from omniup.upsamplers.checks import as_guidance

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr("omniup.jobs.pictures.WINDOW", 2**9)


def guidance_of(numbers):
    with opened_picture(numbers) as picture:
        units = find_units(picture, lambda: None)
        height, width = picture.size
        return units, units.guidance(*picture.read(slice(0, height), slice(0, width)))


@pytest.mark.parametrize(
    "numbers",
    [
        RNG.normal(0, 900, (3, 50, 70)).astype(np.float32),
        -np.exp(RNG.normal(0, 9, (2, 40, 30))).astype(np.float32),
        RNG.integers(0, 3000, (4, 51, 33)).astype(np.uint16),
        RNG.integers(-20, 3, (2, 51, 33)).astype(np.int16),
        np.full((2, 30, 30), 7, np.int32),
    ],
)
def test_bands_are_scaled_by_their_percentiles(numbers):
    units, found = guidance_of(numbers)
    assert units.divisor is None
    assert torch.equal(found, scale_bands(torch.from_numpy(numbers.astype(np.float32))[None]))


def test_bytes_and_numbers_from_0_to_1_stay():
    numbers = RNG.integers(0, 255, (30, 40, 3)).astype(np.uint8)
    assert torch.equal(guidance_of(numbers)[1], as_guidance(numbers))
    numbers = RNG.random((4, 30, 40)).astype(np.float32) * 1.1
    assert torch.equal(guidance_of(numbers)[1], as_guidance(torch.from_numpy(numbers)[None]))
    grey = RNG.integers(0, 255, (30, 40)).astype(np.uint8)
    assert torch.equal(guidance_of(grey)[1], as_guidance(grey).expand(1, 3, 30, 40))


def test_pixels_without_a_value_do_not_count():
    numbers = RNG.normal(50, 9, (2, 40, 60)).astype(np.float32)
    broken = numbers.copy()
    broken[0, :, :20] = np.nan
    found = guidance_of(broken)[1]
    assert (found[..., :20] == 0).all()
    assert torch.equal(found[..., 20:], scale_bands(torch.from_numpy(numbers[:, :, 20:].copy())[None]))


def test_picture_without_a_value_is_refused():
    with pytest.raises(InputError, match="image has no pixel with a value"):
        guidance_of(np.full((2, 20, 20), np.nan, np.float32))
