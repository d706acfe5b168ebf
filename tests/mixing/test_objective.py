import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniup.mixing import Attention, DotProduct
from omniup.mixing.objective import L1Objective
from support.cases import Layout, problem, problems, smallest_memory


def target_of(p):
    generator = torch.Generator().manual_seed(5)
    shape = (*p.value.shape[:2], *p.layout.size)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(p.value.dtype)


def make(p, **memory):
    return L1Objective(p.query, p.value, target_of(p), p.layout.windows, DotProduct(p.query.shape[1]), **memory)


def by_mix(p, key):
    out = Attention(key, p.layout.windows, reach=p.reach).mix(p.query, p.value)
    return (out - target_of(p)).abs().mean((1, 2, 3))


def loss_and_gradient(p, function):
    key = p.key.clone().requires_grad_()
    losses = function(key)
    weights = torch.arange(1, len(losses) + 1).to(losses)
    return losses.detach(), torch.autograd.grad((weights * losses).sum(), key)[0]


@given(problems() | problems(reach=True))
def test_the_loss_and_its_gradient_are_those_of_the_mix(p):
    objective = make(p)
    mine = loss_and_gradient(p, lambda key: objective(key, p.reach))
    torch.testing.assert_close(mine, loss_and_gradient(p, lambda key: by_mix(p, key)), rtol=0, atol=1e-12)


@settings(max_examples=settings.default.max_examples // 2)
@given(problems() | problems(reach=True), st.sampled_from([1, 2, 5]))
def test_neither_depends_on_how_the_images_are_cut(p, times):
    few = times * smallest_memory(lambda memory: make(p, memory=memory))
    plain, cut = make(p), make(p, memory=few)
    expected = loss_and_gradient(p, lambda key: plain(key, p.reach))
    torch.testing.assert_close(loss_and_gradient(p, lambda key: cut(key, p.reach)), expected, rtol=0, atol=1e-12)


def test_a_small_memory_cuts_an_image_in_chunks_and_keeps_none():
    p = problem(Layout("disc", (40, 30), (10, 6), (3,)))
    assert len(list(make(p).chunks())) == 1
    cut = make(p, memory=60_000)
    assert len(list(cut.chunks())) > 4
    first, second = (next(iter(cut.chunks())) for _ in range(2))
    assert first is not second


def test_an_objective_serves_many_keys_and_radii():
    p = problem(Layout("disc", (20, 15), (5, 4), (3,)), batch=2, reach=True)
    objective = make(p)
    for key in (p.key, p.key * 2, p.key.flip(3)):
        for reach in (None, p.reach, p.reach.flip(2), torch.full_like(p.reach, 3), torch.full_like(p.reach, 1)):
            expected = (
                (Attention(key, p.layout.windows, reach=reach).mix(p.query, p.value) - target_of(p))
                .abs()
                .mean((1, 2, 3))
            )
            torch.testing.assert_close(objective(key, reach), expected, rtol=0, atol=1e-12)


def test_the_loss_of_a_perfect_mix_is_zero_and_has_no_slope():
    p = problem(Layout("square-floor", (9, 9), (3, 3), (1,)))
    value = torch.ones_like(p.value)
    objective = L1Objective(p.query, value, torch.ones(1, 2, 9, 9).double(), p.layout.windows, DotProduct(3))
    key = p.key.clone().requires_grad_()
    loss = objective(key)
    loss.sum().backward()
    assert loss.item() == pytest.approx(0, abs=1e-15)
    torch.testing.assert_close(key.grad, torch.zeros_like(key), rtol=0, atol=1e-15)


def test_the_gradient_comes_once_only():
    p = problem(Layout("square-floor", (9, 9), (3, 3), (1,)))
    key = p.key.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(make(p)(key).sum(), key, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        gradient.sum().backward()


def test_float32_agrees_with_float64():
    p = problem(Layout("disc", (33, 21), (6, 4), (3,)), batch=2, reach=True)
    single = p.to(torch.float32)
    loss, gradient = loss_and_gradient(single, lambda key: make(single)(key, single.reach))
    expected_loss, expected = loss_and_gradient(p, lambda key: make(p)(key, p.reach))
    torch.testing.assert_close(loss, expected_loss.float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient, expected.float(), rtol=0, atol=1e-6)
