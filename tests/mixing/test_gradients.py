import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.mixing import Attention, DotProduct
from oracles.attention import dense_mix
from support.cases import Layout, mix, problem, problems

LAYOUTS = [
    Layout("square-floor", (5, 4), (3, 2), (1,)),
    Layout("square-nearest", (5, 5), (2, 3), (2,)),
    Layout("disc", (6, 4), (5, 3), (2,)),
    Layout("relative", (5, 5), (4, 5), (0.25,)),
]


def leaves(*tensors):
    return tuple(tensor.detach().clone().requires_grad_() for tensor in tensors)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize(("batch", "depth"), [(1, 2), (2, 1)])
def test_gradients_of_mix_are_those_of_finite_differences(layout, batch, depth):
    p = problem(layout, batch=batch, depth=depth)
    windows = layout.windows
    assert torch.autograd.gradcheck(lambda *tensors: mix(*tensors, windows), leaves(p.query, p.key, p.value))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize(("heads", "depth"), [(2, 4), (3, 3)])
def test_gradients_of_several_heads_are_those_of_finite_differences(layout, heads, depth):
    p = problem(layout, depth=depth)
    windows = layout.windows
    assert torch.autograd.gradcheck(
        lambda *tensors: mix(*tensors, windows, heads=heads), leaves(p.query, p.key, p.value)
    )


def test_gradients_with_a_radius_for_each_cell_are_those_of_finite_differences():
    p = problem(LAYOUTS[2], batch=2, depth=2, reach=True)
    windows = p.layout.windows
    assert torch.autograd.gradcheck(
        lambda *tensors: mix(*tensors, windows, reach=p.reach), leaves(p.query, p.key, p.value)
    )


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_gradients_of_mix_at_are_those_of_finite_differences(layout):
    p = problem(layout, batch=2, depth=2)
    windows = layout.windows
    points = torch.tensor([[[0, 0], [3, 2], [3, 2], [4, 3]], [[4, 0], [2, 3], [0, 1], [1, 1]]])  # one of them twice
    query = torch.randn(2, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def mix_at(query, key, value):
        return Attention(key, windows).mix_at(query, value, points)

    assert torch.autograd.gradcheck(mix_at, leaves(query, p.key, p.value))


@given(problems() | problems(reach=True), st.sampled_from([2**30, 60_000]))
def test_gradients_are_those_of_dense_attention(p, memory):
    mine, dense = leaves(p.query, p.key, p.value), leaves(p.query, p.key, p.value)
    out = mix(*mine, p.layout.windows, reach=p.reach, memory=memory)
    reference = dense_mix(*(tensor.flatten(2) for tensor in dense), p.counts)
    weights = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(2))
    gradients = torch.autograd.grad((out * weights).sum(), mine)
    expected = torch.autograd.grad((reference * weights.flatten(2)).sum(), dense)
    for gradient, right in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, right, rtol=0, atol=1e-10)


@pytest.mark.parametrize("wanted", ["query", "key", "value"])
def test_one_gradient_does_not_need_the_others(wanted):
    p = problem(LAYOUTS[0])
    tensors = {name: getattr(p, name).clone() for name in ("query", "key", "value")}
    everything = {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}
    mix(**everything, windows=p.layout.windows).square().sum().backward()
    tensors[wanted].requires_grad_()
    mix(**tensors, windows=p.layout.windows).square().sum().backward()
    torch.testing.assert_close(tensors[wanted].grad, everything[wanted].grad)
    assert all(tensor.grad is None for name, tensor in tensors.items() if name != wanted)


def test_there_is_no_gradient_through_the_reach():
    p = problem(LAYOUTS[2], reach=True)
    reach, value = leaves(p.reach, p.value)
    Attention(p.key, p.layout.windows, reach=reach).mix(p.query, value).sum().backward()
    assert reach.grad is None


def test_gradients_come_once_only():
    p = problem(LAYOUTS[0])
    query, key, value = leaves(p.query, p.key, p.value)
    out = Attention(key, p.layout.windows).mix(query, value)
    (gradient,) = torch.autograd.grad(out.square().sum(), key, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_nothing_is_kept_where_no_gradient_is_wanted():
    p = problem(LAYOUTS[0])
    assert Attention(p.key, p.layout.windows).mix(p.query, p.value).grad_fn is None
    with torch.no_grad():
        assert mix(*leaves(p.query, p.key, p.value), p.layout.windows).grad_fn is None


def test_a_query_to_be_embedded_has_no_gradient():
    p = problem(LAYOUTS[0])
    query = p.query.clone().requires_grad_()
    with pytest.raises(
        ValueError, match=r"^query requires a gradient; accepted: one that does not, where there is an embedding$"
    ):
        Attention(p.key, p.layout.windows, embed=DotProduct(3)).mix(query, p.value)


def test_a_gradient_that_is_laid_out_otherwise_is_the_same():
    p = problem(Layout("square-nearest", (6, 6), (3, 3), (1,)))
    gradients = []
    for order in (lambda out: out, lambda out: out.transpose(2, 3).contiguous().transpose(2, 3), torch.ones_like):
        (value,) = leaves(p.value)
        out = Attention(p.key, p.layout.windows).mix(p.query, value)
        out.backward(order(torch.ones_like(out)))
        gradients.append(value.grad)
    (value,) = leaves(p.value)
    Attention(p.key, p.layout.windows).mix(p.query, value).sum().backward()  # a gradient of one number, expanded
    for gradient in gradients:
        torch.testing.assert_close(gradient, value.grad)
