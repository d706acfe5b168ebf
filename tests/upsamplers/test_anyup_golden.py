"""The runs of the authors' code in shared/golden/anyup.npz: float32, on a CPU."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from omniup import AnyUp

WEIGHTS = {"paper_square": "paper", "multi_wide": "multi_backbone", "paper_resize": "paper"}
WEIGHTS["multi_one_channel"] = "multi_backbone"


@pytest.fixture(params=WEIGHTS)
def golden(shared, request):
    """The path of the weights, and an image [B, 3, H, W], features and output."""
    with np.load(shared / "golden" / "anyup.npz") as file:
        names = ("image_u8", "features", "output")
        arrays = [torch.from_numpy(file[f"{request.param}.{name}"]) for name in names]
    return shared / "weights" / f"anyup_{WEIGHTS[request.param]}.pth", *arrays


@pytest.mark.parametrize("memory", ["512MB", "4MB"])
def test_the_golden_features_are_brought_up(golden, memory):
    weights, image, features, output = golden
    out = AnyUp.from_pretrained(weights)(image, features, tuple(output.shape[2:]), memory=memory)
    torch.testing.assert_close(out, output, rtol=0, atol=1e-4)


def test_training_computes_the_same(golden):
    weights, image, features, output = golden
    out = AnyUp.from_pretrained(weights).train()(image, features, tuple(output.shape[2:]))
    torch.testing.assert_close(out, output, rtol=0, atol=1e-4)


def test_bfloat16_is_close(golden):
    weights, image, features, output = golden
    out = AnyUp.from_pretrained(weights, precision="bfloat16")(image, features, tuple(output.shape[2:]))
    assert (out - output).square().mean().sqrt() < 0.02
    if features.shape[1] > 1:
        assert F.cosine_similarity(out, output, dim=1).mean() > 0.999
