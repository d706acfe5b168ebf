"""The ensemble is what its formulas say, of what the two methods give by themselves."""

import pytest
import torch
from torch.nn import functional as F

import omniup
from omniup import Ensemble, InputError, PyramidBilateral
from omniup.upsamplers.consistency import probability_step
from omniup.upsamplers.domain_transform import smooth_along_edges
from oracles.consistency import steps
from support.anyup import random_anyup
from support.kernels import random_signal, smooth_image

SIZE, GRID = (26, 31), (5, 7)
ANYUP, IMAGE = random_anyup(), smooth_image(SIZE, dtype=torch.float32)
FEATURES = random_signal(GRID, channels=6).float()


def each(signal, signal_type="auto"):
    """What both give by themselves."""
    return (method.prepare(IMAGE, GRID).render(signal, signal_type) for method in (PyramidBilateral(), ANYUP))


@pytest.mark.parametrize("detail", [1.0, 0.4])
def test_features_get_the_detail_of_both(detail):
    found = Ensemble(ANYUP, detail=detail).prepare(IMAGE, GRID).render(FEATURES)
    ours, learned = each(FEATURES)
    spline = learned - steps(learned, torch.zeros_like(FEATURES), 1)  # through the network's own means
    torch.testing.assert_close(found, ours + detail * (learned - spline), atol=1e-5, rtol=1e-5)
    assert (found - ours).abs().max() > 0.01


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_logarithms_of_probabilities_are_averaged(weight):
    probabilities = (2 * FEATURES).softmax(1)
    found = Ensemble(ANYUP, weight=weight).prepare(IMAGE, GRID).render(probabilities)
    ours, _ = each(probabilities)
    logs = probabilities.log() - probabilities.log().mean(1, keepdim=True)
    _, learned = each(logs, "values")
    averaged = (1 - weight) * ours.log() + weight * steps(learned, logs, probability_step(probabilities))
    cell, sigma_r = (2 * SIZE[0] / GRID[0], 2 * SIZE[1] / GRID[1]), PyramidBilateral().geodesic_sigma_r
    expected = smooth_along_edges(averaged, IMAGE, cell, sigma_r, 2**24).softmax(1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("signal_type", ["measurement", "values", "labels"])
def test_other_types_are_those_of_the_default_method(signal_type):
    signal = (4 * FEATURES).long() if signal_type == "labels" else FEATURES
    found = Ensemble(ANYUP).prepare(IMAGE, GRID).render(signal, signal_type)
    assert torch.equal(found, next(each(signal, signal_type)))


def test_invalid_cells_change_nothing():
    valid = torch.ones(1, 1, *GRID, dtype=torch.bool)
    valid[..., 2] = False
    prepared = Ensemble(ANYUP).prepare(IMAGE, GRID)
    poisoned = torch.where(valid, FEATURES, torch.nan)
    assert torch.equal(prepared.render(poisoned, valid=valid), prepared.render(FEATURES, valid=valid))


def test_gradients_reach_the_signal():
    signal = FEATURES.clone().requires_grad_()
    Ensemble(ANYUP).prepare(IMAGE, GRID).render(signal, "features").square().sum().backward()
    assert torch.isfinite(signal.grad).all() and signal.grad.abs().min() > 0


def test_one_map_of_other_types_costs_what_the_default_method_does():
    ensemble, default = Ensemble(ANYUP), PyramidBilateral()
    assert ensemble.render_cost(SIZE, GRID, "measurement") == default.render_cost(SIZE, GRID, "measurement")
    assert ensemble.render_cost(SIZE, GRID, "features") > default.render_cost(SIZE, GRID, "features")


def test_it_is_built_by_name(tmp_path):
    torch.save(ANYUP.state_dict(), tmp_path / "anyup.pth")
    found = omniup.upsample(IMAGE, FEATURES, method="ensemble", weights=str(tmp_path / "anyup.pth"))
    torch.testing.assert_close(found, Ensemble(ANYUP)(IMAGE, FEATURES))
    assert not torch.equal(found, F.interpolate(FEATURES, SIZE, mode="bicubic"))


@pytest.mark.parametrize(("setting", "value"), [("detail", -1), ("weight", 1.5), ("weight", "much")])
def test_settings_are_checked(setting, value):
    with pytest.raises(InputError, match=setting):
        Ensemble(ANYUP, **{setting: value})
