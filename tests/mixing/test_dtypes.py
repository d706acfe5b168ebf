import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.mixing import Attention, DotProduct, Windows
from omniup.mixing.dtypes import exact_products
from omniup.mixing.objective import L1Objective
from support.cases import Layout, mix, problem, problems

LAYOUT = Layout("disc", (23, 18), (5, 4), (2,))


@given(problems(), st.sampled_from([torch.float16, torch.bfloat16]))
def test_values_of_half_the_precision_are_mixed_in_float32_and_rounded_once(p, dtype):
    p = p.to(torch.float32)
    value = p.value.to(dtype)
    out = Attention(p.key, p.layout.windows).mix(p.query, value)
    assert out.dtype == dtype
    assert torch.equal(out, Attention(p.key, p.layout.windows).mix(p.query, value.float()).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_queries_and_keys_of_half_the_precision_are_computed_with_in_float32(dtype):
    p = problem(LAYOUT, dtype=dtype)
    exact = p.to(torch.float32)
    out = Attention(p.key, LAYOUT.windows).mix(p.query, exact.value)
    torch.testing.assert_close(
        out, Attention(exact.key, LAYOUT.windows).mix(exact.query, exact.value), rtol=0, atol=1e-6
    )
    nats = Attention(p.key, LAYOUT.windows).entropy(p.query)
    assert nats.dtype == torch.float32
    torch.testing.assert_close(nats, Attention(exact.key, LAYOUT.windows).entropy(exact.query), rtol=0, atol=1e-5)


@pytest.mark.parametrize("double", ["query", "key"])
def test_one_double_makes_the_weights_double(double):
    p = problem(LAYOUT, dtype=torch.float32)
    tensors = {"query": p.query, "key": p.key, "value": p.value, double: getattr(p, double).double()}
    out = mix(**tensors, windows=LAYOUT.windows)
    assert out.dtype == torch.float32
    exact = p.to(torch.float64)
    reference = Attention(exact.key, LAYOUT.windows).mix(exact.query, exact.value)
    assert torch.equal(out, reference.float())
    assert Attention(tensors["key"], LAYOUT.windows).entropy(tensors["query"]).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_gradients_have_the_types_of_what_they_are_gradients_of(dtype):
    p = problem(LAYOUT, dtype=torch.float32)
    tensors = [p.query.requires_grad_(), p.key.requires_grad_(), p.value.to(dtype).requires_grad_()]
    mix(*tensors, LAYOUT.windows).sum().backward()
    assert [tensor.grad.dtype for tensor in tensors] == [torch.float32, torch.float32, dtype]


def everything(p):
    """All that is computed from a problem: outputs and gradients."""
    windows = p.layout.windows
    query, key, value = (tensor.clone().requires_grad_() for tensor in (p.query, p.key, p.value))
    out = Attention(key, windows, reach=p.reach).mix(query, value)
    gradients = torch.autograd.grad(out, (query, key, value), torch.ones_like(out).cumsum(2))
    points = torch.tensor([[[0, 0], [7, 9], [22, 17]]])
    at = Attention(p.key, windows, reach=p.reach).mix_at(
        p.query[:, :, points[0, :, 0], points[0, :, 1]], p.value, points
    )
    objective = L1Objective(p.query, p.value, torch.zeros_like(out), windows, DotProduct(p.query.shape[1]))
    loss = objective(key, p.reach)
    (slope,) = torch.autograd.grad(loss, key)
    return [
        out.detach(),
        *gradients,
        at,
        Attention(p.key, windows, reach=p.reach).entropy(p.query),
        loss.detach(),
        slope,
    ]


@pytest.mark.parametrize("reach", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype, reach):
    p = problem(LAYOUT, depth=16, channels=8, dtype=torch.float32, reach=reach)
    plain = everything(p)
    with torch.autocast("cpu", dtype=dtype):
        results = everything(p)
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == dtype
    assert all(torch.equal(*pair) for pair in zip(results, plain, strict=True))


@pytest.fixture(params=["high", "medium"])
def matmul_precision(request):
    before = torch.get_float32_matmul_precision()
    yield request.param
    torch.set_float32_matmul_precision(before)


def test_the_precision_of_matrix_products_changes_nothing_and_is_left_as_it_was(matmul_precision):
    p = problem(LAYOUT, depth=16, channels=8, dtype=torch.float32)
    plain = everything(p)
    torch.set_float32_matmul_precision(matmul_precision)
    results = everything(p)
    assert torch.get_float32_matmul_precision() == matmul_precision
    assert all(torch.equal(*pair) for pair in zip(results, plain, strict=True))


def test_the_precision_of_matrix_products_is_left_as_it_was_after_an_error(matmul_precision):
    torch.set_float32_matmul_precision(matmul_precision)
    p = problem(LAYOUT, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"^memory is 64 bytes"):
        Attention(p.key, LAYOUT.windows, memory=64).mix(p.query, p.value)
    assert torch.get_float32_matmul_precision() == matmul_precision


def test_large_common_terms_cancel_in_full_precision():
    # Logits of 1e4 that differ by some units: 8 bits of a bfloat16 product would leave nothing of the difference.
    windows = Windows.square((32, 32), (8, 8), 1, centre="nearest")
    generator = torch.Generator().manual_seed(0)
    key = torch.rand(1, 2, 8, 8, generator=generator)
    query = torch.full((1, 2, 32, 32), 100.0)
    key = torch.cat([key, 100 - key[:, :1]], dim=1)
    query = torch.cat([query, query[:, :1]], dim=1)
    value = torch.randn(1, 3, 8, 8, generator=generator)
    out = Attention(key, windows).mix(query, value)
    torch.testing.assert_close(out, Attention(key.double(), windows).mix(query.double(), value), rtol=0, atol=5e-3)


def test_the_matmul_precision_is_restored_after_its_last_user():
    """Threads share it, and may end in any order."""
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        first, second = exact_products(torch.device("cpu")), exact_products(torch.device("cpu"))
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_float32_matmul_precision() == "highest"
        second.__exit__(None, None, None)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
