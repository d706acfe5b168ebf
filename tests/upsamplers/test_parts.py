"""Part by part, a picture's result is that of one call: exactly, as float64 shows."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import omniup
from omniup.jobs.blocks import Block
from omniup.mixing import add_to_cell_means, cell_means
from omniup.upsamplers.parts import WholeSignal, part_around
from omniup.upsamplers.pyramid_bilateral.features import FEW

OTHERS = ("joint_bilateral", "guided_filter", "bilinear", "bicubic", "nearest")
TYPES = ("features", "probabilities", "logits", "labels", "measurement", "fractions", "directions", "values")
MEMORY = 2**28


def picture(size):
    """Surfaces of one colour with texture: [1, 3, H, W] in float64."""
    coarse = torch.rand(1, 3, max(2, size[0] // 11), max(2, size[1] // 7), dtype=torch.float64)
    return (0.8 * F.interpolate(coarse, size, mode="nearest") + 0.1 * torch.rand(1, 3, *size)).clamp(0, 1)


def signal_of(signal_type, grid):
    """A signal and the type to declare."""
    channels = FEW + 1 if signal_type == "features" else 3  # directions are features, too, and few
    numbers = torch.randn(1, channels, *grid, dtype=torch.float64)
    if signal_type == "labels":
        return torch.randint(0, 4, (1, 1, *grid)), "labels"
    if signal_type in ("probabilities", "fractions"):
        return (3 * numbers).softmax(1), "measurement" if signal_type == "fractions" else "probabilities"
    return (F.normalize(numbers, dim=1) if signal_type == "directions" else numbers), signal_type


def by_parts(method, image, signal, signal_type, block, valid=None, consistency=None, holes="fill"):
    size, grid = tuple(image.shape[2:]), tuple(signal.shape[2:])

    def average(grids):
        return {each: cell_means(image, each).clamp_(0, 1) for each in grids}

    whole = WholeSignal.of(method, size, signal, signal_type, valid, consistency, average, MEMORY)
    out = None
    for top, left in itertools.product(range(0, size[0], block[0]), range(0, size[1], block[1])):
        rows, columns = slice(top, min(top + block[0], size[0])), slice(left, min(left + block[1], size[1]))
        part = part_around(rows, columns, size, grid, whole.reach)
        inside = Block(rows, columns, part).inside
        result = whole.render(image[:, :, part.rows, part.columns], part, inside, holes, MEMORY)
        if out is None:
            out = result.new_zeros(*result.shape[:2], *size)
        out[:, :, rows, columns] = result
    return out


@st.composite
def cases(draw):
    """Sizes of any ratio whose parts are smaller than the picture along one axis at least."""
    step = draw(st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 3])))  # cells
    width = [draw(st.integers(2 * cells, 5 * cells)) for cells in step]  # pixels
    count = draw(st.integers(8, 16)), draw(st.integers(3, 9))
    size = tuple(n * pixels for n, pixels in zip(count, width, strict=True))
    return size, tuple(n * cells for n, cells in zip(count, step, strict=True)), draw(st.sampled_from([None, 0.6, 2.0]))


@pytest.mark.parametrize(
    ("method", "signal_type"),
    [*(("pyramid_bilateral", each) for each in TYPES), *itertools.product(OTHERS, ("features", "labels"))],
)
def test_parts_are_those_of_one_call(method, signal_type):
    examples = 2 if method == "pyramid_bilateral" else 1

    @settings(max_examples=examples)
    @given(cases(), st.booleans())
    def check(case, has_holes):
        size, grid, steps = case
        steps = None if signal_type in ("measurement", "fractions") else steps
        image, (signal, declared) = picture(size), signal_of(signal_type, grid)
        valid = torch.rand(1, 1, *grid) > 0.3 if has_holes else None
        if valid is not None:
            valid[..., 0, 0] = True
        upsampler = omniup.upsampler(method)
        one = upsampler.prepare(image, grid).render(signal, declared, valid=valid, consistency=steps)
        parts = by_parts(upsampler, image, signal, declared, (size[0] // 3, size[1]), valid, steps)
        assert parts.dtype == one.dtype
        if declared == "labels":
            assert torch.equal(parts, one)
        else:
            torch.testing.assert_close(parts, one, rtol=0, atol=1e-9)

    check()


@pytest.mark.parametrize("signal_type", ["features", "labels", "probabilities", "measurement"])
def test_reach_is_needed(signal_type):
    """A quarter of the reach is too little: the margin is not there by chance."""
    size, grid = (256, 64), (64, 16)
    image, (signal, declared) = picture(size), signal_of(signal_type, grid)
    method = omniup.upsampler("pyramid_bilateral", back_projections=2)
    reach = method.reach(declared)
    one = method.prepare(image, grid).render(signal, declared)

    class Short(type(method)):
        def reach(self, _):
            return max(1, reach // 4)

    parts = by_parts(Short(back_projections=2), image, signal, declared, (64, 64))
    assert (parts.double() - one.double()).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("method", "settings", "steps"), [("pyramid_bilateral", {"back_projections": 40}, None), ("bicubic", {}, 32)]
)
def test_what_many_steps_pass_on_fades(method, settings, steps):
    size, grid = (512, 32), (128, 8)
    image, (signal, declared) = picture(size), signal_of("measurement", grid)
    upsampler = omniup.upsampler(method, **settings)
    one = upsampler.prepare(image, grid).render(signal, declared, consistency=steps)
    parts = by_parts(upsampler, image, signal, declared, (64, 32), None, steps)
    torch.testing.assert_close(parts, one, rtol=0, atol=1e-6 * one.abs().max().item())


@pytest.mark.parametrize("signal_type", ["features", "probabilities"])
def test_float32_differs_by_rounding(signal_type):
    """Parts begin where the mixing engine's groups do, so most sums are the same."""
    size, grid = (320, 240), (40, 30)
    image, (signal, declared) = picture(size).float(), signal_of(signal_type, grid)
    method = omniup.upsampler("pyramid_bilateral")
    one = method.prepare(image, grid).render(signal.float(), declared)
    parts = by_parts(method, image, signal.float(), declared, (80, 120))
    torch.testing.assert_close(parts, one, rtol=0, atol=1e-5 * one.abs().max().item())


def test_holes_are_kept():
    size, grid = (240, 80), (48, 16)
    image, (signal, _) = picture(size), signal_of("values", grid)
    valid = torch.zeros(1, 1, *grid, dtype=torch.bool)
    valid[..., :6, :] = True  # some parts have none
    method = omniup.upsampler("pyramid_bilateral")
    one = method.prepare(image, grid).render(signal, "values", valid=valid, holes="keep")
    parts = by_parts(method, image, signal, "values", (60, 80), valid, holes="keep")
    torch.testing.assert_close(parts, one, rtol=0, atol=1e-9, equal_nan=True)
    assert one.isnan().any() and one.isfinite().any()


def test_parts_begin_where_pixels_and_cells_do():
    part = part_around(slice(200, 300), slice(0, 50), (1000, 300), (150, 60), 2)
    assert part.cell_rows == slice(24, 48) and part.rows == slice(160, 320)  # 3 cells are 20 pixels, 12 are together
    assert part.cell_columns == slice(0, 12) and part.columns == slice(0, 60)
    assert part_around(slice(0, 10), slice(0, 1), (101, 1), (7, 1), 0).rows == slice(0, 101)  # nothing in common


def test_methods_of_the_whole_picture_are_refused():
    class Whole:
        """As a method of others, which knows nothing of parts."""

    with pytest.raises(omniup.InputError, match=r"method fits or attends to the whole picture.*pyramid_bilateral"):
        WholeSignal.of(Whole(), (8, 8), torch.rand(1, 1, 4, 4), "values", None, None, dict, MEMORY)


def test_windows_add_up_to_cell_means():
    image, grid = torch.rand(1, 2, 61, 47, dtype=torch.float64), (9, 8)
    means = torch.zeros(1, 2, *grid, dtype=torch.float64)
    for top, left in itertools.product(range(0, 61, 13), range(0, 47, 20)):
        add_to_cell_means(means, image[:, :, top : top + 13, left : left + 20], top, left, (61, 47))
    torch.testing.assert_close(means, cell_means(image, grid))
