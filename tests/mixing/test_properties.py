"""What must hold of a convex mix, whatever the numbers."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from oracles.attention import dense_mix
from oracles.windows import counts, floor_centre, square_window
from support.cases import Layout, mix, pixels_at_a_border, problem, problems

any_problem = problems() | problems(reach=True)


def run(p, **changes):
    tensors = {"query": p.query, "key": p.key, "value": p.value, "reach": p.reach, **changes}
    return mix(**tensors, windows=p.layout.windows)


@given(any_problem, st.floats(-1e4, 1e4, width=32))
def test_constants_stay_constant(p, constant):
    p = p.to(torch.float32)
    out = run(p, value=torch.full_like(p.value, constant))
    torch.testing.assert_close(out, torch.full_like(out, constant), rtol=1e-6, atol=1e-30)


@given(any_problem)
def test_outputs_lie_within_the_values_of_their_window(p):
    out = run(p).flatten(2)  # [B, C, N]
    outside = (p.counts == 0).expand(len(p.query), -1, -1).unsqueeze(1)  # [B, 1, N, cells]
    values = p.value.flatten(2).unsqueeze(2)  # [B, C, 1, cells]
    low = values.masked_fill(outside, torch.inf).amin(-1)
    high = values.masked_fill(outside, -torch.inf).amax(-1)
    slack = 1e-12 * values.abs().max()
    assert (out >= low - slack).all()
    assert (out <= high + slack).all()


@given(any_problem)
def test_channels_do_not_influence_each_other(p):
    alone = [run(p, value=p.value[:, c : c + 1]) for c in range(p.value.shape[1])]
    torch.testing.assert_close(run(p), torch.cat(alone, dim=1), rtol=0, atol=1e-14)


@given(any_problem)
def test_images_of_a_batch_do_not_influence_each_other(p):
    together = run(p)
    for b in range(len(together)):
        image = {name: getattr(p, name)[b : b + 1] for name in ("query", "key", "value")}
        alone = run(p, **image, reach=None if p.reach is None else p.reach[b : b + 1])
        torch.testing.assert_close(together[b : b + 1], alone, rtol=0, atol=1e-14)


@given(any_problem)
def test_the_mix_is_linear_in_the_values(p):
    other = p.value.flip(1) + 1
    torch.testing.assert_close(run(p, value=2 * p.value - other), 2 * run(p) - run(p, value=other), rtol=0, atol=1e-11)


@given(any_problem)
def test_what_is_added_to_all_logits_of_a_pixel_changes_nothing(p):
    offset = 5 * torch.randn(p.query[:, :1].shape, generator=torch.Generator().manual_seed(3), dtype=p.query.dtype)
    query = torch.cat([p.query, offset], dim=1)
    key = torch.cat([p.key, torch.ones_like(p.key[:, :1])], dim=1)
    torch.testing.assert_close(run(p, query=query, key=key), run(p), rtol=0, atol=1e-11)


@given(any_problem)
def test_transposed_inputs_give_transposed_outputs(p):
    layout = Layout(p.layout.name, p.layout.size[::-1], p.layout.grid[::-1], p.layout.settings)
    turned = {name: getattr(p, name) for name in ("query", "key", "value", "reach")}
    turned = {name: tensor if tensor is None else tensor.mT for name, tensor in turned.items()}
    torch.testing.assert_close(mix(**turned, windows=layout.windows), run(p).mT, rtol=0, atol=1e-12)


def mirrored(p):
    flipped = {name: getattr(p, name) for name in ("query", "key", "value", "reach")}
    return run(p, **{name: tensor if tensor is None else tensor.flip(2, 3) for name, tensor in flipped.items()})


@given(problems(kinds=("square-nearest", "disc")) | problems(reach=True))
def test_mirrored_inputs_give_mirrored_outputs(p):
    assume(not pixels_at_a_border(p.layout.size, p.layout.grid))
    torch.testing.assert_close(mirrored(p), run(p).flip(2, 3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(12, 20), (13, 7), (11, 16)])
@pytest.mark.parametrize("grid", [(3, 5), (1, 4), (11, 7)])
@pytest.mark.parametrize("ratio", [0.13, 0.28, 1.0])  # whose borders fall on no cell's edge
def test_mirrored_inputs_give_mirrored_outputs_in_relative_windows(size, grid, ratio):
    p = problem(Layout("relative", size, grid, (ratio,)))
    torch.testing.assert_close(mirrored(p), run(p).flip(2, 3), rtol=0, atol=1e-12)


def ceil_centre(pixel, pixels, cells):
    return cells - 1 - floor_centre(pixels - 1 - pixel, pixels, cells)


@given(problems(kinds=("square-floor",)))
def test_the_mirror_image_of_windows_around_floor_u_is_windows_around_ceil_u(p):
    # So the spec has it (section 4.3): mirrored inputs give mirrored outputs only where u is a whole number.
    (radius,), size, grid = p.layout.settings, p.layout.size, p.layout.grid
    around_ceil = counts(size, grid, lambda y, x: square_window(y, x, size, grid, radius, ceil_centre))
    reference = dense_mix(p.query.flatten(2), p.key.flatten(2), p.value.flatten(2), around_ceil)
    torch.testing.assert_close(mirrored(p).flip(2, 3).flatten(2), reference, rtol=0, atol=1e-10)
