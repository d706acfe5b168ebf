import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from omniup.encoders import Projection
from omniup.errors import InputError


def test_values_are_the_same_on_every_machine():
    red_green_blue = torch.eye(3)[..., None, None]  # [3, 3, 1, 1]
    features = Projection(channels=4)(red_green_blue).features
    expected = [
        [0.188817, 0.160214, 0.741505, -0.896702],
        [-0.198390, -0.818129, 0.538547, -0.441664],
        [0.961764, 0.552265, -0.400171, 0.029284],
    ]
    assert torch.allclose(features[:, :, 0, 0], torch.tensor(expected), atol=1e-5)


@pytest.mark.usefixtures("random_state")
def test_the_random_state_plays_no_part(image):
    first = Projection()(image).features
    assert torch.equal(Projection()(image).features, first)


def test_another_seed_gives_other_directions(image):
    assert not torch.allclose(Projection(seed=0)(image).features, Projection(seed=1)(image).features)


@given(st.floats(0, 1), st.integers(1, 5), st.integers(1, 40), st.integers(1, 40))
def test_it_is_linear(share, channels, height, width):
    one, other = torch.rand(2, 1, channels, height, width, dtype=torch.float64)
    project = Projection(channels=6, stride=4)
    mixed = project(share * one + (1 - share) * other).features
    assert torch.allclose(mixed, share * project(one).features + (1 - share) * project(other).features)


def test_it_is_the_reduced_image_times_one_matrix(image):
    features = Projection(channels=7)(image, (6, 8)).features
    reduced = F.interpolate(image, size=(6, 8), mode="bilinear", align_corners=False)
    matrix = torch.linalg.lstsq(reduced.movedim(1, 3).reshape(-1, 3), features.movedim(1, 3).reshape(-1, 7)).solution
    assert torch.allclose(torch.einsum("bghw,gc->bchw", reduced, matrix), features, atol=1e-5)
    assert torch.allclose(matrix.norm(dim=0), torch.ones(7))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 9])
def test_any_number_of_image_channels(channels):
    assert Projection(channels=5)(torch.rand(2, channels, 32, 48)).features.shape == (2, 5, 2, 3)


@pytest.mark.parametrize(("size", "grid"), [((97, 130), (6, 8)), ((1, 1), (1, 1)), ((7, 40), (1, 3))])
def test_the_own_grid_is_the_image_over_the_stride(size, grid):
    assert Projection()(torch.rand(1, 3, *size)).features.shape == (1, 32, *grid)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_is_the_image_s(image, dtype):
    assert Projection()(image.to(dtype)).features.dtype == dtype


def test_it_says_what_it_is(image):
    encoding = Projection()(image.requires_grad_())
    assert (encoding.encoder, encoding.weights) == ("projection", "deterministic projection")
    assert not encoding.features.requires_grad


@pytest.mark.parametrize(("setting", "value"), [("channels", 0), ("stride", 0), ("seed", -1)])
def test_a_setting_out_of_range_is_refused(setting, value):
    with pytest.raises(InputError, match=f"^{setting} is {value}; accepted: "):
        Projection(**{setting: value})
