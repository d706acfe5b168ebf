"""The confidence of every method: what it means, and what it must not do."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from omniup import InputError
from omniup.mixing import cell_means
from omniup.upsamplers import SIGNAL_TYPES
from omniup.upsamplers.confidence import (
    Calibration,
    bilinear_weight,
    feature_cues,
    is_mask,
    label_cues,
    mask_cues,
    measurement_cues,
    probability_cues,
)
from support.kernels import random_signal, smooth_image
from support.methods import all_methods, random_signal_of

SIZE, GRID = (24, 32), (6, 8)
IMAGES = smooth_image(SIZE, batch=2, dtype=torch.float32)
METHODS = all_methods()
signal_of = partial(random_signal_of, grid=GRID)
every_method = pytest.mark.parametrize("name", METHODS)
every_type = pytest.mark.parametrize("signal_type", SIGNAL_TYPES)


def constant_of(signal_type):
    """A signal that is the same everywhere, and certain."""
    if signal_type in ("probabilities", "logits"):
        certain = torch.tensor([0.98, 0.01, 0.01]).view(1, 3, 1, 1).expand(1, 3, *GRID)
        return certain.log() if signal_type == "logits" else certain
    if signal_type == "directions":
        return F.normalize(torch.ones(1, 3, *GRID), dim=1)
    return torch.full((1, 3, *GRID), 2 if signal_type == "labels" else 0.7)


@every_type
@every_method
def test_it_is_a_map_of_chances(name, signal_type):
    signal, prepared = signal_of(signal_type), METHODS[name].prepare(IMAGES, GRID)
    found = prepared.confidence(signal, signal_type)
    assert found.shape == (2, 1, *SIZE)
    assert found.is_floating_point()
    assert 0 <= found.min() < found.max() <= 1
    alone = prepared.only(1).confidence(signal[1:], signal_type)
    torch.testing.assert_close(found[1:], alone)


@every_type
@every_method
def test_it_is_high_where_a_certain_signal_is_constant(name, signal_type):
    found = METHODS[name].prepare(IMAGES[:1], GRID).confidence(constant_of(signal_type), signal_type)
    assert found.min() > 0.9


@every_type
@every_method
def test_it_is_low_where_nothing_valid_is_near_and_holes_change_nothing(name, signal_type):
    valid = torch.ones(1, 1, *GRID, dtype=torch.bool)
    valid[..., :5] = False
    signal, prepared = signal_of(signal_type)[:1], METHODS[name].prepare(IMAGES[:1], GRID)
    found = prepared.confidence(signal, signal_type, valid=valid)
    poisoned = torch.where(valid, signal, torch.nan if signal.is_floating_point() else -7)
    assert torch.equal(prepared.confidence(poisoned, signal_type, valid=valid), found)
    assert torch.equal(prepared.confidence(poisoned, signal_type, valid=valid[0, 0].numpy()), found)
    assert found[..., :4].mean() < 0.2 * found[..., -4:].mean()
    if name not in ("guided_filter", "upsample_anything", "anyup", "ensemble"):  # which have wide windows
        assert found[..., :4].max() < 1e-3


@every_method
def test_without_a_signal_weights_alone_count(name):
    prepared = METHODS[name].prepare(IMAGES, GRID)
    found = prepared.confidence()
    assert found.shape == (2, 1, *SIZE)
    assert 0 <= found.min() < found.max() <= 1
    valid = torch.ones(2, 1, *GRID, dtype=torch.bool)
    valid[..., :4] = False
    masked = prepared.confidence(valid=valid)
    assert (masked <= found + 1e-6).all()
    assert masked[..., :4].mean() < 0.1 * found[..., :4].mean()
    if name != "upsample_anything":  # which has a wide window
        assert masked[..., :4].max() == 0
        torch.testing.assert_close(masked[..., 28:], found[..., 28:])


def test_the_bilinear_weight_is_that_of_interpolation():
    cells = torch.eye(12, dtype=torch.float64).view(1, 12, 3, 4)
    weights = F.interpolate(cells, (15, 28), mode="bilinear")
    torch.testing.assert_close(bilinear_weight((3, 4), (15, 28)), weights.amax(1, keepdim=True))


@pytest.mark.parametrize("signal_type", ["measurement", "features"])
def test_units_change_nothing(signal_type):
    prepared, signal = METHODS["bilinear"].prepare(IMAGES, GRID), signal_of("values")
    first = prepared.confidence(signal, signal_type)
    for factor in (1e-30, 8.0, 1e30):
        torch.testing.assert_close(prepared.confidence(factor * signal, signal_type), first, rtol=0, atol=1e-3)


def test_a_measurement_with_several_channels_is_as_certain_as_the_least_certain():
    prepared, signal = METHODS["bicubic"].prepare(IMAGES, GRID), signal_of("measurement")
    each = torch.cat([prepared.confidence(channel, "measurement") for channel in signal.split(1, dim=1)], dim=1)
    torch.testing.assert_close(prepared.confidence(signal, "measurement"), each.amin(1, keepdim=True))


def test_channels_of_features_may_be_cut():
    result, signal = random_signal(SIZE, channels=7), random_signal(GRID, channels=7)
    torch.testing.assert_close(feature_cues(result, signal, 1), feature_cues(result, signal, 2**30))


@pytest.mark.parametrize("name", ["bilinear", "pyramid_bilateral"])
def test_it_falls_towards_a_border_between_classes(name):
    signal = torch.full((1, 2, *GRID), 0.05)
    signal[:, 0, :, :4] = signal[:, 1, :, 4:] = 0.95
    found = METHODS[name].prepare(IMAGES[:1], GRID).confidence(signal)
    inside = found[..., 20].min(), found[..., 30].min()  # where all cells around are of one class
    assert found[..., 16].max() < min(inside) - 0.1


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "joint_bilateral", "pyramid_bilateral"])
def test_flat_parts_are_trusted_more_than_the_edge_of_a_step(name):
    truth = torch.zeros(1, 1, 48, 64)
    truth[..., 29:] = 5
    image = 0.5 + 0.001 * smooth_image((48, 64), dtype=torch.float32)  # which does not show the step
    found = METHODS[name].prepare(image, GRID).confidence(cell_means(truth, GRID))
    assert found[..., 29:32].max() < 0.5 < found[..., 60:].min()  # beyond what the step makes ring


def test_a_label_that_its_neighbours_do_not_have_is_uncertain():
    labels = torch.zeros(1, 1, *GRID, dtype=torch.long)
    labels[..., 3, 4] = 1
    found = METHODS["nearest"].prepare(IMAGES[:1], GRID).confidence(labels, "labels")
    cell = found[..., 12:16, 16:20]
    assert cell.max() < found[..., :4, :4].min()
    assert cell[0, 0, 0, 0] < cell[0, 0, 1, 1]


def region_of(grid, size=(96, 128)):
    """A disc, its area-averages over cells, and the image that shows it."""
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in size), indexing="ij")
    truth = ((rows - 40).square() + (columns - 60).square() < 33**2).float()[None, None]
    return truth, cell_means(truth, grid), 0.2 + 0.6 * truth.expand(1, 3, *size)


@pytest.mark.parametrize("grid", [(6, 8), (12, 16), (24, 32)])
@pytest.mark.parametrize("name", ["bilinear", "nearest", "pyramid_bilateral"])
def test_of_a_mask_what_is_neither_value_is_not_trusted_and_the_inside_is(name, grid):
    truth, signal, image = region_of(grid)
    prepared = METHODS[name].prepare(image, grid)
    for unit in (1.0, -40.0):
        result = prepared.render(unit * signal, "measurement") / unit
        found = prepared.confidence(unit * signal, "measurement")
        between = (result > 0.06) & (result < 0.94)
        assert (found[between] < 0.05).all()
        inside = F.avg_pool2d(truth, 65, stride=1, padding=32, count_include_pad=False)  # the disc is as wide
        assert found[(inside < 1e-6)].min() > 0.95


def test_what_a_mask_is():
    _, signal, _ = region_of((12, 16))
    assert is_mask(signal)
    assert is_mask(9 - 3 * signal)
    assert not is_mask(signal.round())  # which shows no averages
    assert not is_mask(torch.ones_like(signal))
    slope = torch.linspace(0, 1, 16).expand(1, 1, 12, 16)
    assert not is_mask(slope)
    assert not is_mask((3 * slope - 1).clamp(0, 1))  # clipped at both ends, and graded in between
    peak = torch.zeros_like(signal)
    peak[..., 5:8, 5:8] = 0.5
    peak[..., 6, 6] = 1
    assert not is_mask(peak)  # one cell alone has the largest value


def test_the_cues_of_a_mask_are_those_of_the_nearer_value():
    _, signal, _ = region_of((12, 16))
    result = F.interpolate(signal, (96, 128), mode="nearest-exact")
    close, odds = mask_cues(result, signal).split(1, dim=1)
    assert torch.equal(close == 1, (result < 0.05) | (result > 0.95))
    mirrored = mask_cues(5 - 2 * result, 5 - 2 * signal)
    torch.testing.assert_close(mirrored[:, 1:][result != 0.5], odds[result != 0.5], atol=1e-3, rtol=1e-3)
    assert odds[result == 1].min() > 0 > mask_cues(1 - result, signal)[:, 1:][result == 1].max()


def test_the_confidence_of_a_given_result():
    signal, prepared = signal_of("measurement"), METHODS["bilinear"].prepare(IMAGES, GRID)
    consistent = prepared.render(signal, "measurement", consistency="full")
    found = prepared.confidence(signal, "measurement", result=consistent)
    assert not torch.equal(found, prepared.confidence(signal, "measurement"))
    plain = prepared.render(signal, "measurement")
    assert torch.equal(
        prepared.confidence(signal, "measurement", result=plain), prepared.confidence(signal, "measurement")
    )


@every_type
def test_holes_that_are_kept_have_no_confidence(signal_type):
    if signal_type == "labels":
        pytest.skip("whole numbers have no NaN")
    valid = torch.ones(2, 1, *GRID, dtype=torch.bool)
    valid[..., :5] = False
    signal, prepared = signal_of(signal_type), METHODS["joint_bilateral"].prepare(IMAGES, GRID)
    kept = prepared.render(signal, signal_type, valid=valid, holes="keep")
    absent = kept.isnan().any(1, keepdim=True)
    found = prepared.confidence(signal, signal_type, valid=valid, result=kept)
    assert absent.any()
    assert (found[absent] == 0).all()
    filled = prepared.confidence(signal, signal_type, valid=valid)
    torch.testing.assert_close(found[~absent], filled[~absent], atol=1e-3, rtol=0)


def test_a_calibration_is_the_logistic_function_of_its_sum():
    calibration = Calibration(0.1, (0.2, -0.3), (0.4, 0.5), (0.6,))
    cues = torch.tensor([2.0, 3.0]).view(1, 2, 1, 1)
    wanted = 0.1 + 0.2 * 2 - 0.3 * 3 + 0.4 * 4 + 0.5 * 9 + 0.6 * 2 * 3
    assert calibration(cues).item() == pytest.approx(1 / (1 + math.exp(-wanted)))


def test_cues_are_finite_where_a_signal_is_zero_or_one_cell():
    for grid in (GRID, (1, 1)):
        zero, result = torch.zeros(1, 2, *grid), torch.zeros(1, 2, *SIZE)
        assert feature_cues(result, zero, 2**20).isfinite().all()
        assert measurement_cues(result[:, :1], zero[:, :1]).isfinite().all()
        assert label_cues(result[:, :1], zero[:, :1]).isfinite().all()
        assert probability_cues(result + 0.5, zero + 0.5).isfinite().all()


@every_method
def test_refusals(name):
    prepared = METHODS[name].prepare(IMAGES, GRID)
    with pytest.raises(InputError, match=r"^signal is 3 × 4"):
        prepared.confidence(torch.rand(2, 3, 3, 4))
    with pytest.raises(
        InputError, match=r"^result is \[2, 3, 24, 31\] on cpu; accepted: the signal's, \[2, 3, 24, 32\]"
    ):
        prepared.confidence(signal_of("values"), result=torch.rand(2, 3, 24, 31))
    with pytest.raises(InputError, match=r"^result is given without its signal"):
        prepared.confidence(result=torch.rand(2, 3, *SIZE))
    with pytest.raises(InputError, match=r"^signal_type is 'colours'"):
        prepared.confidence(signal_of("values"), "colours")
    with pytest.raises(InputError, match=r"^memory is"):
        prepared.confidence(memory="lots")
    with pytest.raises(InputError, match=r"^valid "):
        prepared.confidence(valid=torch.ones(2, 1, 5, 5, dtype=torch.bool))
