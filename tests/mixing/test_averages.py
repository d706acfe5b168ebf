import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.mixing import cell_means, cell_variances
from oracles import averages as oracle

sides = st.integers(1, 9)


@given(height=sides, width=sides, data=st.data())
def test_agrees_with_the_oracle(height, width, data):
    grid = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    image = torch.rand(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cell_means(image, grid), oracle.cell_means(image, grid))


def test_is_average_pooling_where_the_grid_divides_the_image():
    image = torch.rand(1, 2, 12, 20)
    torch.testing.assert_close(cell_means(image, (3, 5)), oracle.pooled(image, 4))


def test_keeps_the_mean_and_the_type():
    image = torch.rand(1, 1, 37, 23)
    found = cell_means(image, (5, 4))
    torch.testing.assert_close(found.mean(), image.mean())
    assert found.dtype == image.dtype
    assert cell_means(image.double(), (5, 4)).dtype == torch.float64


@pytest.mark.parametrize(
    ("size", "grid"), [((1, 500), (1, 77)), ((500, 1), (77, 1)), ((120, 3), (40, 2)), ((40, 7), (35, 3))]
)
def test_long_axes_are_averaged_in_blocks(size, grid):
    image = torch.rand(1, 2, *size, dtype=torch.float64)
    torch.testing.assert_close(cell_means(image, grid), oracle.cell_means(image, grid))


@given(height=sides, width=sides, data=st.data())
def test_variances_are_mean_squares_less_squared_means(height, width, data):
    grid = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    image = torch.rand(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    means = oracle.cell_means(image, grid)
    expected = oracle.cell_means(image.square(), grid) - means.square()
    torch.testing.assert_close(cell_variances(image, means), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("grid", [(25, 30), (23, 31)])
def test_variances_do_not_cancel_in_float32(grid, monkeypatch):
    """Of a picture that is bright and nearly even, in bands of a few rows of cells."""
    monkeypatch.setattr("omniup.mixing.averages.BAND_BYTES", 2**12)
    image = 1000 + torch.rand(1, 2, 100, 120, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 64
    expected = cell_variances(image, cell_means(image, grid))
    narrow = image.float()
    found = cell_variances(narrow, cell_means(narrow.double(), grid).float())
    exact = cell_variances(narrow.double(), cell_means(narrow.double(), grid))
    torch.testing.assert_close(found.double(), exact, rtol=1e-2, atol=0)
    assert (expected > 0).all()
