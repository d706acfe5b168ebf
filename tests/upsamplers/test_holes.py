"""Signals with holes: only valid cells count, in every method and for every signal type."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import omniup
from omniup import InputError
from omniup.mixing import cell_means
from omniup.upsamplers import SIGNAL_TYPES, GaussianKernels, GuidedFilter, JointBilateral, PyramidBilateral
from omniup.upsamplers.holes import cells_without, fill_nearest, valid_cell_means
from oracles.attention import dense_mix
from oracles.guided_filter import guided_filter
from oracles.windows import disc_window, floor_centre, square_window
from support.kernels import smooth_image
from support.methods import all_methods, random_signal_of

SIZE, GRID = (24, 32), (6, 8)
IMAGES = smooth_image(SIZE, batch=2, dtype=torch.float32)
METHODS = all_methods()
signal_of = partial(random_signal_of, grid=GRID)
VALID = torch.rand(2, 1, *GRID, generator=torch.Generator().manual_seed(1)) > 0.3


def poisoned(signal, valid):
    """The signal with something else in its holes."""
    return torch.where(valid, signal, -7 if not signal.is_floating_point() else torch.nan)


every_method = pytest.mark.parametrize("name", METHODS)
every_type = pytest.mark.parametrize("signal_type", SIGNAL_TYPES)


@every_type
@every_method
def test_what_stands_in_holes_changes_nothing(name, signal_type):
    signal, prepared = signal_of(signal_type), METHODS[name].prepare(IMAGES, GRID)
    result = prepared.render(signal, signal_type, valid=VALID)
    assert torch.equal(prepared.render(poisoned(signal, VALID), signal_type, valid=VALID), result)
    assert result.dtype == signal.dtype
    assert result.isfinite().all()
    if signal_type == "labels":
        assert set(result.unique().tolist()) <= set(signal.unique().tolist())
    if signal_type == "probabilities":
        torch.testing.assert_close(result.sum(1), torch.ones(2, *SIZE), atol=1e-4, rtol=0)


@every_type
@every_method
def test_valid_everywhere_is_no_mask(name, signal_type):
    signal, prepared = signal_of(signal_type), METHODS[name].prepare(IMAGES, GRID)
    everywhere = torch.ones(1, 1, *GRID, dtype=torch.bool)
    assert torch.equal(prepared.render(signal, signal_type, valid=everywhere), prepared.render(signal, signal_type))


@pytest.mark.parametrize("signal_type", ["features", "measurement", "values"])
@every_method
def test_constants_stay_constant_beside_holes(name, signal_type):
    signal = torch.where(VALID, 5.0, 1e6).expand(2, 2, *GRID)
    result = METHODS[name].prepare(IMAGES, GRID).render(signal, signal_type, valid=VALID)
    torch.testing.assert_close(result, torch.full((2, 2, *SIZE), 5.0), atol=1e-4, rtol=0)


@every_method
def test_images_of_a_batch_have_masks_of_their_own(name):
    signal, prepared = signal_of("measurement", 2), METHODS[name].prepare(IMAGES, GRID)
    both = prepared.render(signal, "measurement", valid=VALID)
    for n in range(2):
        alone = METHODS[name].prepare(IMAGES[n : n + 1], GRID)
        one = alone.render(signal[n : n + 1], "measurement", valid=VALID[n : n + 1])
        torch.testing.assert_close(both[n : n + 1], one, atol=1e-5, rtol=1e-5)


@every_method
def test_one_image_serves_signals_with_masks_of_their_own(name):
    signal, prepared = signal_of("values", 2), METHODS[name].prepare(IMAGES[:1], GRID)
    both = prepared.render(signal, "values", valid=VALID)
    for n in range(2):
        one = prepared.render(signal[n : n + 1], "values", valid=VALID[n : n + 1])
        torch.testing.assert_close(both[n : n + 1], one, atol=1e-5, rtol=1e-5)


@every_method
def test_gradients_reach_valid_cells_only(name):
    signal, prepared = signal_of("features"), METHODS[name].prepare(IMAGES, GRID)
    signal.requires_grad_()
    prepared.render(signal, "features", valid=VALID).square().sum().backward()
    assert signal.grad.isfinite().all()
    assert (signal.grad[~VALID.expand_as(signal)] == 0).all()
    assert (signal.grad[VALID.expand_as(signal)] != 0).any()


@given(st.integers(0, 2**31 - 1), st.integers(0, 3), st.floats(0.05, 0.95))
def test_kernels_are_renormalised_over_valid_cells(seed, radius, share):
    generator = torch.Generator().manual_seed(seed)
    grid, size = (4, 5), (12, 10)
    valid = torch.rand(1, 1, *grid, generator=generator) < share
    valid[0, 0, 1, 2] = True
    image = torch.rand(1, 3, *size, generator=generator, dtype=torch.float64)
    signal = torch.randn(1, 2, *grid, generator=generator, dtype=torch.float64)
    kernels = JointBilateral(radius=radius, sigma_x=4.0, sigma_y=3.0, theta=0.4, sigma_r=0.2).prepare(image, grid)
    counts = counts_of(kernels) * valid.flatten()  # [pixels, cells]
    logits = logits_of(kernels)  # [pixels, cells]
    key = torch.eye(logits.shape[1], dtype=torch.float64)[None]
    expected = dense_mix(logits.T[None], key, signal.flatten(2), counts).unflatten(2, size)
    reached = (counts.sum(1) > 0).view(size)
    made = kernels.render(signal, "values", valid=valid)
    torch.testing.assert_close(made[:, :, reached], expected[:, :, reached], atol=1e-9, rtol=1e-9)
    own = F.interpolate(fill_nearest(signal, valid), size, mode="nearest-exact")
    assert torch.equal(made[:, :, ~reached], own[:, :, ~reached])
    kept = kernels.render(signal, "values", valid=valid, holes="keep")
    assert torch.equal(kept[0, 0].isfinite(), kernels.reaches(valid)[0, 0])


def counts_of(kernels):
    """How often each cell occurs in each pixel's window: [pixels, cells]."""
    size, grid, radius = kernels.size, kernels.grid, kernels.window.radius
    counts = torch.zeros(*size, *grid, dtype=torch.float64)
    for y in range(size[0]):
        for x in range(size[1]):
            if kernels.window.shape == "disc":
                cells = disc_window(y, x, size, grid, radius)
            else:
                cells = square_window(y, x, size, grid, radius, floor_centre)
            for cell in cells:
                counts[y, x][cell] += 1
    return counts.flatten(2).flatten(0, 1)


def logits_of(kernels):
    """The logits of every pixel and cell, as gaussian_kernels.py has them."""
    (height, width), (rows, columns) = kernels.size, kernels.grid
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    cy, cx = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    dy = y.flatten()[:, None] - cy.flatten() * height / rows
    dx = x.flatten()[:, None] - cx.flatten() * width / columns
    sigma_x, sigma_y, theta, sigma_r = (
        getattr(kernels, name).flatten() for name in ("sigma_x", "sigma_y", "theta", "sigma_r")
    )
    along = theta.cos() * dx + theta.sin() * dy
    across = -theta.sin() * dx + theta.cos() * dy
    colours = kernels.guidance[0].flatten(1).T[:, None] - kernels.cell_guidance[0].flatten(1).T
    spatial = (along / sigma_x) ** 2 + (across / sigma_y) ** 2
    return -0.5 * spatial - colours.square().sum(-1) / (2 * sigma_r**2)


@given(st.integers(0, 2**31 - 1))
def test_the_guided_filter_fits_valid_cells(seed):
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(1, 1, 6, 7, generator=generator) > 0.4
    valid[0, 0, 3, 3] = True
    image = torch.rand(1, 3, 12, 14, generator=generator, dtype=torch.float64)
    signal = torch.randn(1, 2, 6, 7, generator=generator, dtype=torch.float64)
    made = GuidedFilter(radius=1, eps=0.01).prepare(image, (6, 7)).render(signal, "values", valid=valid)
    expected = guided_filter(image[0], fill_nearest(signal, valid)[0], 1, 0.01, valid[0, 0])
    torch.testing.assert_close(made[0], expected, atol=1e-8, rtol=1e-8)


@given(st.integers(0, 2**31 - 1), st.integers(1, 6), st.integers(1, 6))
def test_averages_over_valid_pixels(seed, rows, columns):
    generator = torch.Generator().manual_seed(seed)
    size, grid = (3 * rows, 2 * columns), (rows, columns)
    image, valid = torch.randn(1, 2, *size, generator=generator), torch.rand(1, 1, *size, generator=generator) > 0.5
    means, covered = valid_cell_means(poisoned(image, valid), valid, grid)
    for y in range(rows):
        for x in range(columns):
            cell = slice(3 * y, 3 * y + 3), slice(2 * x, 2 * x + 2)
            kept = image[0][(slice(None), *cell)][:, valid[0, 0][cell]]
            assert covered[0, 0, y, x] == (kept.numel() > 0)
            expected = kept.mean(1) if kept.numel() else torch.zeros(2)
            torch.testing.assert_close(means[0, :, y, x], expected, atol=1e-5, rtol=1e-5)


def test_averages_without_a_mask_are_cell_means():
    image = torch.rand(1, 2, 7, 9)
    means, covered = valid_cell_means(image, None, (3, 4))
    assert covered is None
    assert torch.equal(means, cell_means(image, (3, 4)))


def test_depth_with_a_third_of_holes_keeps_its_edges():
    image = torch.zeros(1, 3, 64, 64)
    image[..., 29:] = 0.8
    truth = torch.where(image[:, :1] > 0, 1000.0, 400.0)
    depth = cell_means(truth, (8, 8))
    valid = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.3
    made = omniup.upsample(image, torch.where(valid, depth, 0), signal_type="measurement", valid=valid)
    assert (made - truth).abs().mean() < 0.25 * (F.interpolate(depth, (64, 64), mode="bilinear") - truth).abs().mean()


@pytest.mark.parametrize("name", ["joint_bilateral", "pyramid_bilateral", "anyup"])
def test_confidence_says_where_holes_are(name):
    signal, valid = signal_of("features"), torch.ones(2, 1, *GRID, dtype=torch.bool)
    valid[:, :, :, :4] = False
    prepared = METHODS[name].prepare(IMAGES, GRID)
    for confidence in (prepared.confidence(valid=valid), prepared.confidence(poisoned(signal, valid), valid=valid)):
        assert confidence.shape == (2, 1, *SIZE)
        assert confidence[..., :4].max() < 1e-3
    torch.testing.assert_close(prepared.confidence(valid=valid)[..., 28:], prepared.confidence()[..., 28:])


@every_method
def test_pixels_far_from_valid_cells_are_kept_as_holes(name):
    valid = torch.ones(1, 1, *GRID, dtype=torch.bool)
    valid[..., :6] = False
    prepared = METHODS[name].prepare(IMAGES[:1], GRID)
    kept = prepared.render(signal_of("values")[:1], "values", valid=valid, holes="keep")
    reached = prepared.reaches(valid)
    assert torch.equal(kept.isfinite(), reached.expand_as(kept))
    filled = prepared.render(signal_of("values")[:1], "values", valid=valid)
    assert torch.equal(kept[reached.expand_as(kept)], filled[reached.expand_as(kept)])
    assert reached[..., 24:].all()


def test_values_that_stand_for_holes():
    signal = torch.tensor([[[[0.0, 1.0], [torch.nan, 0.0]], [[0.0, 0.0], [1.0, torch.inf]]]])
    assert cells_without(signal, ()) is None
    assert cells_without(signal, [9.0]) is None
    assert cells_without(signal, [0.0]).tolist() == [[[[False, True], [True, True]]]]
    assert cells_without(signal, [torch.nan]).tolist() == [[[[True, True], [False, False]]]]
    assert cells_without(signal, [0, torch.nan]).tolist() == [[[[False, True], [False, False]]]]
    labels = torch.tensor([[[[3, 255]]]])
    assert cells_without(labels, [255]).tolist() == [[[[True, False]]]]


@pytest.mark.parametrize(
    ("valid", "problem"),
    [
        (torch.ones(1, 1, *GRID), r"is of type torch.float32"),
        (np.ones((1, 1, *GRID)), r"is of type float64"),
        ("all", r"is of type str"),
        (torch.ones(8, 6, dtype=torch.bool), r"has the shape \[1, 1, 8, 6\]"),
        (torch.ones(3, 1, *GRID, dtype=torch.bool), r"has the shape \[3, 1, 6, 8\]"),
        (torch.ones(2, 1, 8, 6, dtype=torch.bool), r"has the shape \[2, 1, 8, 6\]"),
        (torch.zeros(2, 1, *GRID, dtype=torch.bool), r"has an image without a valid cell"),
    ],
)
def test_masks_are_checked(valid, problem):
    with pytest.raises(InputError, match=f"^valid {problem}"):
        omniup.upsample(IMAGES, signal_of("features"), valid=valid)


def test_one_mask_serves_all_images():
    signal = signal_of("features")
    expected = omniup.upsample(IMAGES, signal, valid=VALID[:1].expand(2, -1, -1, -1))
    assert torch.equal(omniup.upsample(IMAGES, signal, valid=VALID[0, 0]), expected)


def test_masks_may_be_arrays():
    signal = signal_of("features")
    by_array = omniup.upsample(IMAGES, signal, valid=VALID.numpy())
    assert torch.equal(by_array, omniup.upsample(IMAGES, signal, valid=VALID))


def test_holes_are_refused_by_name():
    with pytest.raises(InputError, match=r"^holes is 'leave'; accepted: fill, keep"):
        omniup.upsample(IMAGES, signal_of("features"), valid=VALID, holes="leave")
    with pytest.raises(InputError, match=r"^holes is 'keep', and the signal is of type torch.int64; accepted: fill"):
        omniup.upsample(IMAGES, signal_of("labels"), signal_type="labels", valid=VALID, holes="keep")


def test_numbers_that_are_not_finite_need_a_mask():
    signal = poisoned(signal_of("features"), VALID)
    with pytest.raises(InputError, match=r"^signal has .* not finite; accepted: finite values, and a mask `valid`"):
        omniup.upsample(IMAGES, signal)
    signal[0, 0][VALID[0, 0]] = torch.nan
    with pytest.raises(InputError, match=r"^signal has .* not finite"):
        omniup.upsample(IMAGES, signal, valid=VALID)


def test_the_result_goes_into_out():
    signal, out = signal_of("features"), torch.empty(2, 3, *SIZE)
    prepared = PyramidBilateral().prepare(IMAGES, GRID)
    assert prepared.render(signal, valid=VALID, out=out) is out
    assert torch.equal(out, prepared.render(signal, valid=VALID))


def test_saved_kernels_take_masks(tmp_path):
    kernels = JointBilateral().prepare(IMAGES, GRID)
    kernels.save(tmp_path / "kernels.safetensors")
    loaded, signal = GaussianKernels.load(tmp_path / "kernels.safetensors"), signal_of("features")
    assert torch.equal(loaded.render(signal, valid=VALID), kernels.render(signal, valid=VALID))
