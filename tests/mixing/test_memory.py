"""Scratch memory stays within `memory`, and results do not depend on it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniup.mixing import Attention, DotProduct
from omniup.mixing.objective import L1Objective
from support.cases import Layout, mix, problem, problems, smallest_memory
from support.scratch import peak_bytes

LAYOUTS = {
    "square": Layout("square-floor", (20, 20), (4, 5), (2,)),
    "disc": Layout("disc", (20, 24), (5, 6), (4,)),
    "relative": Layout("relative", (15, 18), (5, 6), (0.2,)),
    "wide": Layout("square-nearest", (32, 24), (2, 2), (1,)),
    "one to one": Layout("disc", (11, 10), (11, 10), (3,)),
}
BUDGETS = [100_000, 300_000, 1_000_000]  # of which almost all make several tiles of almost every problem
CASES = [pytest.param(layout, budget, id=f"{name}-{budget}") for name, layout in LAYOUTS.items() for budget in BUDGETS]


def make(layout, *, batch=2, depth=8, channels=24, **options):
    p = problem(layout, batch=batch, depth=depth, channels=channels, dtype=torch.float32, **options)
    _ = layout.windows.candidates
    return p


@pytest.mark.parametrize(("layout", "budget"), CASES)
def test_mix_and_its_gradients_keep_to_the_memory(layout, budget):
    p = make(layout)
    windows = layout.windows
    inputs = [tensor.requires_grad_() for tensor in (p.query, p.key, p.value)]
    out = None

    def forward():
        nonlocal out
        out = mix(*inputs, windows, memory=budget)
        return out

    assert peak_bytes(forward, *inputs) <= budget
    dout = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    assert peak_bytes(lambda: torch.autograd.grad(out, inputs, dout), *inputs, out, dout) <= budget


@pytest.mark.parametrize("wanted", ["query", "key", "value"])
def test_a_gradient_that_is_not_wanted_takes_no_memory(wanted):
    # The query, at 8 channels of 128 × 128, is ten times the budget.
    p = make(Layout("square-nearest", (128, 128), (8, 8), (1,)), batch=1, channels=4)
    tensors = {name: getattr(p, name) for name in ("query", "key", "value")}
    tensors[wanted].requires_grad_()
    out = mix(**tensors, windows=p.layout.windows, memory=50_000)
    dout = torch.ones_like(out)
    peak = peak_bytes(lambda: torch.autograd.grad(out, tensors[wanted], dout), *tensors.values(), out, dout)
    assert peak <= 50_000


@pytest.mark.parametrize("budget", [200_000, 1_000_000])
@pytest.mark.parametrize("shape", [{}, {"depth": 1, "channels": 1}], ids=["of much", "of little"])
def test_windows_of_many_radii_keep_to_the_memory(budget, shape):
    p = make(Layout("disc", (24, 28), (12, 14), (5,)), batch=1, reach=True, **shape)
    windows = p.layout.windows
    inputs = [tensor.requires_grad_() for tensor in (p.query, p.key, p.value)]
    out = None

    def forward():
        nonlocal out
        out = mix(*inputs, windows, reach=p.reach, memory=budget)
        return out

    assert peak_bytes(forward, *inputs, p.reach) <= budget
    dout = torch.ones_like(out)
    assert peak_bytes(lambda: torch.autograd.grad(out, inputs, dout), *inputs, p.reach, out, dout) <= budget


@pytest.mark.parametrize(("layout", "budget"), CASES)
def test_kept_weights_keep_to_the_memory(layout, budget):
    p = make(layout)
    attention = Attention(p.key, layout.windows, memory=budget)
    most, kept = smallest_kept(attention, p), []
    assert attention.keep(p.query, p.value, most - 1) is None
    assert peak_bytes(lambda: kept.append(attention.keep(p.query, p.value, most)), p.query, p.key) <= budget + most
    tensors = [tensor for tile in kept[0].tiles for tensor in (tile.cells, tile.weights, tile.where)]
    known = [tensor for tensor in tensors if isinstance(tensor, torch.Tensor)]
    assert sum(tensor.nbytes for tensor in known) <= most
    assert peak_bytes(lambda: kept[0].mix(p.value), p.value, *known) <= budget


def smallest_kept(attention, p):
    """The fewest bytes that suffice to keep the weights."""
    low, high = 0, 2**30
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if attention.keep(p.query, p.value, middle) is None else (low, middle)
    return high


@pytest.mark.parametrize(("layout", "budget"), CASES)
def test_entropy_keeps_to_the_memory(layout, budget):
    p = make(layout)
    windows = layout.windows
    for heads in (1, 4):
        attention = Attention(p.key, windows, heads=heads, memory=budget)
        assert peak_bytes(lambda attention=attention: attention.entropy(p.query), p.query, p.key) <= budget


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("reach", [False, True])
def test_mix_at_keeps_to_the_memory(budget, reach):
    p = make(LAYOUTS["disc"], reach=reach)
    generator = torch.Generator().manual_seed(0)
    points = torch.stack([torch.randint(0, side, (2, 200), generator=generator) for side in p.layout.size], dim=-1)
    query = torch.randn(2, 8, 200, generator=generator)
    windows = p.layout.windows
    reaches = [] if p.reach is None else [p.reach]
    inputs = [tensor.requires_grad_() for tensor in (query, p.key, p.value)]
    out = None

    def forward():
        nonlocal out
        out = Attention(p.key, windows, reach=p.reach, memory=budget).mix_at(query, p.value, points)
        return out

    assert peak_bytes(forward, *inputs, *reaches, points) <= budget
    dout = torch.ones_like(out)
    assert peak_bytes(lambda: torch.autograd.grad(out, inputs, dout), *inputs, *reaches, points, out, dout) <= budget


@pytest.mark.parametrize(("layout", "budget"), CASES)
def test_several_heads_keep_to_the_memory(layout, budget):
    p = make(layout)
    windows = layout.windows
    inputs = [tensor.requires_grad_() for tensor in (p.query, p.key, p.value)]
    out = mix(*inputs, windows, heads=4, memory=budget)
    assert peak_bytes(lambda: mix(*inputs, windows, heads=4, memory=budget), *inputs) <= budget
    dout = torch.ones_like(out)
    assert peak_bytes(lambda: torch.autograd.grad(out, inputs, dout), *inputs, out, dout) <= budget


@pytest.mark.parametrize(("layout", "budget"), CASES)
def test_many_channels_keep_to_the_memory(layout, budget):
    p = make(layout, channels=500, batch=1)
    windows = layout.windows
    inputs = [p.query, p.key, p.value.requires_grad_()]
    out = None

    def forward():
        nonlocal out
        out = mix(*inputs, windows, memory=budget)
        return out

    assert peak_bytes(forward, *inputs) <= budget


@pytest.mark.parametrize("reach", [False, True])
@pytest.mark.parametrize("budget", [*BUDGETS, 1_200_000, 8_000_000])
@pytest.mark.parametrize("batch", [1, 12])
def test_the_objective_keeps_to_the_memory_with_what_it_keeps(batch, budget, reach):
    p = make(LAYOUTS["disc"], batch=batch, channels=3, reach=reach)
    target = torch.randn(batch, 3, *p.layout.size, generator=torch.Generator().manual_seed(0))
    key = p.key.requires_grad_()
    windows = p.layout.windows
    kept = []

    def step():
        objective = L1Objective(p.query, p.value, target, windows, DotProduct(8), budget)
        losses = objective(key, p.reach)
        kept.append(objective)
        return losses, torch.autograd.grad(losses.sum(), key)[0]

    reaches = [] if p.reach is None else [p.reach]
    assert peak_bytes(step, p.query, p.value, target, key, *reaches) <= budget


def results(p, memory):
    """All that is computed from a problem, gradients included."""
    windows = p.layout.windows
    query, key, value = (tensor.clone().requires_grad_() for tensor in (p.query, p.key, p.value))
    out = Attention(key, windows, reach=p.reach, memory=memory).mix(query, value)
    gradients = torch.autograd.grad(out, (query, key, value), torch.ones_like(out).cumsum(3))
    places = torch.arange(20).expand(len(query), -1)
    points = torch.stack([places % side for side in p.layout.size], dim=-1)
    at = torch.randn(*query.shape[:2], 20, generator=torch.Generator().manual_seed(0)).to(query)
    mixed_at = Attention(p.key, windows, reach=p.reach, memory=memory).mix_at(at, p.value, points)
    return out, *gradients, mixed_at, Attention(p.key, windows, reach=p.reach, memory=memory).entropy(p.query)


@settings(max_examples=settings.default.max_examples // 2)
@given(
    problems() | problems(reach=True), st.sampled_from([1, 2, 4, 20]), st.sampled_from([torch.float32, torch.float64])
)
def test_results_do_not_depend_on_the_memory(p, times, dtype):
    p = p.to(dtype)
    few = times * smallest_memory(
        lambda memory: Attention(p.key, p.layout.windows, reach=p.reach, memory=memory).mix(p.query, p.value)
    )
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for result, expected in zip(results(p, few), results(p, 2**30), strict=True):
        torch.testing.assert_close(result, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reach", [False, True])
def test_results_do_not_depend_on_how_many_channels_are_worked_on_at_a_time(reach):
    p = problem(Layout("disc", (13, 18), (5, 6), (2,)), batch=2, channels=300, reach=reach)
    for result, expected in zip(results(p, 200_000), results(p, 2**30), strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("memory", [1, 1000])
def test_a_memory_that_holds_no_window_is_refused(layout, memory):
    p = make(layout)
    points = torch.zeros(2, 1, 2, dtype=torch.long)
    for attempt in (
        lambda: Attention(p.key, layout.windows, memory=memory).mix(p.query, p.value),
        lambda: Attention(p.key, layout.windows, memory=memory).mix_at(p.query[:, :, :1, 0], p.value, points),
        lambda: Attention(p.key, layout.windows, memory=memory).entropy(p.query),
    ):
        with pytest.raises(ValueError, match=rf"^memory is {memory} bytes: the window of one pixel takes \d+"):
            attempt()


def test_a_memory_that_holds_no_window_is_refused_by_the_objective():
    p = make(LAYOUTS["disc"])
    target = torch.zeros(2, 24, *p.layout.size)
    with pytest.raises(ValueError, match=r"^memory is \d+ bytes: the window of one pixel takes \d+"):
        L1Objective(p.query, p.value, target, p.layout.windows, DotProduct(8), 1000)


@pytest.mark.parametrize("kind", ["square-floor", "disc", "relative"])
def test_the_fewest_bytes_that_are_accepted_are_enough(kind):
    p = make(Layout(kind, (9, 12), (3, 4), (0.2 if kind == "relative" else 2,)), channels=5)
    windows = p.layout.windows
    few = smallest_memory(lambda memory: Attention(p.key, windows, memory=memory).mix(p.query, p.value))
    inputs = [tensor.requires_grad_() for tensor in (p.query, p.key, p.value)]
    out = mix(*inputs, windows, memory=few)
    dout = torch.ones_like(out)
    assert peak_bytes(lambda: mix(*inputs, windows, memory=few), *inputs) <= few
    assert peak_bytes(lambda: torch.autograd.grad(out, inputs, dout), *inputs, out, dout) <= few
