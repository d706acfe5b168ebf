"""With a network whose features are mean colours, what it gives on a finer grid is known."""

import pytest
import torch

from omniup.upsamplers import upsample
from omniup_bench.data import Folders
from omniup_bench.dense import DenseFeatures, feature_sums
from omniup_bench.networks import scaled, shifted
from omniup_bench.street_network import load_street_network
from omniup_bench.task import FittedTask
from support.street_network import known_features


@pytest.mark.parametrize("factor", [4, 8])
def test_finer_cells_are_what_the_network_sees_there(folders, factor):
    image = torch.rand(1, 3, 48, 64)
    found = shifted(load_street_network(folders.models).features, image, factor)
    assert found.shape == (1, 192, 48 // factor, 64 // factor)
    reach = (16 - factor) // 2
    for y, x in ((2, 2), (3, 5), (48 // factor - 3, 64 // factor - 4)):
        top, left = y * factor - reach, x * factor - reach  # 16 pixels around the middle of the finer cell
        if top >= 0 and left >= 0:
            expected = image[0, :, top : top + 16, left : left + 16].mean((1, 2))
            torch.testing.assert_close(found[0, :3, y, x], expected)


def test_scaled_cells_have_the_factor_s_size(folders):
    network, image = load_street_network(folders.models).features, torch.rand(1, 3, 64, 96)
    for factor in (8, 16, 32):
        assert scaled(network, image, factor).shape == (1, 192, 64 // factor, 96 // factor)
    torch.testing.assert_close(scaled(network, image, 16), known_features(image))


@pytest.mark.parametrize("reference", ["moved", "enlarged"])
def test_the_reference_itself_is_without_error(folders, reference):
    task = DenseFeatures(reference)
    assert not isinstance(task, FittedTask)
    for sample in task.samples(folders, 16):
        target = sample.evaluate.args[0]
        assert target.shape[2:] == sample.size
        scores = task.scores(sample.evaluate(target))
        assert scores == pytest.approx({"cosine": 100, "error": 0}, abs=1e-4)
        assert task.scores(sample.evaluate(target.mean((2, 3), keepdim=True).expand_as(target)))[
            "error"
        ] == pytest.approx(100)


def test_similarity_and_error_of_a_case_done_by_hand():
    target = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).view(1, 2, 1, 2)  # the vectors (1, 0) and (0, 2)
    result = torch.tensor([[1.0, 1.0], [1.0, 1.0]]).view(1, 2, 1, 2)  # (1, 1) and (1, 1)
    sums = feature_sums(target, result)
    assert sums == pytest.approx({"cells": 2, "cosine": 2 * 0.5**0.5, "squared": 3, "variation": 0.5 + 2})


def test_on_real_streets_interpolation_beats_the_nearest_cell(shared):
    task = DenseFeatures("moved")
    (sample,) = task.samples(Folders.of(shared / "data"), 32, 1)
    cosine = {
        name: task.scores(sample.evaluate(upsample(sample.image, sample.signal, method=name, size=sample.size)))[
            "cosine"
        ]
        for name in ("nearest", "bilinear")
    }
    assert 50 < cosine["nearest"] < cosine["bilinear"] < 100
