"""Numbers become the colours that matplotlib gives them."""

import matplotlib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from omniup.errors import InputError
from omniup.visualize import heat_map, limits_of, to_picture


def test_to_picture_rounds_and_clamps() -> None:
    tensor = torch.tensor([0.0, 0.5, 1.0, -3.0, 7.0, 1.4 / 255]).reshape(1, 1, 2, 3)
    picture = to_picture(tensor)
    assert (picture.mode, picture.size) == ("RGB", (3, 2))
    assert_array_equal(np.asarray(picture)[..., 0], [[0, 128, 255], [0, 255, 1]])


@pytest.mark.parametrize("channels", [3, 4])
def test_to_picture_gives_back_the_pixels_of_a_picture(channels: int) -> None:
    pixels = torch.randint(0, 256, (5, 7, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    tensor = pixels.permute(2, 0, 1)[None].float() / 255
    for dtype in (torch.float16, torch.float32, torch.float64):
        assert_array_equal(np.asarray(to_picture(tensor.to(dtype))), pixels)


@pytest.mark.parametrize("colours", ["inferno", "twilight"])
def test_heat_map_colours_are_matplotlibs(colours: str) -> None:
    values = torch.tensor([[2.0, 3.0, 4.0], [2.5, 1.0, 9.0]])
    picture = heat_map(values[None, None], limits=(2, 4), colours=colours)
    assert (picture.mode, picture.size) == ("RGB", (3, 2))
    expected = matplotlib.colormaps[colours]([[0.0, 0.5, 1.0], [0.25, 0.0, 1.0]], bytes=True)[..., :3]
    assert_array_equal(np.asarray(picture), expected)


def test_heat_map_spans_the_finite_values_by_default() -> None:
    values = torch.tensor([-1.0, 0.0, 3.0, torch.nan, torch.inf]).reshape(1, 1, 1, 5)
    expected = np.asarray(heat_map(torch.tensor([-1.0, 0.0, 3.0]).reshape(1, 1, 1, 3), limits=(-1, 3)))
    pixels = np.asarray(heat_map(values))
    assert_array_equal(pixels[:, :3], expected)
    assert_array_equal(pixels[0, 3], [0, 0, 0])
    assert_array_equal(pixels[0, 4], expected[0, 2])


@pytest.mark.parametrize("value", [-16.0, 0.0, 0.12])
def test_constant_maps_take_the_middle_colour(value: float) -> None:
    constant = torch.full((1, 1, 2, 2), value)
    middle = matplotlib.colormaps["inferno"](0.5, bytes=True)[:3]
    difference = np.asarray(heat_map(constant)).astype(int) - middle
    assert np.abs(difference).max() <= 2  # the neighbouring entry of the table, where rounding falls that way
    low, high = limits_of(constant)
    assert low < value < high


def test_limits_are_shared_by_all_maps() -> None:
    assert limits_of(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[-4.0], [0.5], [torch.nan]]]])) == (-4, 2)
    assert limits_of(torch.full((1, 1, 1, 2), torch.nan)) == (0, 1)


@pytest.mark.parametrize("limits", [(1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_limits_that_do_not_ascend_are_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="limits is"):
        heat_map(torch.rand(1, 1, 2, 2), limits=limits)


def test_unknown_colours_are_refused() -> None:
    with pytest.raises(InputError, match="colours is 'nonsense'"):
        heat_map(torch.rand(1, 1, 2, 2), colours="nonsense")


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"map has the shape \[1, 3, 2, 2\]; accepted: a non-empty \[1, 1, h, w\]"):
        heat_map(torch.rand(1, 3, 2, 2))
    with pytest.raises(InputError, match=r"tensor has the shape \[1, 2, 2, 2\]; .* \[1, 1 or 3 or 4, h, w\]"):
        to_picture(torch.rand(1, 2, 2, 2))
