"""What the authors' code gave, in shared/golden/hypir.npz: float32, on a CPU."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from omniup.restoration import gaussian_weights, tile_windows, tiled, wavelet_decomposition, wavelet_reconstruction


@pytest.fixture
def golden(shared):
    with np.load(shared / "golden" / "hypir.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def test_wavelet_reconstruction(golden):
    content, style = golden["content"], golden["style"]
    high, low = wavelet_decomposition(content)
    torch.testing.assert_close(high, golden["high"], rtol=0, atol=1e-5)
    torch.testing.assert_close(low, golden["low"], rtol=0, atol=1e-5)
    torch.testing.assert_close(high + low, content, rtol=0, atol=1e-5)
    made = wavelet_reconstruction(content, style)
    torch.testing.assert_close(made, golden["reconstruction"], rtol=0, atol=1e-5)


def test_windows_and_weights(golden):
    windows = tile_windows(100, 75, size=32, stride=20)
    assert windows.dtype == torch.int64
    assert torch.equal(windows, golden["windows_100x75_size32_stride20"])
    weights = gaussian_weights(64, 64).float()
    torch.testing.assert_close(weights, golden["gaussian_weights_64"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_tiles(golden, batch):
    def brightened_twice_as_large(tiles):
        enlarged = F.interpolate(tiles, scale_factor=2, mode="nearest")
        return enlarged * (1 + tiles.mean(dim=(1, 2, 3), keepdim=True))

    run = tiled(brightened_twice_as_large, size=16, stride=8, scale=2, batch=batch)
    made = run(golden["tiled_in"])
    torch.testing.assert_close(made, golden["tiled_up2_size16_stride8"], rtol=0, atol=1e-5)
