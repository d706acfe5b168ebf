"""The runs of the authors' code in shared/golden/upa.npz: float32, on a CPU."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from omniup import GaussianKernels, UpsampleAnything
from support.kernels import PAPER


@pytest.fixture(params=["sample", "voc"])
def golden(shared, request):
    """One case: image [1, 3, H, W] in 0..1, features, their rendering, losses and the fitted maps."""
    with np.load(shared / "golden" / "upa.npz") as file:
        arrays = {key.partition(".")[2]: file[key] for key in file.files if key.startswith(f"{request.param}.")}
    case = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return case | {"image": case.pop("image_u8")[None].float() / 255}


def test_the_golden_kernels_render_the_golden_features(golden):
    grid = tuple(golden["features"].shape[2:])
    maps = (golden[name] for name in ("sigma_x", "sigma_y", "theta", "sigma_r"))
    cells = F.interpolate(golden["image"], grid, mode="bilinear")
    kernels = GaussianKernels(*maps, guidance=golden["image"], cell_guidance=cells, window=PAPER)
    torch.testing.assert_close(kernels.render(golden["features"]), golden["output"], rtol=0, atol=2e-4)


def test_a_fit_follows_the_golden_losses_and_renders_the_golden_features(golden):
    kernels = UpsampleAnything.preset("paper").fit(golden["image"], tuple(golden["features"].shape[2:]))
    losses, expected = kernels.history.losses, golden["loss"].tolist()
    assert len(losses) == len(expected) == 51
    assert losses[0] == pytest.approx(expected[0], rel=1e-3)
    assert losses[-1] == pytest.approx(expected[-1], rel=1e-2)
    cosine = F.cosine_similarity(kernels.render(golden["features"]), golden["output"], dim=1).mean()
    assert cosine > 0.999
