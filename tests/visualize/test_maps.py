"""Error maps, and the panels of Gaussian kernels."""

import math

import pytest
import torch

from omniup.errors import InputError
from omniup.visualize import error_map, parameter_panels, sheet, tensors


def test_error_map_is_the_mean_absolute_difference_over_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.rand(2, 1, 4, 6, 5, generator=generator)
    expected = (prediction - target).abs().mean(dim=1, keepdim=True)
    torch.testing.assert_close(error_map(prediction, target), expected)
    torch.testing.assert_close(error_map(target.double(), prediction), expected)
    monkeypatch.setattr(tensors, "PIECE_BYTES", 1)
    torch.testing.assert_close(error_map(prediction, target), expected)


def test_error_map_of_bytes_does_not_wrap_around() -> None:
    zero, one = torch.zeros(1, 1, 1, 1, dtype=torch.uint8), torch.ones(1, 1, 1, 1, dtype=torch.uint8)
    assert error_map(zero, one).item() == 1


def test_error_map_refuses_shapes_that_differ() -> None:
    with pytest.raises(InputError, match="accepted: equal shapes"):
        error_map(torch.rand(1, 3, 4, 4), torch.rand(1, 1, 4, 4))
    with pytest.raises(InputError, match="target has the shape"):
        error_map(torch.rand(1, 3, 4, 4), torch.rand(3, 4, 4))


def test_parameter_panels() -> None:
    sigma_x, sigma_y = torch.tensor([[[[4.0, 8.0]]]]), torch.tensor([[[[6.0, 16.0]]]])
    theta, sigma_r = torch.tensor([[[[0.5, 0.5 + math.pi]]]]), torch.full((1, 1, 1, 2), 0.12)
    panels = parameter_panels(sigma_x, sigma_y, theta, sigma_r)
    assert [panel.title.split(",")[0] for panel in panels] == ["sigma_x", "sigma_y", "theta", "sigma_r"]
    assert [panel.unit for panel in panels] == ["px", "px", "rad", "guidance units"]
    assert panels[0].limits == panels[1].limits == (4, 16)
    assert panels[2].limits == (-math.pi / 2, math.pi / 2)
    torch.testing.assert_close(panels[2].image, torch.full((1, 1, 1, 2), 0.5))  # half a turn is the same ellipse
    sheet(panels, histograms=True)


def test_parameter_panels_refuse_other_shapes() -> None:
    good = torch.rand(1, 1, 2, 2)
    with pytest.raises(InputError, match="theta has the shape"):
        parameter_panels(good, good, good[0], good)
