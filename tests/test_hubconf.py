import runpy
from pathlib import Path
from types import FunctionType

import pytest
import torch

from omniup import AnyUp, UpsampleAnything
from omniup.upsamplers.anyup import weights as room
from support.anyup import random_anyup

ROOT = Path(__file__).parents[1]


def load(name, **settings):
    return torch.hub.load(str(ROOT), name, source="local", **settings)


def test_its_entry_points_are_these():
    public = {
        name for name, value in runpy.run_path(str(ROOT / "hubconf.py")).items() if isinstance(value, FunctionType)
    }
    assert public == {"anyup", "anyup_multi_backbone", "upsample_anything", "_anyup"}


@pytest.mark.parametrize(("name", "weights"), [("anyup", "paper"), ("anyup_multi_backbone", "multi_backbone")])
def test_anyup_comes_with_its_weights(name, weights, tmp_path, monkeypatch):
    state = random_anyup().state_dict()
    torch.save(state, tmp_path / "weights.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(room.PUBLISHED, weights, room.Published((tmp_path / "weights.pth").as_uri(), ""))
    network = load(name, precision="bfloat16")
    assert torch.equal(network.state_dict()["rope.freqs"], state["rope.freqs"])
    assert network.precision == "bfloat16"


def test_anyup_comes_without_weights_where_that_is_asked_for():
    network = load("anyup", pretrained=False)
    assert isinstance(network, AnyUp)
    assert network(torch.rand(1, 3, 16, 24), torch.rand(1, 5, 2, 3)).shape == (1, 5, 16, 24)


def test_upsample_anything_comes_with_its_settings():
    assert load("upsample_anything", iterations=3) == UpsampleAnything.preset("paper", iterations=3)
