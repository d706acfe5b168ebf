import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.mixing import Attention, Windows
from oracles.attention import anyup_window_attention, dense_entropy, dense_mix
from support.cases import Layout, mix, pixel_index, problem, problems


def run(p, **options):
    return mix(p.query, p.key, p.value, p.layout.windows, reach=p.reach, **options)


def expected(p):
    counts = p.counts
    exact = p.to(torch.float64)
    out = dense_mix(exact.query.flatten(2), exact.key.flatten(2), exact.value.flatten(2), counts)
    return out.unflatten(2, p.layout.size)


@given(problems())
def test_mix_equals_dense_attention(p):
    reference = expected(p)
    torch.testing.assert_close(run(p), reference, rtol=0, atol=1e-10)
    torch.testing.assert_close(run(p.to(torch.float32)), reference.float(), rtol=0, atol=1e-5)


@given(problems(reach=True))
def test_mix_with_a_radius_for_each_cell_equals_dense_attention(p):
    reference = expected(p)
    torch.testing.assert_close(run(p), reference, rtol=0, atol=1e-10)
    torch.testing.assert_close(run(p.to(torch.float32)), reference.float(), rtol=0, atol=1e-5)


@given(problems(kinds=("disc",)), st.integers(0, 5))
def test_one_radius_for_all_cells_is_that_of_a_smaller_disc(p, radius):
    reach = torch.full_like(p.key[:, :1], radius)
    smaller = Windows.disc(p.layout.size, p.layout.grid, min(radius, p.layout.settings[0]))
    out = Attention(p.key, p.layout.windows, reach=reach).mix(p.query, p.value)
    torch.testing.assert_close(out, Attention(p.key, smaller).mix(p.query, p.value), rtol=0, atol=1e-12)


@given(problems() | problems(reach=True), st.data())
def test_mix_at_equals_mix_there(p, data):
    (H, W), batch = p.layout.size, len(p.query)
    n = data.draw(st.integers(0, 20))
    point = st.tuples(st.integers(0, H - 1), st.integers(0, W - 1))
    drawn = [data.draw(st.lists(point, min_size=n, max_size=n)) for _ in range(batch)]
    points = torch.tensor(drawn, dtype=torch.long).view(batch, n, 2)
    there = pixel_index(points, W).unsqueeze(1)  # [B, 1, N]
    query = p.query.flatten(2).gather(2, there.expand(-1, p.query.shape[1], -1))
    out = Attention(p.key, p.layout.windows, reach=p.reach).mix_at(query, p.value, points)
    full = run(p).flatten(2).gather(2, there.expand(-1, p.value.shape[1], -1))
    torch.testing.assert_close(out, full, rtol=0, atol=1e-12)


@given(problems() | problems(reach=True))
def test_kept_weights_mix_as_others_do(p):
    """Values that come later, too."""
    kept = Attention(p.key, p.layout.windows, reach=p.reach).keep(p.query, p.value, most=2**30)
    for value in (p.value, 2 - p.value):
        expected = mix(p.query, p.key, value, p.layout.windows, reach=p.reach)
        torch.testing.assert_close(kept.mix(value), expected, rtol=0, atol=1e-12)


def of_several_heads(p, heads, seed=0):
    """The problem with as many shares of query and key as there are heads."""
    shares = [problem(p.layout, batch=len(p.query), depth=p.query.shape[1], seed=seed + n) for n in range(heads)]
    query, key = (torch.cat([getattr(share, name) for share in shares], dim=1) for name in ("query", "key"))
    return dataclasses.replace(p, query=query, key=key)


@given(problems() | problems(reach=True), st.integers(1, 4))
def test_heads_mix_with_the_mean_of_their_weights(p, heads):
    p = of_several_heads(p, heads)
    shares = zip(p.query.chunk(heads, 1), p.key.chunk(heads, 1), strict=True)
    alone = [expected(dataclasses.replace(p, query=query, key=key)) for query, key in shares]
    torch.testing.assert_close(run(p, heads=heads), torch.stack(alone).mean(0), rtol=0, atol=1e-10)


@given(problems() | problems(reach=True), st.integers(1, 3), st.data())
def test_weights_at_points_are_those_that_mix(p, heads, data):
    (H, W), batch = p.layout.size, len(p.query)
    p = of_several_heads(p, heads)
    drawn = data.draw(st.lists(st.tuples(st.integers(0, H - 1), st.integers(0, W - 1)), max_size=9))
    points = torch.tensor(drawn, dtype=torch.long).view(1, -1, 2).expand(batch, -1, -1)
    query = p.query.flatten(2).gather(2, pixel_index(points, W).unsqueeze(1).expand(-1, p.query.shape[1], -1))
    attention = Attention(p.key, p.layout.windows, reach=p.reach, heads=heads)
    weights = attention.weights_at(query, points)
    assert weights.shape == (batch, len(drawn), *p.layout.grid)
    torch.testing.assert_close(weights.sum((2, 3)), torch.ones(batch, len(drawn)).double(), rtol=0, atol=1e-12)
    outside = (
        (p.counts == 0)
        .expand(batch, -1, -1)
        .gather(1, pixel_index(points, W).unsqueeze(2).expand(-1, -1, p.key[0, 0].numel()))
    )
    assert (weights.flatten(2)[outside] < 1e-30).all()
    mixed = torch.einsum("bnyx,bcyx->bcn", weights, p.value)
    torch.testing.assert_close(mixed, attention.mix_at(query, p.value, points), rtol=0, atol=1e-12)


@given(problems() | problems(reach=True), st.integers(1, 3))
def test_entropy_counts_every_occurrence_of_a_cell(p, heads):
    p = of_several_heads(p, heads)
    out = Attention(p.key, p.layout.windows, reach=p.reach, heads=heads).entropy(p.query)
    reference = dense_entropy(p.query.flatten(2), p.key.flatten(2), p.counts, heads)  # [B, N]
    reference = reference.view(len(p.query), 1, *p.layout.size)
    torch.testing.assert_close(out, reference, rtol=0, atol=1e-10)
    single = p.to(torch.float32)
    out = Attention(single.key, p.layout.windows, reach=single.reach, heads=heads).entropy(single.query)
    torch.testing.assert_close(out, reference.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_result_may_go_to_a_given_tensor(dtype):
    p = problem(Layout("relative", (19, 14), (5, 7), (0.2,)), batch=2, dtype=torch.float32)
    expected = run(p)
    image = torch.full((2, 2, 25, 14), torch.nan, dtype=dtype)
    out = image[:, :, 3:22]  # some rows of a larger image
    p.value.requires_grad_()
    assert run(p, out=out) is out
    assert not out.requires_grad
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=0.02 if dtype == torch.bfloat16 else 0)
    assert image[:, :, :3].isnan().all()
    assert image[:, :, 22:].isnan().all()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (torch.empty(1, 2, 6, 7), r"^out has the shape \[1, 2, 6, 7\]; accepted: \[1, 2, 6, 8\]$"),
        (torch.empty(1, 2, 6, 8, dtype=torch.int32), r"^out is of torch.int32 .*; accepted: floating point, its rows"),
        (torch.empty(1, 2, 6, 9)[..., :8], r"^out is of .* with strides .*; accepted: floating point, its rows"),
    ],
    ids=["size", "type", "rows apart"],
)
def test_a_tensor_that_cannot_hold_the_result_is_refused(out, message):
    arguments = {"query": torch.zeros(1, 3, 6, 8), "key": torch.zeros(1, 3, 3, 4), "value": torch.zeros(1, 2, 3, 4)}
    with pytest.raises(ValueError, match=message):
        mix(**arguments, windows=layout().windows, out=out)


@given(problems(kinds=("relative",)))
def test_relative_windows_are_those_of_anyup(p):
    reference = anyup_window_attention(p.query, p.key, p.value, p.layout.settings[0])
    torch.testing.assert_close(run(p), reference, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("size", "grid"),
    [((224, 7), (16, 1)), ((7, 224), (1, 16)), ((64, 48), (4, 3)), ((100, 70), (13, 9)), ((96, 96), (1, 1))],
)
@pytest.mark.parametrize("kind", ["square-floor", "square-nearest", "disc", "relative"])
def test_groups_larger_than_a_tile_are_cut(size, grid, kind):
    p = problem(Layout(kind, size, grid, (0.1 if kind == "relative" else 2,)))
    torch.testing.assert_close(run(p), expected(p), rtol=0, atol=1e-10)


def test_a_value_of_one_cell_comes_out_as_it_went_in():
    value = torch.tensor([[1.5, -2.0]]).view(1, 2, 1, 1)
    windows = Windows.square((5, 3), (1, 1), 2)
    out = Attention(torch.randn(1, 4, 1, 1), windows).mix(torch.randn(1, 4, 5, 3), value)
    torch.testing.assert_close(out, value.expand(1, 2, 5, 3))


def test_two_cells_are_mixed_by_the_logistic_function():
    # One row of two pixels and two cells; a window of one cell to either side sees both, a border cell twice.
    query, key = torch.tensor([1.0, -2.0]).view(1, 1, 1, 2), torch.tensor([0.5, 3.0]).view(1, 1, 1, 2)
    value = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    out = Attention(key, Windows.square((1, 2), (1, 2), 1)).mix(query, value)
    a, b = (query * 0.5).exp().flatten(), (query * 3).exp().flatten()
    torch.testing.assert_close(out.flatten(), torch.stack([b[0] / (2 * a[0] + b[0]), 2 * b[1] / (a[1] + 2 * b[1])]))


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_extreme_logits_select_one_cell(scale):
    p = problem(Layout("disc", (9, 7), (3, 4), (2,)))
    query, key = (tensor.float() * scale for tensor in (p.query, p.key))
    out = Attention(key, p.layout.windows).mix(query, p.value.float())
    reference = dense_mix(query.flatten(2).double(), key.flatten(2).double(), p.value.flatten(2), p.counts)
    assert out.isfinite().all()
    torch.testing.assert_close(out.flatten(2), reference.float(), rtol=0, atol=1e-3)


def layout():
    return Layout("square-floor", (6, 8), (3, 4), (1,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": torch.zeros(1, 3, 6, 7)}, r"^query has the shape \[1, 3, 6, 7\]; accepted: \[1, 3, 6, 8\]$"),
        ({"key": torch.zeros(1, 3, 4, 4)}, r"^key has the shape \[1, 3, 4, 4\]; accepted: \[B, D, 3, 4\]$"),
        ({"key": torch.zeros(2, 3, 3, 4)}, r"^query has the shape \[1, 3, 6, 8\]; accepted: \[2, 3, 6, 8\]$"),
        ({"key": torch.zeros(1, 3, 12)}, r"^key has the shape \[1, 3, 12\]"),
        ({"key": torch.zeros(1, 4, 3, 4)}, r"^query has the shape \[1, 3, 6, 8\]; accepted: \[1, 4, 6, 8\]$"),
        ({"value": torch.zeros(1, 2, 4, 3)}, r"^value has the shape \[1, 2, 4, 3\]; accepted: \[1, C, 3, 4\]$"),
        ({"value": torch.zeros(3, 2, 3, 4)}, r"^value has the shape \[3, 2, 3, 4\]"),
    ],
)
def test_shapes_that_disagree_are_refused(changes, message):
    arguments = {"query": torch.zeros(1, 3, 6, 8), "key": torch.zeros(1, 3, 3, 4), "value": torch.zeros(1, 2, 3, 4)}
    with pytest.raises(ValueError, match=message):
        mix(**{**arguments, **changes}, windows=layout().windows)


@pytest.mark.parametrize("heads", [0, -1, 2, 6])
def test_heads_that_do_not_divide_the_coordinates_are_refused(heads):
    arguments = {"query": torch.zeros(1, 3, 6, 8), "key": torch.zeros(1, 3, 3, 4), "value": torch.zeros(1, 2, 3, 4)}
    with pytest.raises(ValueError, match=rf"^heads is {heads}; accepted: divisors of 3"):
        mix(**arguments, windows=layout().windows, heads=heads)


def test_a_reach_is_for_discs():
    windows, reach = Windows.relative((6, 8), (3, 4)), torch.ones(1, 1, 3, 4)
    with pytest.raises(ValueError, match=r"^reach is given for windows that are no discs; accepted: None$"):
        Attention(torch.zeros(1, 3, 3, 4), windows, reach=reach).mix(torch.zeros(1, 3, 6, 8), torch.zeros(1, 2, 3, 4))


@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 1, 4, 3), (2, 1, 3, 4), (1, 2, 3, 4)])
def test_a_reach_of_another_shape_is_refused(shape):
    windows = Windows.disc((6, 8), (3, 4), 2)
    with pytest.raises(ValueError, match=r"^reach has the shape .*; accepted: \[1, 1, 3, 4\]$"):
        Attention(torch.zeros(1, 3, 3, 4), windows, reach=torch.ones(shape)).mix(
            torch.zeros(1, 3, 6, 8), torch.zeros(1, 2, 3, 4)
        )


def test_a_query_of_another_size_is_refused():
    attention = Attention(torch.zeros(1, 3, 3, 4), layout().windows)
    value, points = torch.zeros(1, 2, 3, 4), torch.zeros(1, 5, 2, dtype=torch.long)
    for attempt in (
        lambda query: attention.mix(query, value),
        attention.entropy,
    ):
        with pytest.raises(ValueError, match=r"^query has the shape \[1, 3, 8, 6\]; accepted: \[1, 3, 6, 8\]$"):
            attempt(torch.zeros(1, 3, 8, 6))
    for attempt in (
        lambda query: attention.mix_at(query, value, points),
        lambda query: attention.weights_at(query, points),
    ):
        with pytest.raises(ValueError, match=r"^query has the shape \[1, 3, 6\]; accepted: \[1, 3, 5\]$"):
            attempt(torch.zeros(1, 3, 6))


@pytest.mark.parametrize("shape", [(5, 2), (2, 5, 2), (1, 5, 3)])
def test_points_of_another_shape_are_refused(shape):
    attention = Attention(torch.zeros(1, 3, 3, 4), layout().windows)
    with pytest.raises(ValueError, match=r"^points has the shape .*; accepted: \[1, N, 2\]$"):
        attention.mix_at(torch.zeros(1, 3, 5), torch.zeros(1, 2, 3, 4), torch.zeros(shape, dtype=torch.long))


@pytest.mark.parametrize("point", [(-1, 0), (0, -1), (6, 0), (0, 8)])
def test_points_outside_the_output_are_refused(point):
    points = torch.tensor([[[0, 0], list(point)]])
    with pytest.raises(ValueError, match=r"^points lie outside the output, 1 of 2; accepted: pixels of 6 × 8$"):
        Attention(torch.zeros(1, 3, 3, 4), layout().windows).mix_at(
            torch.zeros(1, 3, 2), torch.zeros(1, 2, 3, 4), points
        )
