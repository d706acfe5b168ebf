import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.restoration.degradation.resize import Resize, resize

MODES = st.sampled_from(["area", "bilinear", "bicubic"])


@given(
    full=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    now=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    factor=st.floats(0.01, 2),
    mode=MODES,
)
def test_the_size_is_a_part_of_the_full_size_and_constants_stay_constant(full, now, factor, mode):
    out = resize(torch.full((2, 3, *now), 0.3), full, Resize(factor, mode))
    assert out.shape == (2, 3, *(max(1, round(factor * side)) for side in full))
    torch.testing.assert_close(out, torch.full_like(out, 0.3))


def test_area_takes_the_mean():
    images = torch.rand(2, 3, 12, 20)
    means = images.unflatten(2, (3, 4)).unflatten(4, (5, 4)).mean((3, 5))
    torch.testing.assert_close(resize(images, (12, 20), Resize(0.25, "area")), means)


@pytest.mark.parametrize("mode", ["area", "bilinear", "bicubic"])
def test_the_same_size_is_the_same_image(mode):
    images = torch.rand(1, 3, 7, 9)
    assert resize(images, (28, 36), Resize(0.25, mode)) is images
