"""Interpolation as products of matrices is torch's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from omniup.mixing import interpolate
from omniup.mixing import interpolation as module

sides = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(grid=sides, size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
@pytest.mark.parametrize("mode", ["nearest-exact", "bilinear", "bicubic"])
def test_interpolation_is_torch_s(mode, grid, size):
    maps = torch.rand(2, 3, *grid, dtype=torch.float64)
    torch.testing.assert_close(interpolate(maps, size, mode), F.interpolate(maps, size, mode=mode))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_results_have_the_dtype_of_the_maps(dtype):
    maps = torch.rand(1, 2, 5, 7).to(dtype)
    out = interpolate(maps, (20, 30), "bilinear")
    assert out.dtype == dtype
    wanted = F.interpolate(maps.double(), (20, 30), mode="bilinear")
    torch.testing.assert_close(out.double(), wanted, atol=0.01 if dtype.itemsize == 2 else 1e-6, rtol=0)


def test_long_axes_take_no_matrix(monkeypatch):
    monkeypatch.setattr(module, "interpolation_matrix", None)
    monkeypatch.setattr(module, "LARGEST_MATRIX", 0)
    maps = torch.rand(1, 2, 5, 7)
    assert torch.equal(interpolate(maps, (20, 30), "bicubic"), F.interpolate(maps, (20, 30), mode="bicubic"))
