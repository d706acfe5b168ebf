"""Loss curves: drawn, on the axis that suits them, without warnings."""

from collections.abc import Sequence

import matplotlib.axes
import numpy as np
import pytest

from omniup.errors import InputError
from omniup.visualize import loss_curve


def inked(pixels: np.ndarray) -> int:
    """How many pixels are in colour, as only curves are."""
    return int((np.ptp(pixels.astype(int), axis=-1) > 60).sum())


@pytest.mark.parametrize(
    "losses", [[0.5], [0.5, 0.25], [0.0, 0.0], [1.0, 0.5, float("nan")], np.geomspace(1, 1e-6, 50).tolist()]
)
def test_any_sequence_is_drawn(losses: Sequence[float]) -> None:
    picture = loss_curve(losses)
    assert (picture.mode, picture.size) == ("RGB", (720, 400))
    assert inked(np.asarray(picture)) > 50


def test_each_of_several_curves_has_its_colour() -> None:
    both = loss_curve({"one": [1.0, 0.5], "two": [0.8, 0.7]}, title="Cost: $1 of $2")
    assert inked(np.asarray(both)) > inked(np.asarray(loss_curve({"one": [1.0, 0.5]})))


@pytest.mark.parametrize(
    ("losses", "logarithmic"), [([1.0, 0.5], False), ([1.0, 0.01], True), ([1.0, 0.0], False), ([100.0, -1.0], False)]
)
def test_the_axis_is_logarithmic_for_wide_positive_ranges(
    losses: list[float], logarithmic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales: list[str] = []
    monkeypatch.setattr(matplotlib.axes.Axes, "set_yscale", lambda axes, value: scales.append(value))
    loss_curve(losses)
    assert scales == ["log"] * logarithmic


@pytest.mark.parametrize("losses", [[], {}, {"one": [1.0], "two": []}])
def test_curves_without_values_are_refused(losses: list[float] | dict[str, list[float]]) -> None:
    with pytest.raises(InputError, match="losses is empty"):
        loss_curve(losses)
