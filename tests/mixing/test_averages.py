import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.mixing import cell_means
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
